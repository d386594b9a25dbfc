# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The subcommand ``vaephot survey``."""

from pathlib import Path

from vaephot.cli._options import UsageError, positive_int
from vaephot.cli.deblend import REFINE, add_method_options, names

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
        'survey', help='deblend a mosaic of any size, tile by tile',
        description='Deblend a mosaic of any size in tiles on Dask. Only '
        'parts of the files are read. The same command on the same output '
        'goes on where an earlier one ended.',
        epilog='FILE may be file.fits or file.fits[EXT], or an address where '
        'fsspec is installed. Files of one band that overlap are joined by '
        '"+", as in a.fits+b.fits. Values for several bands are separated by '
        'spaces.')
    parser.add_argument('images', metavar='IMAGE', nargs='+',
                        help='background-subtracted image: one FILE per '
                        'band, a cube, one file with an extension of the '
                        'name of each band, or a folder of Euclid MER tiles')
    _add_input_options(parser.add_argument_group('input'))
    _add_tile_options(parser.add_argument_group('tiles and output'))
    _add_run_options(parser.add_argument_group('workers'))
    add_method_options(parser.add_argument_group('method'))


def _add_input_options(group):
    add = group.add_argument
    add('--bands', type=names, metavar='A,B,...', help='names of the bands')
    add('--segmentation', metavar='FILE',
        help='label image of the parents (default: detect them)')
    add('--error', nargs='+', metavar='VALUE',
        help='1-sigma noise: FILEs or numbers (default: estimated)')
    add('--error-type', choices=('rms', 'var', 'ivar'), default='rms',
        help='what the files of --error hold (default: %(default)s)')
    add('--gain', nargs='+', metavar='VALUE',
        help='electrons per data unit: numbers, a header keyword, or '
        '"header" for GAIN; --error is then that of the background alone')
    add('--mask', nargs='+', metavar='FILE',
        help='bad pixels: anything but 0')
    add('--mask-bits', type=positive_int, metavar='N',
        help='sum of the bits that mark bad pixels (default: all)')
    add('--psf', nargs='+', metavar='VALUE',
        help='FWHM of each band in pixels, or FILEs with images of the PSF '
        '(default: estimated)')
    add('--zeropoint', nargs='+', type=float, metavar='MAG',
        help='AB magnitude of a flux of 1 (default: from the unit or the '
        'header)')
    add('--positions', metavar='TABLE',
        help='table of the sources, which are then not searched')


def _add_tile_options(group):
    add = group.add_argument
    add('-o', '--output', metavar='DIR', required=True,
        help='folder of the results')
    add('--tile', type=positive_int, default=2048, metavar='PX',
        help='side of the tiles (default: %(default)s)')
    add('--halo', type=positive_int, metavar='PX',
        help='pixels around a tile that are seen with it (default: 12 FWHM '
        'of the widest PSF, at least 64)')
    add('--model', action='store_true', help='write the model image')
    add('--residual', action='store_true', help='write the residual image')
    add('--hats', action='store_true',
        help='write a HATS catalogue too; needs hats-import')
    add('--quiet', action='store_true', help='show no progress')


def _add_run_options(group):
    add = group.add_argument
    add('--workers', type=positive_int, metavar='N',
        help='processes (default: one per core)')
    add('--threads', type=positive_int, default=1, metavar='N',
        help='threads in each (default: %(default)s)')
    add('--scheduler', metavar='ADDRESS',
        help='Dask scheduler to use, as in tcp://host:8786')
    add('--gpus', type=int, default=0, metavar='N',
        help='GPUs to use, one worker each (default: none)')


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
        0 if all went well, 1 if tiles were set aside.
    """
    from vaephot.utils.optional_deps import import_optional

    import_optional('distributed', 'vaephot survey')
    if args.hats:
        import_optional('hats_import', '--hats')
    from vaephot.scale import deblend_mosaic

    found = deblend_mosaic(
        output=args.output, tile=args.tile, halo=args.halo,
        write_images=[name for name in ('model', 'residual')
                      if getattr(args, name)],
        workers=args.workers, threads=args.threads,
        scheduler=args.scheduler, gpus=args.gpus, quiet=args.quiet,
        **_inputs(args), **_settings(args))
    if args.hats:
        from vaephot.scale.hats import write_hats

        write_hats(found.catalog, Path(args.output, 'hats'))
    print(f'{found.n_sources} sources: {found.catalog}')
    for name, why in found.failed.items():
        print(f'set aside: {name}: {why}')
    return 1 if found.failed else 0


def _settings(args):
    """Settings of the deblender."""
    return {
        'n_pixels': args.n_pixels, 'contrast': args.contrast,
        'n_levels': args.n_levels, 'mode': args.mode,
        'connectivity': args.connectivity, 'weights': args.weights,
        'refine': REFINE[args.refine], 'device': args.device,
        'local_background': args.local_background,
        'batch_size': args.batch_size}


def _numbers(values, option):
    """Numbers, or files, never both."""
    if values is None:
        return None
    try:
        return [float(value) for value in values]
    except ValueError:
        if any(_is_number(value) for value in values):
            msg = f'{option} mixes numbers and files: {" ".join(values)}.'
            raise UsageError(msg, option=option) from None
        return None


def _is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True


def _files(values, bands, option):
    """Files of each band; those joined by + are of one band."""
    joined = [text if Path(text).exists() or '+' not in text
              else text.split('+') for text in values]
    if bands is None or len(joined) == 1:
        return joined
    if len(joined) != len(bands):
        msg = (f'{option} has {len(joined)} values for {len(bands)} bands '
               f'({", ".join(bands)}); give one for each.')
        raise UsageError(msg, option=option)
    return dict(zip(bands, joined, strict=True))


def _inputs(args):
    """Arguments of `~vaephot.scale.deblend_mosaic` on its inputs."""
    from vaephot.cli._inputs import read_positions

    if len(args.images) == 1 and Path(args.images[0]).is_dir():
        from vaephot.scale.mer_tiles import find_mer_files

        found = find_mer_files(args.images[0])
    else:
        found = {'bands': args.bands, 'images': _files(
            args.images, args.bands, 'IMAGE')}
    bands = found['bands']
    for option in ('error', 'psf'):
        values = getattr(args, option)
        if values is not None:
            numbers = _numbers(values, f'--{option}')
            found[option] = (_files(values, bands, f'--{option}')
                             if numbers is None else numbers)
    if args.mask is not None:
        found['mask'] = _files(args.mask, bands, '--mask')
    if args.gain is not None:
        numbers = _numbers(args.gain, '--gain')
        found['gain'] = args.gain[0] if numbers is None else numbers
    if args.positions is not None:
        found['positions'] = read_positions(args.positions)
    return {**found, 'error_type': args.error_type,
            'mask_bits': args.mask_bits, 'zeropoint': args.zeropoint,
            'segmentation': args.segmentation}
