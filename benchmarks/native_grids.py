# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Fit bands on their own pixel grids, beside the same bands resampled.

Pairs of galaxies are drawn in VIS (0.1 arcsec), H (0.3) and g, r (0.2) with
the depths of the Euclid wide survey and of ten years of Rubin. Once the
images are handed over as they are, once all but VIS are interpolated to the
pixels of VIS with cubic splines, with the PSF and the noise that they have
there, and the noise correlation given. Noise and positions are the same.
"""

import argparse
import time
from dataclasses import dataclass
from itertools import pairwise

import galsim
import numpy as np
from astropy.nddata import NDData
from astropy.stats import mad_std
from astropy.table import QTable
from astropy.wcs import WCS
from mosaic import describe_software
from photutils.psf import ImagePSF
from photutils.segmentation import detect_sources
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.signal import fftconvolve

from vaephot import VAEDeblender
from vaephot.weights import load_weights

ZEROPOINT = 23.9
OVERSAMPLING = 3
# side of a blend in arcsec
CELL = 6.4
# 1-sigma scatter of positions that are given, arcsec
POSITION_SIGMA = 0.02
EDGES = (21.5, 23.5, 24.5, 25.5)
COLORS = (('VIS', 'H'), ('g', 'r'))


@dataclass(frozen=True)
class Band:
    """
    A band: pixel scale, FWHM of the PSF without pixel in arcsec, noise.

    ``noise`` is that of a pixel in microjansky.
    """

    name: str
    scale: float
    fwhm: float
    noise: float


# noise of VIS: 10 sigma at 25.6 in 1.3 arcsec (Euclid Q1); H: zeropoint,
# sky and read noise of NISP in 4 exposures; g and r: 5 sigma point sources
# at 26.8 and 27.0
BANDS = (Band('VIS', 0.1, 0.13, 1.81e-3), Band('H', 0.3, 0.35, 0.0246),
         Band('g', 0.2, 0.86, 2.14e-3), Band('r', 0.2, 0.81, 1.89e-3))


def parse_arguments():
    """Command line of the script."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    add = parser.add_argument
    add('--n', type=int, default=100, help='pairs (default: %(default)s)')
    add('--seed', type=int, default=21, help='default: %(default)s')
    add('--weights', metavar='NAME',
        help='name or path of the weights (default: the default set)')
    add('--device', help='torch device (default: the best there is)')
    args = parser.parse_args()
    if args.n < 1:
        parser.error(f'--n is {args.n}; it must be at least 1')
    return args


def draw_catalog(n_pairs, rng):
    """Positions in arcsec, magnitudes and shapes of all galaxies."""
    side = int(np.ceil(np.sqrt(n_pairs)))
    cell = np.stack(np.divmod(np.arange(n_pairs), side), 1)[:, ::-1]
    first = (cell + 0.5) * CELL + rng.uniform(-0.3, 0.3, (n_pairs, 2))
    angle = rng.uniform(0, 2 * np.pi, n_pairs)
    distance = rng.uniform(0.5, 1.6, n_pairs)
    second = first + distance[:, None] * np.stack(
        [np.cos(angle), np.sin(angle)], 1)
    n = 2 * n_pairs
    vis = rng.uniform(*EDGES[::3], n)
    color = rng.normal((0, -0.8, 0.6, 0.1), (0, 0.4, 0.4, 0.15), (n, 4))
    mag = vis[:, None] + color
    return QTable({
        'xy': np.concatenate([first, second]), 'mag': mag,
        'flux': 10 ** (0.4 * (ZEROPOINT - mag)),
        # COSMOS galaxies have about 0.28 arcsec at 25, brighter ones more
        'radius': 0.28 * 10 ** (0.12 * (25 - vis)) * np.exp(
            rng.normal(0, 0.3, n)),
        'bulge': rng.uniform(0, 0.5, n),
        'q': rng.uniform(0.3, 1, n), 'beta': rng.uniform(0, np.pi, n)}), side


