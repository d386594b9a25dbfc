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

# Ranges of blends that can be chosen, as of vaephot.simulate.BlendCase.
BLEND_RANGES = {
    'mag': (float, 'magnitudes of the galaxy in the middle'),
    'n_neighbors': (int, 'fewest and most neighbours'),
    'neighbor_mag': (float, 'their magnitudes less that of the middle'),
    'neighbor_distance': (float, 'their distances in arcsec'),
    'bright_mag': (float, 'magnitude of a bright galaxy less that of the '
                   'middle'),
    'star_mag': (float, 'magnitude of a star'),
    'bright_distance': (float, 'distance in arcsec of the bright galaxy, '
                        'the star or the cluster'),
    'blendedness': (float, 'blendedness of the middle in the first band'),
}

# Galaxies that are kept of a catalogue, and the survey whose bands
# stamps of random PSFs are drawn in.
CATALOG_ROWS = 100_000
CATALOG_SURVEY = 'euclid-wide'


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
    _add_mosaic(actions)
    add_common_options(actions)


def _add_shared(parser, metavar, *, preview=True):
    parser.add_argument('-o', '--output', required=True, metavar=metavar)
    parser.add_argument('--seed', type=_not_negative, default=1,
                        help='seed of all random choices (default: 1)')
    if preview:
        parser.add_argument('--preview', metavar='FILE.png',
                            help='draw a picture too')
    parser.add_argument('--quiet', action='store_true',
                        help='show no progress bar')
    parser.add_argument('--workers', type=positive_int, default=1,
                        help='number of processes; the output does not '
                        'depend on it (default: %(default)s)')
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
    parser.add_argument('--survey', metavar='NAME',
                        help='draw all bands of a survey, or of a .toml or '
                        '.yaml file (default: one random PSF per file)')
    _add_catalog(parser)


def _add_catalog(parser):
    """Options of where galaxies come from."""
    parser.add_argument('--catalog', metavar='FILE',
                        help='galaxy catalogue with the columns of Flagship '
                        '(FITS, parquet, CSV); default: the mock catalogue')
    parser.add_argument('--column', action='append', default=[],
                        metavar='KEY=NAME', type=_column,
                        help='another column of the catalogue, such as '
                        'redshift=z or flux_VIS=vis, or none with redshift=; '
                        'may be repeated')
    parser.add_argument('--suffix', default='', metavar='TEXT',
                        help='end of the names of its flux columns, such as '
                        '_el_model3_ext')
    parser.add_argument('--flux-kind', default='fnu',
                        choices=('fnu', 'microjansky', 'mag'),
                        help='what its fluxes are (default: %(default)s, '
                        'erg/s/cm2/Hz)')
    parser.add_argument('--real', metavar='DIR',
                        help='folder of real galaxies in the format of '
                        'GalSim, used where they are bright enough')


def _add_scene(parser):
    """Options of blends and fields."""
    parser.add_argument('--survey', default='euclid-wide', metavar='NAME',
                        help='a survey, several joined by "+", or a .toml '
                        'or .yaml file (default: %(default)s)')
    _add_catalog(parser)
    parser.add_argument('--real-split', default='all',
                        choices=('train', 'test', 'all'),
                        help='even rows, odd rows, or all of them (default: '
                        '%(default)s)')
    parser.add_argument('--correlated', action='store_true',
                        help='noise as of images resampled to the common '
                        'pixels, of the same depth')


def _add_background(parser):
    parser.add_argument('--background', type=float, default=0.0,
                        metavar='X', help='residual background in units of '
                        'the sky noise (default: none)')


def _add_blends(actions):
    parser = actions.add_parser(
        'blends', help='draw isolated galaxies or blends',
        description='Draw isolated galaxies or blends with their truth.')
    # the names are those of vaephot.simulate.CASES
    parser.add_argument('case', choices=(
        'isolated', 'faint', 'crowded', 'bright', 'extreme', 'cluster',
        'star'))
    _add_shared(parser, 'FILE.npz|FILE.fits')
    parser.add_argument('-n', '--number', type=positive_int, default=100,
                        help='number of blends (default: %(default)s)')
    for name, (number, text) in BLEND_RANGES.items():
        parser.add_argument(f'--{name.replace("_", "-")}', type=number,
                            nargs=2, metavar=('LOW', 'HIGH'),
                            help=f'{text} (default: that of the case)')
    _add_scene(parser)
    _add_background(parser)


