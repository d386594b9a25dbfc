# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The subcommand ``vaephot psf``."""

from pathlib import Path

from vaephot.cli._options import UsageError
from vaephot.cli._output import (
    add_overwrite_option,
    atomic_write,
    check_outputs,
)

__all__ = ['add_parser', 'run']

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
        'psf', help='build the PSF of an image from its stars',
        description='Build the PSF of an image from its stars, or read one '
        'from a file, and write it as --psf of "vaephot deblend" takes it.')
    parser.add_argument('image', metavar='IMAGE',
                        help='background-subtracted image, file.fits or '
                        'file.fits[EXT]')
    parser.add_argument('-o', '--output', metavar='FILE', required=True,
                        help='the PSF, .fits')
    parser.add_argument('--plot', metavar='FILE',
                        help='stars, PSF and profile, .png')
    parser.add_argument('--error', metavar='VALUE',
                        help='1-sigma noise: FILE or number (default: '
                        'estimated)')
    parser.add_argument('--gain', type=float, metavar='G',
                        help='electrons per data unit')
    parser.add_argument('--mask', metavar='FILE',
                        help='bad pixels: anything but 0')
    parser.add_argument('--psf', metavar='FILE',
                        help='PSF of another tool, to be checked with the '
                        'stars, drawn and written instead')
    add_overwrite_option(parser)


def _error(text):
    """Number or image of the noise."""
    from vaephot.utils.fits_images import read_image

    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        return read_image(text).data


def _observe(args):
    """Observation of the image with its PSF."""
    from vaephot.deblend.inputs.psf import read_psf
    from vaephot.deblend.inputs.read import prepare_observation
    from vaephot.utils.fits_images import read_image, split_extension

    image = read_image(args.image)
    if image.data.ndim != 2:
        msg = (f'{image.name} has the shape {image.data.shape}; give one '
               'image (y, x).')
        raise UsageError(msg, shape=image.data.shape)
    psf = None
    if args.psf is not None:
        psf = read_psf(*split_extension(args.psf))
    mask = None if args.mask is None else read_image(args.mask).data != 0
    return prepare_observation(image.data, error=_error(args.error),
                               gain=args.gain, mask=mask, psf=psf)


def _built(observation, name):
    """PSF of an observation; an error if it has too few stars."""
    from vaephot.exceptions import PSFError

    (psf,) = observation.psfs
    if psf.stars is not None and len(psf.stars.x) == 0:
        msg = (f'{name} has too few stars for a PSF: no width is shared by '
               f'clearly more of its {psf.stars.n_candidates} isolated '
               'sources than others. Is the background subtracted, and is '
               '--error right?')
        raise PSFError(msg, n_candidates=psf.stars.n_candidates)
    return psf


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
        Exit code.
    """
    check_outputs(args.output, args.plot, overwrite=args.overwrite)
    if args.plot is not None and Path(args.plot).suffix not in PLOT_SUFFIXES:
        msg = (f'--plot is {args.plot}; its ending must be one of '
               f'{", ".join(PLOT_SUFFIXES)}.')
        raise UsageError(msg, path=args.plot)
    from vaephot.deblend.inputs.psf import write_psf

    observation = _observe(args)
    psf = _built(observation, args.image)
    shape = observation.data.shape[1:]
    with atomic_write(args.output, overwrite=args.overwrite) as temporary:
        write_psf(temporary, psf, shape)
    if args.plot is not None:
        _plot(args, psf, observation.data[0])
    print(f'{psf.describe()}; wrote {args.output}')
    return 0


def _plot(args, psf, frame):
    """Write the figure."""
    from vaephot.cli._psf_figure import draw_psf

    ny, nx = frame.shape
    image, oversampling = psf.sample((nx - 1) / 2, (ny - 1) / 2)
    x, y = ([], []) if psf.stars is None else (psf.stars.x, psf.stars.y)
    figure = draw_psf(image, oversampling, frame, x, y)
    with atomic_write(args.plot, overwrite=args.overwrite) as temporary:
        figure.savefig(temporary, format=Path(args.plot).suffix[1:])
