# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The subcommand ``vaephot simulate``."""

import argparse
import os
import sys
from pathlib import Path

from vaephot.cli._options import (
    UsageError,
    add_common_options,
    positive_int,
)
from vaephot.cli._output import (
    add_overwrite_option,
    atomic_write,
    check_outputs,
)

__all__ = ['add_parser', 'run']

# Stamps in a preview, per side, and softening of its grey scale in
# units of the noise.
PREVIEW_SIDE = 6
PREVIEW_SOFTENING = 2.0


def add_parser(subparsers):
    """
    Add the parser of the subcommand.

    Parameters
    ----------
    subparsers : argparse._SubParsersAction
        Where to add it.
    """
    parser = subparsers.add_parser(
        'simulate', help='draw galaxies, blends and fields with truth',
        description='Draw galaxies, blends and fields with GalSim. The '
        'same seed gives the same output.')
    actions = parser.add_subparsers(dest='action', required=True,
                                    metavar='ACTION')
    _add_stamps(actions)
    _add_blends(actions)
    _add_field(actions)
    add_common_options(actions)


def _add_shared(parser, metavar):
    parser.add_argument('-o', '--output', required=True, metavar=metavar)
    parser.add_argument('--seed', type=_seed, default=1,
                        help='seed of all random choices (default: 1)')
    parser.add_argument('--preview', metavar='FILE.png',
                        help='draw a picture too')
    parser.add_argument('--quiet', action='store_true',
                        help='show no progress bar')
    add_overwrite_option(parser)


def _add_stamps(actions):
    parser = actions.add_parser(
        'stamps', help='draw a store of galaxies for the training',
        description='Draw a store of noise-free galaxies. An interrupted '
        'store is finished when the same command is given again.')
    _add_shared(parser, 'DIR')
    parser.add_argument('--shards', type=positive_int, default=60,
                        help='number of files, each with a PSF of its own '
                        '(default: %(default)s)')
    parser.add_argument('--galaxies', type=positive_int, default=600,
                        help='galaxies in each (default: %(default)s)')
    parser.add_argument('--stamp-size', type=positive_int, default=64,
                        metavar='PX', help='default: %(default)s')
    parser.add_argument('--workers', type=positive_int, default=1,
                        help='number of processes (default: %(default)s)')


def _add_blends(actions):
    parser = actions.add_parser(
        'blends', help='draw isolated galaxies or blends',
        description='Draw isolated galaxies or blends with their truth.')
    # the names are those of vaephot.simulate.CASES
    parser.add_argument('case', choices=('isolated', 'faint', 'bright',
                                         'star'))
    _add_shared(parser, 'FILE.npz')
    parser.add_argument('-n', '--number', type=positive_int, default=100,
                        help='number of blends (default: %(default)s)')
    parser.add_argument('--survey', default='euclid-wide',
                        help='default: %(default)s')


def _add_field(actions):
    parser = actions.add_parser(
        'field', help='draw a whole field',
        description='Draw a field of galaxies and stars with its truth.')
    _add_shared(parser, 'FILE.fits')
    parser.add_argument('--shape', type=positive_int, nargs=2, metavar=('NY',
                        'NX'), default=(512, 512),
                        help='size in pixels (default: 512 512)')
    parser.add_argument('--survey', default='euclid-wide',
                        help='default: %(default)s')
    parser.add_argument('--galaxy-density', type=float, default=130.0,
                        metavar='N', help='galaxies per square arcmin '
                        'brighter than 26 (default: %(default)s)')
    parser.add_argument('--star-density', type=float, default=5.0,
                        metavar='N', help='stars per square arcmin '
                        '(default: %(default)s)')


def _seed(text):
    value = int(text)
    if value < 0:
        msg = f'{text!r} is negative'
        raise argparse.ArgumentTypeError(msg)
    return value


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
        0 if all went well.
    """
    check_outputs(args.preview, overwrite=args.overwrite)
    return _ACTIONS[args.action](args)


def _progress(args):
    return not args.quiet and sys.stderr.isatty()


def _stamps(args):
    from vaephot.simulate import read_shard, write_store

    folder = Path(args.output)
    if args.overwrite:
        _empty_store(folder)
    # each worker is one process; more threads would only compete
    os.environ.setdefault('OMP_NUM_THREADS', '1')
    manifest = write_store(
        folder, n_shards=args.shards, galaxies_per_shard=args.galaxies,
        stamp_size=args.stamp_size, seed=args.seed, n_workers=args.workers,
        progress_bar=_progress(args))
    if args.preview is not None:
        stamps = read_shard(folder, 0)['image']
        noise = stamps.max(axis=(1, 2), keepdims=True) / 1e3
        _write_preview(args, stamps / noise)
    print(f'{len(manifest["shards"])} shards: {folder}')
    return 0


def _empty_store(folder):
    """Remove the files of a store, and nothing else."""
    manifest = folder / 'manifest.json'
    if not manifest.is_file():
        if folder.is_dir() and any(folder.iterdir()):
            msg = (f'{folder} is not empty and holds no store; it is left '
                   f'as it is. Give another folder.')
            raise UsageError(msg, path=folder)
        return
    manifest.unlink()
    for path in folder.glob('shard-[0-9]*.npz'):
        path.unlink()


def _blends(args):
    from vaephot.simulate import draw_blends, write_blends

    check_outputs(args.output, args.preview, overwrite=args.overwrite)
    blends = draw_blends(args.case, args.number, survey=args.survey,
                         seed=args.seed, progress_bar=_progress(args))
    write_blends(args.output, blends, overwrite=args.overwrite)
    _write_preview(args, blends.image[:, 0] / blends.sky_rms[0])
    print(f'{len(blends)} blends: {args.output}')
    return 0


def _field(args):
    from vaephot.simulate import FieldConfig, draw_field, write_field

    check_outputs(args.output, args.preview, overwrite=args.overwrite)
    config = FieldConfig(
        shape=tuple(args.shape), survey=args.survey,
        galaxy_density=args.galaxy_density, star_density=args.star_density)
    simulated = draw_field(config, seed=args.seed, keep_models=False,
                           progress_bar=_progress(args))
    write_field(args.output, simulated, overwrite=args.overwrite)
    rms = simulated.sky_rms[:, None, None]
    _write_preview(args, simulated.image / rms, n_columns=2)
    print(f'{len(simulated.truth)} sources: {args.output}')
    return 0


def _write_preview(args, images, n_columns=PREVIEW_SIDE):
    """Draw images in units of their noise on a grey scale."""
    if args.preview is None:
        return
    import numpy as np

    from vaephot.utils._optional_deps import import_optional

    figures = import_optional('matplotlib.figure', '--preview')
    images = images[:PREVIEW_SIDE ** 2]
    n_rows = -(-len(images) // n_columns)
    side = 9 / n_columns
    figure = figures.Figure(figsize=(9, side * n_rows),
                            layout='constrained')
    axes = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    for ax in axes:
        ax.set_axis_off()
    for ax, image in zip(axes, images, strict=False):
        ax.imshow(np.arcsinh(image / PREVIEW_SOFTENING), origin='lower',
                  cmap='gray')
    with atomic_write(args.preview, overwrite=args.overwrite) as temporary:
        figure.savefig(temporary, format='png', dpi=120)


_ACTIONS = {
    'stamps': _stamps,
    'blends': _blends,
    'field': _field,
}