def _add_field(actions):
    parser = actions.add_parser(
        'field', help='draw a whole field',
        description='Draw a field of galaxies and stars with its truth.')
    _add_shared(parser, 'FILE.fits')
    parser.add_argument('--shape', type=positive_int, nargs=2, metavar=('NY',
                        'NX'), default=(512, 512),
                        help='size in pixels (default: 512 512)')
    _add_scene(parser)
    _add_background(parser)
    parser.add_argument('--native', action='store_true',
                        help='each band on the pixels of its detector')
    _add_sky(parser)
    parser.add_argument('--clusters', type=_not_negative, default=0,
                        metavar='N',
                        help='clusters of galaxies (default: none)')
    parser.add_argument('--models', action='store_true',
                        help='write the images of the single sources too')


def _add_sky(parser):
    """Options of fields and mosaics."""
    parser.add_argument('--galaxy-density', type=float, default=130.0,
                        metavar='N', help='galaxies per square arcmin '
                        'brighter than 26 (default: %(default)s)')
    parser.add_argument('--star-density', type=float, default=None,
                        metavar='N', help='stars per square arcmin '
                        '(default: as in the direction of COSMOS)')
    parser.add_argument('--bad-pixels', type=float, default=0.0,
                        metavar='SHARE',
                        help='share of bad pixels (default: none)')
    parser.add_argument('--vary-psf', action='store_true',
                        help='let the PSF change across the field')
    parser.add_argument('--wings', type=positive_int, default=401,
                        metavar='PX', help='box that bright stars are drawn '
                        'in (default: %(default)s)')


def _add_mosaic(actions):
    parser = actions.add_parser(
        'mosaic', help='draw a mosaic of any size, part by part',
        description='Draw a mosaic of any size and write it part by part: '
        'images, noise, flags and PSF of each band, and the truth. Each cell '
        'of the sky has its own seed.')
    _add_shared(parser, 'DIR', preview=False)
    parser.add_argument('--shape', type=positive_int, nargs=2, metavar=('NY',
                        'NX'), default=(2048, 2048),
                        help='size in pixels (default: 2048 2048)')
    parser.add_argument('--part', type=positive_int, default=1024,
                        metavar='PX', help='side of what is drawn at once; '
                        'the mosaic does not depend on it (default: '
                        '%(default)s)')
    _add_scene(parser)
    _add_sky(parser)
    parser.add_argument('--uncovered', type=float, default=0.0,
                        metavar='SHARE', help='share of the sides that is '
                        'cut off at the corners (default: none)')


def _column(text):
    key, equals, name = text.partition('=')
    if not equals:
        msg = f'{text!r} is not of the form KEY=NAME'
        raise argparse.ArgumentTypeError(msg)
    return key, name


def _not_negative(text):
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
    check_outputs(getattr(args, 'preview', None), overwrite=args.overwrite)
    return _ACTIONS[args.action](args)


def _progress(args):
    return not args.quiet and sys.stderr.isatty()


def _sample(args, bands):
    """Sample of the catalogue; None is the mock catalogue."""
    from vaephot.simulate import ColumnMapping, sample_catalog

    if args.catalog is None:
        return None
    mapping = ColumnMapping(suffix=args.suffix, flux_kind=args.flux_kind)
    return sample_catalog(args.catalog, CATALOG_ROWS, bands, seed=args.seed,
                          mapping=mapping.renamed(dict(args.column)))


def _population(args, bands):
    """Where galaxies come from; None is the mock catalogue."""
    from vaephot.simulate import RealGalaxies

    base = _sample(args, bands)
    if args.real is None:
        return base
    return RealGalaxies(args.real, split=args.real_split, base=base)


