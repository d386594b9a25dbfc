# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The subcommand ``vaephot deblend``."""

import argparse
from contextlib import ExitStack
from pathlib import Path

from vaephot.cli._options import UsageError
from vaephot.cli._output import (
    add_overwrite_option,
    atomic_write,
    check_outputs,
)

__all__ = ['REFINE', 'add_method_options', 'add_parser', 'names', 'run',
           'write_catalog']

CATALOG_SUFFIXES = ('.ecsv', '.fits', '.fit')
MAX_KEYWORD = 8  # longer ones are not in the FITS standard
FITS_SUFFIXES = ('.fits', '.fit')
# what the deblender calls them
REFINE = {'full': True, 'quick': False, 'network': 'network'}
PLOT_SUFFIXES = ('.png', '.pdf', '.svg', '.jpg')


def add_parser(subparsers):
    """
    Add the parser of the subcommand.

    Parameters
    ----------
    subparsers : argparse._SubParsersAction
        Where to add it.
    """
    parser = subparsers.add_parser(
        'deblend', help='deblend an image and measure its sources',
        description='Deblend the sources of an image in one or more bands '
        'and write a catalogue of their fluxes.',
        epilog='FILE may be file.fits or file.fits[EXT], with the name or '
        'the number of an extension. Values for several bands are '
        'separated by spaces or commas; one value counts for all bands.')
    parser.add_argument('images', metavar='IMAGE', nargs='+',
                        help='background-subtracted image: one FILE per '
                        'band, a cube, or one file with an extension of '
                        'the name of each band')
    _add_input_options(parser.add_argument_group('input'))
    _add_output_options(parser.add_argument_group('output'))
    add_method_options(parser.add_argument_group('method'))


def _add_input_options(group):
    add = group.add_argument
    add('--bands', type=names, metavar='A,B,...', help='names of the bands')
    add('--extension', type=_extension, metavar='EXT',
        help='extension of the images that name none (default: the first '
        'image of a file)')
    add('--segmentation', metavar='FILE',
        help='label image of the parents (default: detect them)')
    add('--error', nargs='+', metavar='VALUE',
        help='1-sigma noise: FILEs, numbers or a header keyword '
        '(default: estimated)')
    add('--error-type', choices=('rms', 'var', 'ivar'), default='rms',
        help='what --error holds: 1-sigma noise, variance or inverse '
        'variance (weight) (default: %(default)s)')
    add('--gain', nargs='+', metavar='VALUE',
        help='electrons per data unit: numbers, a header keyword, or '
        '"header" for GAIN; --error is then that of the background alone')
    add('--noise-correlation', nargs='+', type=float, metavar='FACTOR',
        help='noise of a large sum over that of independent pixels')
    add('--mask', nargs='+', metavar='FILE',
        help='bad pixels: anything but 0; of the maps of JWST, Euclid, HSC '
        'and Rubin the bits that are bad')
    add('--mask-bits', type=names, metavar='BIT,...',
        help='bits of --mask that are bad, as values or, for maps of HST, '
        'JWST, Euclid, HSC and Rubin, names (default: see --mask)')
    add('--saturation', nargs='+', metavar='LEVEL',
        help='level from which on pixels are saturated: numbers or a header '
        'keyword (default: SATURATE and the like, and flat tops of stars)')
    add('--subtract-background', action='store_true',
        help='subtract the sky, as photutils finds it between the sources')
    add('--psf', nargs='+', metavar='VALUE',
        help='FWHM of each band in pixels, or FILEs with images of the '
        'PSF; the keyword OVERSAMP of their headers is honoured '
        '(default: estimated)')
    add('--zeropoint', nargs='+', metavar='MAG',
        help='AB magnitude of a flux of 1 (default: from the unit or the '
        'header)')
    add('--positions', metavar='TABLE',
        help='table with columns x and y (0 is the first pixel) of the '
        'sources, which are then not searched')


def _add_output_options(group):
    add = group.add_argument
    add('-o', '--output', metavar='FILE', required=True,
        help='catalogue, .ecsv or .fits')
    add('--models', metavar='FILE',
        help='the whole result with all models, .fits')
    add('--segmentation-out', metavar='FILE',
        help='label image of the children, .fits')
    add('--plot', metavar='FILE', help='data, models and residuals, .png')
    add_overwrite_option(group)
    add('--quiet', action='store_true', help='show no progress bar')


def add_method_options(group):
    """
    Add the settings of the deblender.

    Parameters
    ----------
    group : argparse._ArgumentGroup
        Where to add them.
    """
    add = group.add_argument
    add('--n-pixels', type=int, default=5, metavar='N',
        help='least number of pixels of a source (default: %(default)s)')
    add('--contrast', type=float, default=0.001, metavar='SHARE',
        help="least share of its parent's flux (default: %(default)s)")
    add('--n-levels', type=int, default=32, metavar='N',
        help='levels of the peak search (default: %(default)s)')
    add('--mode', choices=('exponential', 'linear', 'sinh'),
        default='exponential', help='spacing of the levels '
        '(default: %(default)s)')
    add('--connectivity', type=int, choices=(4, 8), default=8,
        help='neighbours of a pixel (default: %(default)s)')
    add('--local-background', choices=('constant', 'plane'),
        help='fit a background around each group of sources')
    add('--refine', choices=tuple(REFINE), default='full',
        help='joint fit to convergence, a few steps of it, or none: shapes '
        'as the network sees them (default: %(default)s)')
    add('--no-refine', action='store_const', dest='refine', const='quick',
        help='the same as --refine quick')
    add('--weights', metavar='NAME',
        help='name or path of the weights (default: the default set)')
    add('--device', help='torch device (default: the best there is)')
    add('--batch-size', type=int, metavar='N', help='stamps at a time')


