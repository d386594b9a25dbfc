# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Print flux errors of one kind of blend, beside SExtractor's algorithm.

The galaxy in the middle of each blend is scored, in bins of its true
magnitude. For more methods, sets and figures use ``vaephot evaluate``.
"""

import argparse
import tempfile

from vaephot.evaluate.evaluation_config import EvaluationConfig
from vaephot.evaluate.report import MAIN_COLUMNS
from vaephot.evaluate.runner import evaluate, read_manifest, read_results
from vaephot.evaluate.scores import make_tables
from vaephot.simulate import CASES

SCORED_BANDS = ('VIS', 'H')


def parse_arguments():
    """Command line of the script."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('case', choices=sorted(CASES), help='kind of blend')
    add('--n', type=int, default=200, help='blends (default: %(default)s)')
    add('--seed', type=int, default=11, help='default: %(default)s')
    add('--no-refine', action='store_true', help='the quick fit')
    add('--positions', choices=('given', 'found'), default='given',
        help='given: true ones, good to 0.02 arcsec; found: VAEDeblender '
        'searches them (default: %(default)s)')
    add('--weights', metavar='NAME',
        help='name or path of the weights (default: the default set)')
    add('--device', help='torch device (default: the best there is)')
    add('-o', '--output', metavar='DIR', help='keep the run there')
    return parser.parse_args()


def configure(args):
    """Settings of an evaluation."""
    name = 'vaephot' if args.positions == 'given' else 'vaephot_blind'
    return EvaluationConfig.from_dict({
        'title': f'{args.case} blends',
        'sets': [{'name': args.case, 'case': args.case, 'n': args.n,
                  'seed': args.seed, 'floors': args.n}],
        'methods': [{'name': name, 'refine': not args.no_refine,
                     'weights': args.weights, 'device': args.device},
                    'sep_default']})


def print_table(table):
    """Print figures and errors in one column each."""
    table = table[(table['quantity'] == 'mag')]
    for band in SCORED_BANDS:
        rows = table[table['band'] == band]
        shown = rows['method', 'band', 'n', 'n_failed']
        shown.add_column([f'{row["low"]:g}-{row["high"]:g}'
                          for row in rows], name='mag', index=2)
        for _, name, digits, sign in MAIN_COLUMNS:
            shown[name] = [
                f'{value:{sign}.{digits}f}±{err:.{digits}f}'
                for value, err in zip(rows[name], rows[f'{name}_err'],
                                      strict=True)]
        print('\n'.join(shown.pformat(max_lines=-1, max_width=-1)))


def run(args, folder):
    """Evaluate and print."""
    config = configure(args)
    evaluate(config, folder)
    manifest = read_manifest(folder)
    print(f'# versions: {manifest["versions"]}')
    print(f'# methods: {manifest["methods"]}')
    print(f'# set: {manifest["sets"]}')
    print_table(make_tables(read_results(folder, config), config)[
        'flux_errors'])


def main():
    """Draw, measure, match, print."""
    args = parse_arguments()
    if args.output is not None:
        run(args, args.output)
        return
    with tempfile.TemporaryDirectory() as folder:
        run(args, folder)


if __name__ == '__main__':
    main()