def _galaxy(row):
    disk = galsim.Exponential(half_light_radius=row['radius'])
    bulge = galsim.Sersic(n=3, half_light_radius=0.5 * row['radius'],
                          trunc=5 * row['radius'])
    galaxy = (1 - row['bulge']) * disk + row['bulge'] * bulge
    return galaxy.shear(q=row['q'], beta=row['beta'] * galsim.radians)


def _psf(band):
    """PSF of a band, pixel excluded."""
    return galsim.Moffat(beta=4.0, fwhm=band.fwhm)


def draw_image(catalog, index, side):
    """Noise-free image of a band on its own pixels."""
    band, psf = BANDS[index], _psf(BANDS[index])
    n = int(np.ceil(side * CELL / band.scale))
    image = galsim.ImageD(n, n, scale=band.scale)
    stamp_size = int(12 / band.scale)
    for row in catalog:
        # the corner of the first pixel lies at 0
        x, y = row['xy'] / band.scale + 0.5
        stamp = galsim.Convolve(
            _galaxy(row).withFlux(row['flux'][index]), psf).drawImage(
                nx=stamp_size, ny=stamp_size, scale=band.scale,
                center=(x, y))
        bounds = stamp.bounds & image.bounds
        image[bounds] += stamp[bounds]
    return image.array


def effective_psf(band):
    """Image of the PSF, pixel included, sampled three times per pixel."""
    size = int(8 / band.scale) * OVERSAMPLING // 2 * 2 + 1
    image = galsim.Convolve(_psf(band), galsim.Pixel(band.scale)).drawImage(
        nx=size, ny=size, scale=band.scale / OVERSAMPLING,
        method='no_pixel')
    return image.array / image.array.sum()


