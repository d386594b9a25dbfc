# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The subcommand ``vaephot train-classifier``."""

import math
import time
from pathlib import Path

from vaephot.cli._options import positive_float, positive_int
from vaephot.cli._output import add_overwrite_option, check_weights_output

__all__ = ['add_parser', 'run']

# enough for tens of thousands of candidates
N_IMAGES = 400


def add_parser(subparsers):
    """
    Add the parser of the subcommand.

    Parameters
    ----------
    subparsers : argparse._SubParsersAction
        Where to add it.
    """
    parser = subparsers.add_parser(
        'train-classifier',
        help='teach weights what a source is, and what a point is',
        description='Draw images of all kinds with known sources, search '
        'them with the networks of some weights, and train the classifier '
        'of candidates on what is found. An interrupted run goes on when the '
        'same command is given again.')
    parser.add_argument('weights', metavar='WEIGHTS',
                        help='weights that get a classifier: a name or a '
                        'file')
    parser.add_argument('--candidates', metavar='DIR', required=True,
                        help='folder of the candidates of each image; made '
                        'if absent')
    parser.add_argument('-o', '--output', metavar='FILE', required=True,
                        help='weights with the classifier, '
                        'NAME.safetensors')
    parser.add_argument('--images', type=positive_int, default=N_IMAGES,
                        metavar='N', help='images to be searched (default: '
                        '%(default)s)')
    parser.add_argument('--blends', type=positive_int, default=12,
                        metavar='N', help='blends of an image (default: '
                        '%(default)s)')
    parser.add_argument('--real', metavar='DIR',
                        help="folder of HST galaxies in GalSim's format")
    parser.add_argument('--seed', type=positive_int, default=1, metavar='N',
                        help='seed of the first image (default: %(default)s)')
    parser.add_argument('--max-minutes', type=positive_float,
                        default=math.inf, metavar='M',
                        help='stop searching after this time')
    add_overwrite_option(parser)


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
        0 if all went well, also if the time was over first.
    """
    check_weights_output(args.output, '--output', overwrite=args.overwrite)
    from vaephot.train.classifier_training import (
        fit_classifier,
        release_classifier,
    )
    from vaephot.weights import load_weights

    weights = load_weights(args.weights)
    candidates, complete = _collect(args, weights)
    if not complete:
        print('the time is over before all images are searched; give the '
              'same command again to go on')
        return 0
    classifier, summary = fit_classifier(candidates, seed=args.seed)
    record = release_classifier(args.output, weights, classifier, summary,
                                overwrite=args.overwrite)
    print(f'{summary["n_candidates"]} candidates of {summary["n_images"]} '
          f'images, {summary["n_sources"]} of them sources; weights '
          f'{record.name!r}, SHA-256 {record.sha256}: {args.output}')
    return 0


def _collect(args, weights):
    """Candidates of all images, and whether the time was enough."""
    from tqdm import tqdm

    from vaephot.models.bundle import build_vaes
    from vaephot.models.classifier import build_classifier
    from vaephot.simulate import RealGalaxies
    from vaephot.simulate.scenes import draw_labelled_image
    from vaephot.train.candidate_sets import CandidateStore, collect_candidates

    real = args.real and RealGalaxies(args.real)
    vae = build_vaes(weights)['blended']
    classifier = build_classifier(weights)
    store = CandidateStore(Path(args.candidates), weights.record.sha256)
    end = time.monotonic() + 60 * args.max_minutes
    for seed in tqdm(range(args.seed, args.seed + args.images), unit='image',
                     desc='search'):
        if seed in store:
            continue
        if time.monotonic() > end:
            return None, False
        image = draw_labelled_image(seed, args.blends, real=real)
        store.add(seed, collect_candidates(image, seed, vae, classifier))
    return store.read(), True