def names(text):
    """
    Read names separated by commas, as the ``type`` of an option.

    Parameters
    ----------
    text : str
        What the user wrote.

    Returns
    -------
    list of str
    """
    names = [name.strip() for name in text.split(',')]
    if not all(names):
        msg = f'{text!r} is no list of names separated by commas'
        raise argparse.ArgumentTypeError(msg)
    return names


def _extension(text):
    return int(text) if text.isdecimal() else text


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
    _check_suffixes(args)
    outputs = (args.output, args.models, args.segmentation_out, args.plot)
    check_outputs(*outputs, overwrite=args.overwrite)
    if args.plot is not None:
        from vaephot.utils.optional_deps import import_optional

        import_optional('matplotlib', '--plot')
    from vaephot.cli._inputs import read_inputs

    call = read_inputs(args)
    deblend = _make_deblender(args)
    if args.noise_correlation is not None:
        call['noise_correlation'] = (
            args.noise_correlation if len(args.noise_correlation) > 1
            else args.noise_correlation[0])
    result = deblend(**call)
    _write_outputs(args, result)
    print(f'{len(result)} sources: {args.output}')
    return 0


def _check_suffixes(args):
    """Refuse names whose suffix says another format."""
    for option, path, allowed in (
            ('-o', args.output, CATALOG_SUFFIXES),
            ('--models', args.models, FITS_SUFFIXES),
            ('--segmentation-out', args.segmentation_out, FITS_SUFFIXES),
            ('--plot', args.plot, PLOT_SUFFIXES)):
        if path is not None and Path(path).suffix.lower() not in allowed:
            msg = (f'{option} is {path}; its name must end in '
                   f'{" or ".join(allowed)}.')
            raise UsageError(msg, option=option, path=path)


def _make_deblender(args):
    """Deblender with the settings of the command line."""
    from vaephot.deblend.deblender import VAEDeblender
    from vaephot.exceptions import VaephotError

    try:
        return VAEDeblender(
            args.n_pixels, contrast=args.contrast, n_levels=args.n_levels,
            mode=args.mode, connectivity=args.connectivity,
            weights=args.weights, refine=REFINE[args.refine],
            local_background=args.local_background, device=args.device,
            batch_size=args.batch_size, progress_bar=not args.quiet)
    except VaephotError:
        raise
    except (TypeError, ValueError) as err:  # a setting out of range
        raise UsageError(str(err)) from err


def write_catalog(table, path):
    """
    Write a catalogue in the format that its suffix names.

    Parameters
    ----------
    table : `~astropy.table.QTable`
        The catalogue.
    path : path-like
        ``.ecsv`` or ``.fits``; replaced if it exists. In FITS, AB
        magnitudes have the unit mag.
    """
    if Path(path).suffix.lower() == '.ecsv':
        table.write(path, format='ascii.ecsv', overwrite=True)
        return
    _for_fits(table).write(path, format='fits', overwrite=True)


def _for_fits(table):
    """Copy with AB magnitudes in mag, and keywords that FITS can hold."""
    from astropy import units as u

    table = table.copy()
    for name in table.colnames:
        unit = getattr(table[name], 'unit', None)
        if isinstance(unit, u.function.FunctionUnitBase):
            table[name] = u.Quantity(table[name].value, u.mag)
    table.meta = {key if len(key) <= MAX_KEYWORD else f'HIERARCH {key}':
                  value for key, value in table.meta.items()}
    return table


def _write_segmentation(result, wcs, path):
    """Write the labels of the children."""
    import numpy as np
    from astropy.io import fits

    header = None if wcs is None else wcs.to_header()
    labels = np.asarray(result.segmentation_image.data, dtype=np.int32)
    hdu = fits.PrimaryHDU(labels, header=header)
    hdu.writeto(path, overwrite=True)


def _write_plot(result, path):
    """Write the figure of the whole frame."""
    import matplotlib.pyplot as plt

    figure = result.plot_segments()
    figure = getattr(figure, 'figure', None) or figure
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _write_outputs(args, result):
    """Write all files under temporary names, then move them."""
    writers = (
        (args.output, lambda path: write_catalog(result.table, path)),
        (args.models, lambda path: result.write(path, overwrite=True)),
        (args.segmentation_out, lambda path: _write_segmentation(
            result, result.band().wcs, path)),
        (args.plot, lambda path: _write_plot(result, path)))
    with ExitStack() as stack:
        for name, write in writers:
            if name is not None:
                write(stack.enter_context(
                    atomic_write(name, overwrite=args.overwrite)))