def make_wcs(band, side):
    """Coordinates of the pixels of a band."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = 'RA---TAN', 'DEC--TAN'
    wcs.wcs.crval = 150.0, 2.0
    wcs.wcs.cdelt = -band.scale / 3600, band.scale / 3600
    wcs.wcs.crpix = [side * CELL / 2 / band.scale + 0.5] * 2
    return wcs


def resample(image, ratio, n):
    """Interpolate to ``n`` pixels, ``ratio`` times as many per length."""
    place = (np.arange(n) + 0.5) / ratio - 0.5
    y, x = np.meshgrid(place, place, indexing='ij')
    return map_coordinates(image, [y, x], order=3,
                           mode='nearest') / ratio ** 2


def resampled_psf(band, target):
    """PSF after interpolation, sampled three times per new pixel."""
    ratio = band.scale / target.scale
    step = target.scale / OVERSAMPLING
    size = int(8 / target.scale) * OVERSAMPLING // 2 * 2 + 1
    psf = galsim.Convolve(_psf(band), galsim.Pixel(band.scale)).drawImage(
        nx=size, ny=size, scale=step, method='no_pixel').array
    # the kernel of the spline: what it makes of a single pixel
    n = 41
    delta = np.zeros((n, n))
    delta[n // 2, n // 2] = 1
    half = int(8 * ratio * OVERSAMPLING)
    place = n // 2 + np.arange(-half, half + 1) / (ratio * OVERSAMPLING)
    y, x = np.meshgrid(place, place, indexing='ij')
    kernel = map_coordinates(delta, [y, x], order=3)
    image = fftconvolve(psf, kernel, mode='same')
    return image / image.sum()


def native_inputs(images, side):
    """What a deblender is told of images on their own grids."""
    return {
        'data': {band.name: NDData(image, wcs=make_wcs(band, side))
                 for band, image in zip(BANDS, images, strict=True)},
        'error': {band.name: band.noise for band in BANDS},
        'psf': {band.name: ImagePSF(effective_psf(band),
                                    oversampling=OVERSAMPLING)
                for band in BANDS}, 'zeropoint': ZEROPOINT}


def resampled_inputs(images, side, rng):
    """What it is told of the images resampled to the first grid."""
    first, n = BANDS[0], len(images[0])
    data, error, factor, psf = [], [], [], []
    for band, image in zip(BANDS, images, strict=True):
        if band.scale == first.scale:
            data.append(image)
            error.append(band.noise)
            factor.append(1.0)
            psf.append(effective_psf(band))
            continue
        ratio = band.scale / first.scale
        data.append(resample(image, ratio, n))
        white = rng.normal(0, band.noise, (256, 256))
        scatter = resample(white, ratio, int(250 * ratio)).std()
        error.append(scatter)
        factor.append(band.noise / ratio / scatter)
        psf.append(resampled_psf(band, first))
    return {'data': np.array(data), 'error': error,
            'noise_correlation': factor, 'wcs': make_wcs(first, side),
            'bands': [band.name for band in BANDS], 'zeropoint': ZEROPOINT,
            'psf': [ImagePSF(p, oversampling=OVERSAMPLING) for p in psf]}


def detect(image):
    """Parents: connected pixels of the smoothed first band."""
    smooth = gaussian_filter(image, 1.0)
    noise = BANDS[0].noise / np.sqrt(4 * np.pi)
    return detect_sources(smooth, 2.0 * noise, 5)


def _errors(result, catalog, name):
    """Relative flux error, or error of a colour, and its pull."""
    names = [band.name for band in BANDS]
    if '-' not in name:
        flux = np.asarray(result.table[f'flux_{name}'])
        true = catalog['flux'][:, names.index(name)]
        return (flux / true - 1,
                (flux - true) / np.asarray(result.table[f'flux_err_{name}']))
    one, two = name.split('-')
    table = result.colors(one, two)
    true = (catalog['mag'][:, names.index(one)]
            - catalog['mag'][:, names.index(two)])
    error = table[name].value - true
    return error, error / table[f'{name}_err'].value


def score(results, catalog):
    """Table of bias, scatter and pulls in bins of true VIS magnitude."""
    rows = []
    names = [band.name for band in BANDS] + ['-'.join(c) for c in COLORS]
    vis = catalog['mag'][:, 0]
    for name in names:
        for low, high in pairwise(EDGES):
            mine = (vis >= low) & (vis < high)
            row = {'what': name, 'VIS': f'{low:g}-{high:g}',
                   'n': int(mine.sum())}
            for method, result in results.items():
                error, pull = (v[mine] for v in _errors(result, catalog,
                                                        name))
                scatter, pull = (mad_std(v, ignore_nan=True)
                                 for v in (error, pull))
                row |= {f'bias {method}': f'{np.nanmedian(error):+.3f}',
                        f'nmad {method}': f'{scatter:.3f}',
                        f'pull {method}': f'{pull:.2f}'}
            rows.append(row)
    return QTable(rows)


def main():
    """Draw, fit twice, compare."""
    args = parse_arguments()
    rng = np.random.default_rng(args.seed)
    catalog, side = draw_catalog(args.n, rng)
    images = [draw_image(catalog, i, side) for i in range(len(BANDS))]
    images = [image + rng.normal(0, band.noise, image.shape)
              for image, band in zip(images, BANDS, strict=True)]
    scale = BANDS[0].scale
    positions = (catalog['xy'] + rng.normal(
        0, POSITION_SIGMA, catalog['xy'].shape)) / scale - 0.5
    segm = detect(images[0])
    deblend = VAEDeblender(weights=args.weights, device=args.device)
    results, seconds = {}, {}
    for method, inputs in (
            ('native', native_inputs(images, side)),
            ('resampled', resampled_inputs(images, side, rng))):
        start = time.perf_counter()
        results[method] = deblend(segmentation_image=segm,
                                  positions=positions, **inputs)
        seconds[method] = time.perf_counter() - start
    about = {'pairs': f'{args.n}, seed {args.seed}, positions given to '
                      f'{POSITION_SIGMA} arcsec',
             'seconds': ', '.join(f'{k} {v:.1f}' for k, v in seconds.items()),
             **describe_software(load_weights(args.weights).record)}
    for key, text in about.items():
        print(f'# {key}: {text}')
    print('\n'.join(score(results, catalog).pformat(max_lines=-1,
                                                    max_width=-1)))


if __name__ == '__main__':
    main()
