# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The subcommand ``vaephot weights``."""

import sys

from vaephot.cli._options import add_common_options

__all__ = ['add_parser', 'run']


def add_parser(subparsers):
    """
    Add the parser of the subcommand.

    Parameters
    ----------
    subparsers : argparse._SubParsersAction
        Where to add it.
    """
    parser = subparsers.add_parser(
        'weights', help='list, fetch, import and verify trained weights',
        description='List, fetch, import and verify trained weights.')
    actions = parser.add_subparsers(dest='action', required=True,
                                    metavar='ACTION')
    actions.add_parser('list', help='list the known weights')
    fetch = actions.add_parser(
        'fetch', help='make sure that weights are here and undamaged')
    fetch.add_argument('name', metavar='NAME', nargs='?', default='default')
    fetch.add_argument('--force', action='store_true',
                       help='discard a cached copy and get a new one')
    add = actions.add_parser(
        'import', help='copy a weights file and its record to the cache')
    add.add_argument('path', metavar='PATH', help='a .safetensors file with '
                     'its .json record beside it')
    add.add_argument('name', metavar='NAME',
                     help='name under which it is to be known')
    verify = actions.add_parser('verify', help='check files against their '
                                'records')
    verify.add_argument('names', metavar='NAME', nargs='*',
                        help='weights to check (default: all)')
    add_common_options(actions)


def run(args):
    """
    Run the subcommand.

    Parameters
    ----------
    args : argparse.Namespace
        The parsed arguments.

    Returns
    -------
    int
        0 if all went well, 1 if a file is damaged.
    """
    return _ACTIONS[args.action](args)


def _list(args):
    from vaephot.weights import list_weights

    records = list_weights()
    if not records:
        print('no weights are known', file=sys.stderr)
    for record in records:
        print(f'{record.name:20} {record.version:10} '
              f'{record.size_bytes / 1e6:8.2f} MB  {record.sha256[:12]}  '
              f'{record.description}')
    return 0


def _fetch(args):
    from vaephot.weights import fetch_weights

    print(fetch_weights(args.name, force=args.force))
    return 0


def _import(args):
    from vaephot.weights import import_weights

    record = import_weights(args.path, args.name)
    print(f'imported {record.name!r} version {record.version}')
    return 0


def _verify(args):
    from vaephot.exceptions import WeightsError
    from vaephot.weights import fetch_weights
    from vaephot.weights.registry import known_names

    names = args.names or known_names()
    if not names:
        print('no weights are known', file=sys.stderr)
    failed = 0
    for name in names:
        try:
            print(f'{name}: ok, {fetch_weights(name)}')
        except WeightsError as err:
            failed = 1
            print(f'vaephot: error: {name}: {err}', file=sys.stderr)
    return failed


_ACTIONS = {
    'list': _list,
    'fetch': _fetch,
    'import': _import,
    'verify': _verify,
}
