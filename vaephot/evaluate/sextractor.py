# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The SExtractor program itself, if it is installed.

It runs in dual-image mode, once per band: detection and apertures in the
first band, fluxes in each. Options that `SepSettings
<vaephot.evaluate.baselines.SepSettings>` has too keep their names there.
"""

import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from astropy.io import fits

from vaephot.evaluate.baselines import SepSettings
from vaephot.evaluate.mosaic import make_mosaic
from vaephot.exceptions import EvaluationError, MissingDependencyError

__all__ = ['PROGRAMS', 'find_program', 'sextractor']

# names of the program in the distributions, newest first
PROGRAMS = ('source-extractor', 'sex', 'sextractor')
COLUMNS = ('NUMBER', 'X_IMAGE', 'Y_IMAGE', 'FLUX_AUTO', 'FLUXERR_AUTO')
# noise of bad pixels over that of the sky, and the threshold between them
BAD_NOISE, BAD_THRESHOLD = 1e4, 1e2
# larger than any pixel; bad ones are masked
NO_SATURATION = 1e9
# convolution mask of SExtractor's default.conv
KERNEL = 'CONV NORM\n1 2 1\n2 4 2\n1 2 1\n'


def find_program():
    """
    Find SExtractor.

    Returns
    -------
    str
        Path of the program.

    Raises
    ------
    MissingDependencyError
        If it is not installed.
    """
    for name in PROGRAMS:
        path = shutil.which(name)
        if path is not None:
            return path
    msg = ('the method sextractor needs the program SExtractor; install it '
           '(Debian: source-extractor) or use sep_default.')
    raise MissingDependencyError(msg, package='source-extractor')


def _options(settings, gain, memory):
    """Command-line options of SExtractor."""
    return {
        'DETECT_MINAREA': settings.n_pixels,
        'DETECT_THRESH': settings.threshold,
        'ANALYSIS_THRESH': settings.threshold, 'THRESH_TYPE': 'RELATIVE',
        'FILTER': 'Y', 'DEBLEND_NTHRESH': settings.n_levels,
        'DEBLEND_MINCONT': settings.contrast,
        'CLEAN': 'Y' if settings.clean else 'N',
        'CLEAN_PARAM': settings.clean_param,
        'MASK_TYPE': settings.mask_type.upper(),
        'PHOT_AUTOPARAMS': f'{settings.kron_factor},{settings.min_radius}',
        'GAIN': gain, 'BACK_TYPE': 'MANUAL', 'BACK_VALUE': '0.0',
        'WEIGHT_TYPE': 'MAP_RMS,MAP_RMS', 'SATUR_LEVEL': NO_SATURATION,
        'CATALOG_TYPE': 'FITS_1.0', 'VERBOSE_TYPE': 'QUIET', **memory}


def _run(program, folder, names, noises, options):
    """Run SExtractor on a detection and a measurement image."""
    options = {**options, 'PARAMETERS_NAME': 'columns',
               'FILTER_NAME': 'kernel', 'STARNNW_NAME': 'none',
               'CATALOG_NAME': 'catalog.fits',
               'WEIGHT_IMAGE': ','.join(noises),
               'WEIGHT_THRESH': ','.join(
                   str(fits.getval(folder / name, 'LIMIT'))
                   for name in noises)}
    command = [program, ','.join(names), '-c', 'none']
    for key, value in options.items():
        command += [f'-{key}', str(value)]
    done = subprocess.run(command, cwd=folder, capture_output=True,
                          text=True, check=False)
    if done.returncode != 0:
        msg = f'SExtractor failed: {done.stderr.strip()[-500:]}'
        raise EvaluationError(msg, command=command)
    with fits.open(folder / 'catalog.fits', memmap=False) as hdus:
        return np.array(hdus[1].data)


def sextractor(observed, **settings):
    """
    Measure blends with the SExtractor program.

    Parameters
    ----------
    observed : `~vaephot.evaluate.observed.ObservedBlends`
        The blends.
    **settings
        As for `~vaephot.evaluate.baselines.SepSettings`.

    Returns
    -------
    list of dict
        One per blend.

    Raises
    ------
    MissingDependencyError
        If SExtractor is not installed.
    EvaluationError
        If it fails.
    """
    program, settings = find_program(), SepSettings(**settings)
    mosaic = make_mosaic(observed)
    memory = {'MEMORY_OBJSTACK': 60000, 'MEMORY_BUFSIZE': 4096,
              'MEMORY_PIXSTACK': max(mosaic.gap.size, 300000)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / 'columns').write_text('\n'.join(COLUMNS) + '\n')
        (folder / 'kernel').write_text(KERNEL)
        (folder / 'none').write_text('')
        for b, sky_rms in enumerate(observed.sky_rms):
            _write(folder, b, mosaic, sky_rms)
        catalogs = []
        for b, gain in enumerate(observed.gain):
            options = _options(settings, gain, memory)
            if b == 0:
                options |= {'CHECKIMAGE_TYPE': 'SEGMENTATION',
                            'CHECKIMAGE_NAME': 'segmentation.fits'}
            catalogs.append(_run(
                program, folder, ('image0.fits', f'image{b}.fits'),
                ('noise0.fits', f'noise{b}.fits'), options))
        segm = fits.getdata(folder / 'segmentation.fits').astype(int)
    return _collect(observed, mosaic, catalogs, segm)


def _write(folder, b, mosaic, sky_rms):
    """Image and noise of a band; bad pixels have a large noise."""
    fits.writeto(folder / f'image{b}.fits',
                 mosaic.image[b].astype(np.float32))
    noise = np.where(mosaic.mask[b], BAD_NOISE * sky_rms, sky_rms)
    header = fits.Header({'LIMIT': BAD_THRESHOLD * sky_rms})
    fits.writeto(folder / f'noise{b}.fits', noise.astype(np.float32),
                 header)


def _collect(observed, mosaic, catalogs, segm):
    """Rows of each blend from the catalogues of the bands."""
    first = catalogs[0]
    xy = np.stack([first['X_IMAGE'] - 1, first['Y_IMAGE'] - 1],
                  axis=1).astype(float)
    flux, error = (np.stack([catalog[name] for catalog in catalogs],
                            axis=1).astype(float)
                   for name in ('FLUX_AUTO', 'FLUXERR_AUTO'))
    # cleaned detections leave their labels in the map but no row
    order = np.zeros(max(segm.max(), first['NUMBER'].max(initial=0)) + 1,
                     int)
    order[first['NUMBER']] = np.arange(1, len(first) + 1)
    return mosaic.split_rows(xy, flux, error * observed.noise_correlation,
                       order[segm])