def _stamps(args):
    from vaephot.simulate import get_survey, read_shard, write_store

    survey = get_survey(args.survey or CATALOG_SURVEY)
    population = _sample(args, survey.catalog_bands)
    folder = Path(args.output)
    if args.overwrite:
        _empty_store(folder)
    # each worker is one process; more threads would only compete
    os.environ.setdefault('OMP_NUM_THREADS', '1')
    manifest = write_store(
        folder, n_shards=args.shards, galaxies_per_shard=args.galaxies,
        stamp_size=args.stamp_size, seed=args.seed, n_workers=args.workers,
        survey=args.survey, real_folder=args.real, population=population,
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


def _case(args):
    """The case with the ranges that were chosen."""
    from dataclasses import replace

    from vaephot.simulate import CASES

    chosen = {name: tuple(getattr(args, name)) for name in BLEND_RANGES
              if getattr(args, name) is not None}
    return replace(CASES[args.case], **chosen) if chosen else args.case


def _blends(args):
    from vaephot.simulate import draw_blends, get_survey, write_blends
    from vaephot.simulate.blend_files import check_name

    check_outputs(args.output, args.preview, overwrite=args.overwrite)
    check_name(args.output)
    survey = get_survey(args.survey)
    blends = draw_blends(
        _case(args), args.number, survey=survey, seed=args.seed,
        population=_population(args, survey.catalog_bands),
        correlated=args.correlated, background=args.background,
        n_workers=args.workers, progress_bar=_progress(args))
    write_blends(args.output, blends, overwrite=args.overwrite)
    _write_preview(args, blends.image[:, 0] / blends.sky_rms[0])
    print(f'{len(blends)} blends: {args.output}')
    return 0


def _field_config(args, survey, **settings):
    from vaephot.simulate import FieldConfig, PSFVariation

    return FieldConfig(
        shape=tuple(args.shape), survey=survey,
        galaxy_density=args.galaxy_density, star_density=args.star_density,
        wing_pixels=args.wings,
        psf_variation=PSFVariation() if args.vary_psf else None,
        correlated=args.correlated, bad_pixel_share=args.bad_pixels,
        **settings)


def _field(args):
    from vaephot.simulate import (
        Cluster,
        draw_field,
        draw_native_field,
        get_survey,
        write_field,
    )

    check_outputs(args.output, args.preview, overwrite=args.overwrite)
    if args.models and args.native:
        msg = '--models needs one grid; leave out --native or --models.'
        raise UsageError(msg)
    survey = get_survey(args.survey)
    draw = draw_native_field if args.native else draw_field
    simulated = draw(
        _field_config(args, survey, background=args.background,
                      clusters=(Cluster(),) * args.clusters), seed=args.seed,
        population=_population(args, survey.catalog_bands),
        keep_models=args.models, n_workers=args.workers,
        progress_bar=_progress(args))
    write_field(args.output, simulated, overwrite=args.overwrite,
                with_models=args.models)
    parts = list(simulated.values()) if args.native else [simulated]
    _write_preview(args, [image / rms for part in parts for image, rms in
                          zip(part.image, part.sky_rms, strict=True)],
                   n_columns=2)
    print(f'{len(parts[0].truth)} sources: {args.output}')
    return 0


def _mosaic(args):
    from vaephot.simulate import MosaicConfig, get_survey, write_mosaic

    survey = get_survey(args.survey)
    config = MosaicConfig(field=_field_config(args, survey),
                          uncovered=args.uncovered)
    n_sources = write_mosaic(
        args.output, config, seed=args.seed, part=args.part,
        population=_population(args, survey.catalog_bands),
        n_workers=args.workers, overwrite=args.overwrite,
        progress_bar=_progress(args))
    print(f'{n_sources} sources: {args.output}')
    return 0


def _write_preview(args, images, n_columns=PREVIEW_SIDE):
    """Draw images in units of their noise on a grey scale."""
    if args.preview is None:
        return
    import numpy as np

    from vaephot.utils.optional_deps import import_optional

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
    'mosaic': _mosaic,
}
