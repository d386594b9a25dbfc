# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Small analytic scenes for the regression test of the public interface.

Galaxies are sums of Gaussians that approximate Sersic profiles, PSFs are
sums of Gaussians that include the pixel, so that the values at the pixel
centres are exact. Fluxes are in microjansky, lengths in pixels of 0.1 arcsec.
"""

import os
import warnings
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from astropy.nddata import NDData
from astropy.table import Table
from astropy.wcs import WCS
from photutils.psf import ImagePSF
from photutils.segmentation import SegmentationImage
from scipy.ndimage import binary_dilation, label
from scipy.optimize import nnls
from scipy.special import gammaincinv

from vaephot import VAEDeblender, deblend_sources
from vaephot.exceptions import DeblendWarning

BANDS = ('VIS', 'Y', 'J', 'H')
ZEROPOINT = 23.9
# FWHM of the core of the PSF; noise of the sky per pixel, electrons per
# unit: about those of the Euclid Wide Survey on a common grid
FWHM = {'VIS': 1.6, 'Y': 4.8, 'J': 4.9, 'H': 4.9}
SKY_RMS = {'VIS': 1.8e-3, 'Y': 1.6e-2, 'J': 1.3e-2, 'H': 1.3e-2}
GAIN = {'VIS': 14500.0, 'Y': 1100.0, 'J': 1100.0, 'H': 1100.0}
COLOR = {'VIS': 1.0, 'Y': 1.5, 'J': 1.8, 'H': 2.2}
# share and width of the Gaussians of a PSF, in widths of its core
PSF_PARTS = ((0.85, 1.0), (0.13, 2.0), (0.02, 4.0))
OVERSAMPLING = 3
SCENES = {}


# ------------------------------------------------------------------ sources
@cache
def sersic_mixture(index):
    """Shares and variances of Gaussians; the half-light radius is 1."""
    sigma = np.geomspace(0.01, 3 * index ** 0.7, 16)
    radius = np.geomspace(0.005, 7, 300)[:, None]
    profile = np.exp(-gammaincinv(2 * index, 0.5) * radius ** (1 / index))
    basis = np.exp(-0.5 * (radius / sigma) ** 2) / sigma ** 2
    share, _ = nnls(basis * radius, (profile * radius)[:, 0], maxiter=5000)
    return share / share.sum(), sigma ** 2


def covariance(radius, ratio, angle):
    """Covariance of an ellipse of a geometric mean radius; degrees."""
    c, s = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    turn = np.array([[c, -s], [s, c]])
    return radius ** 2 * turn @ np.diag([1 / ratio, ratio]) @ turn.T


def profile(index, radius, *, ratio=1.0, angle=0.0, share=1.0,
            offset=(0.0, 0.0)):
    """Gaussians (share, offset, covariance) of one Sersic profile."""
    shape = covariance(radius, ratio, angle)
    return [(share * part, offset, variance * shape) for part, variance
            in zip(*sersic_mixture(index), strict=True) if part > 0]


def source(x, y, mag, parts, color=1.0):
    """Source of a VIS magnitude; ``color`` is the power of the colours."""
    total = 10 ** (-0.4 * (mag - ZEROPOINT))
    flux = {band: total * COLOR[band] ** color for band in BANDS}
    return SimpleNamespace(x=x, y=y, flux=flux, parts=parts)


def disk(x, y, mag, radius=2.5, ratio=0.7, angle=30.0, *, color=1.0):
    """Exponential disk."""
    return source(x, y, mag, profile(1, radius, ratio=ratio, angle=angle),
                  color)


def bulge_and_disk(x, y, mag, radius=6.0, ratio=0.6, angle=70.0):
    """Galaxy with a third of its light in a de Vaucouleurs bulge."""
    return source(x, y, mag, [
        *profile(4, 0.4 * radius, ratio=0.9, angle=angle, share=0.33),
        *profile(1, radius, ratio=ratio, angle=angle, share=0.67)])


def lopsided(x, y, mag, radius=5.0):
    """Disk whose outer half lies to one side, with three knots."""
    knots = [(0.05, offset, 0.3 * np.eye(2))
             for offset in ((4.0, 1.5), (-2.5, 3.0), (1.0, -4.5))]
    return source(x, y, mag, [
        *profile(1, 0.8 * radius, share=0.55),
        *profile(1, 1.2 * radius, share=0.3, offset=(2.5, 1.0)),
        *knots])


def star(x, y, mag):
    """Point source."""
    return source(x, y, mag, [(1.0, (0.0, 0.0), np.zeros((2, 2)))], 0.5)


# ------------------------------------------------------- PSFs and drawing
def mixture(band, x=0.0, y=0.0):
    """Shares and sigmas of the PSF of a band, the same everywhere."""
    return [(share, width * FWHM[band] / 2.3548)
            for share, width in PSF_PARTS]


def varying_mixture(band, x=45.0, y=23.0):
    """PSF that is up to a quarter wider at the right and the top."""
    factor = 1 + 0.15 * x / 60 + 0.1 * y / 60
    return [(share, factor * sigma) for share, sigma in mixture(band)]


def wide_mixture(band, x=0.0, y=0.0):
    """PSF with some of its light in a halo of a sigma of 8 pixels."""
    return [*((0.98 * share, sigma) for share, sigma in mixture(band)),
            (0.02, 8.0)]


def psf_model(parts, half=15):
    """PSF as photutils takes it, cut at ``half`` pixels and a half."""
    side = OVERSAMPLING * (2 * half + 1)
    grid = (np.arange(side) - side // 2) / OVERSAMPLING
    square = grid ** 2 + grid[:, None] ** 2
    image = sum(share / sigma ** 2 * np.exp(-0.5 * square / sigma ** 2)
                for share, sigma in parts)
    return ImagePSF(image * OVERSAMPLING ** 2 / image.sum(),
                    oversampling=OVERSAMPLING)


def gaussian(x, y, cov):
    """Density of a two-dimensional Gaussian."""
    inverse = np.linalg.inv(cov)
    square = (inverse[0, 0] * x ** 2 + inverse[1, 1] * y ** 2
              + 2 * inverse[0, 1] * x * y)
    norm = 2 * np.pi * np.sqrt(np.linalg.det(cov))
    return np.exp(-0.5 * square) / norm


def draw_one(item, shape, psf, jacobian=None):
    """Draw a source of unit flux; the Jacobian turns its shape."""
    jacobian = np.eye(2) if jacobian is None else jacobian
    y, x = np.mgrid[:shape[0], :shape[1]]
    out = np.zeros(shape)
    for share, offset, cov in item.parts:
        dx, dy = jacobian @ offset
        own = jacobian @ cov @ jacobian.T
        for weight, sigma in psf:
            out += share * weight * gaussian(
                x - item.x - dx, y - item.y - dy, own + sigma ** 2 * np.eye(2))
    return out


def draw(sources, shape, psf=mixture, bands=BANDS):
    """Draw the sources without noise, `(n_bands, ny, nx)`."""
    return np.array([sum(
        item.flux[band] * draw_one(item, shape, psf(band, item.x, item.y))
        for item in sources) for band in bands])


def per_band(values, bands=BANDS):
    """Array `(n_bands, 1, 1)` of the values of some bands."""
    return np.array([values[band] for band in bands])[:, None, None]


def observe(sources, shape, seed, *, psf=mixture, bands=BANDS):
    """Noisy images, their errors and parents above the sky."""
    model = draw(sources, shape, psf, bands)
    rms = per_band(SKY_RMS, bands)
    error = np.sqrt(rms ** 2 + model / per_band(GAIN, bands))
    noise = np.random.default_rng(seed).standard_normal(model.shape)
    return SimpleNamespace(data=model + error * noise, error=error,
                           segm=parents(model[0], rms[0, 0, 0]), model=model)


def parents(model, rms, threshold=1.2):
    """Connected regions of an image without noise."""
    found, _ = label(model > threshold * rms, np.ones((3, 3)))
    return found


def positions(sources, seed, error=0.2):
    """Catalogue positions with the error of one."""
    true = np.array([(item.x, item.y) for item in sources])
    rng = np.random.default_rng(1000 + seed)
    return true + error * rng.standard_normal(true.shape)


# --------------------------------------------------------------- scenes
def scene(function):
    """Register a scene under the name of its function."""
    SCENES[function.__name__] = function
    return function


def scene_of(image, *, psf=mixture, settings=None, **call):
    """Put together what a deblender is set up and called with."""
    bands = call.setdefault('bands', BANDS)
    given = {'data': image.data, 'segmentation_image': image.segm,
             'error': image.error,
             'psf': [psf_model(psf(band)) for band in bands]}
    return SimpleNamespace(settings=settings or {}, call={**given, **call})


def told(sources, shape, seed, *, psf=mixture, **options):
    """Scene with the positions given."""
    image = observe(sources, shape, seed, psf=psf)
    options.setdefault('positions', positions(sources, seed))
    return scene_of(image, psf=psf, **options)


FAST = {'refine': False}
ISOLATED = (disk(22.3, 20.8, 21.5, 3.0), disk(62.6, 18.4, 23.2, 2.2, 0.9),
            disk(40.2, 42.7, 24.5, 1.8, 0.5, 110))
FAINT = (disk(18.2, 20.4, 22.6), disk(25.1, 23.3, 23.3, 2.0, 0.5, 120,
                                      color=0.5),
         disk(60.4, 22.7, 24.0, 2.0), disk(64.9, 20.1, 24.3, 1.8, 0.8),
         disk(59.8, 30.2, 23.6, 2.5, 0.4, 80, color=1.5))
BRIGHT = (bulge_and_disk(30.4, 32.1, 20.0, 8.0), disk(43.2, 36.8, 23.4),
          bulge_and_disk(82.1, 28.7, 20.8, 6.0, 0.8, 10),
          disk(72.3, 33.9, 23.9, 2.0), disk(88.0, 42.4, 23.0, 2.2, 0.5))
STAR = (star(32.3, 30.6, 16.4), disk(50.4, 34.1, 22.4),
        disk(28.9, 54.7, 23.3, 2.0))
PAIR = FAINT[:2]


@scene
def isolated():
    """Three galaxies far from each other."""
    return told(ISOLATED, (60, 85), 1)


@scene
def isolated_fast():
    """The same without refinement."""
    return told(ISOLATED, (60, 85), 1, settings=FAST)


@scene
def faint():
    """A pair and a triple of galaxies of similar brightness."""
    return told(FAINT, (46, 86), 2)


@scene
def faint_fast():
    """The same without refinement."""
    return told(FAINT, (46, 86), 2, settings=FAST)


@scene
def bright():
    """Faint galaxies beside bright, extended ones."""
    return told(BRIGHT, (66, 112), 3)


@scene
def bright_fast():
    """The same without refinement."""
    return told(BRIGHT, (66, 112), 3, settings=FAST)


def saturated(seed, sources=STAR, shape=(80, 84), **options):
    """Scene whose pixels above a level in VIS are masked."""
    image = observe(sources, shape, seed, psf=options.get('psf', mixture))
    full = image.data[0] > 0.15 * image.data[0].max()
    mask = np.zeros(image.data.shape, bool)
    mask[0] = binary_dilation(full)
    options.setdefault('positions', positions(sources, seed))
    image.error = per_band(SKY_RMS)[:, 0, 0]
    return scene_of(image, mask=mask, gain=list(GAIN.values()), **options)


@scene
def saturated_star():
    """Galaxies beside a star with a masked core."""
    return saturated(4)


@scene
def saturated_star_fast():
    """The same without refinement."""
    return saturated(4, settings=FAST)


@scene
def wings_of_star():
    """A star with a halo wider than the image of its PSF."""
    sources = (star(32.3, 30.6, 17.5), *STAR[1:])
    table = Table(positions(sources, 5), names=['x', 'y'])
    table['point_source'] = [True, False, False]
    made = saturated(5, sources, psf=wide_mixture, positions=table)
    made.call['psf'] = [psf_model(wide_mixture(band), 12) for band in BANDS]
    return made


@scene
def blind_faint():
    """Two pairs of galaxies that must be found."""
    sources = (*PAIR, disk(58.1, 20.3, 22.2, 2.2), disk(66.7, 26.5, 22.9))
    return scene_of(observe(sources, (46, 86), 6))


@scene
def blind_bright():
    """A bright galaxy and its neighbours, which must be found."""
    sources = (bulge_and_disk(30.4, 32.1, 20.6, 6.0), disk(46.2, 38.8, 22.4),
               disk(20.7, 45.3, 22.0, 2.0))
    return scene_of(observe(sources, (66, 66), 7))


@scene
def hsc():
    """A real blend in five bands, where its file is."""
    path = Path(os.environ.get('VAEPHOT_TEST_DATA', ''), 'hsc_cosmos',
                'hsc_cosmos_35.npz')
    if not path.is_file():
        return None
    with np.load(path) as stored:
        names = ('images', 'variance', 'psfs', 'catalog', 'filters')
        images, variance, psfs, catalog, bands = map(stored.get, names)
    return SimpleNamespace(settings={}, call={
        'data': images, 'segmentation_image': np.ones(images.shape[1:], int),
        'error': np.sqrt(variance), 'psf': list(psfs),
        'bands': [str(band) for band in bands],
        'positions': np.array([catalog['x'], catalog['y']], float).T})


# -------------------------------------------------------- native grids
NATIVE = {'VIS': (0.1, 0.0, (60, 70)), 'Y': (0.3, 12.0, (24, 28)),
          'H': (0.3, 12.0, (24, 28))}


def make_wcs(scale, angle, shape):
    """Tangential projection around the middle of an image."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = 'RA---TAN', 'DEC--TAN'
    wcs.wcs.crval = 150.1, 2.2
    wcs.wcs.crpix = (shape[1] + 1) / 2, (shape[0] + 1) / 2
    wcs.wcs.cdelt = -scale / 3600, scale / 3600
    c, s = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    wcs.wcs.pc = [[c, -s], [s, c]]
    return wcs


def native_band(sources, band, rng):
    """Image of a band with its WCS and rms, and its PSF."""
    scale, _, shape = NATIVE[band]
    wcs, first = make_wcs(*NATIVE[band]), make_wcs(*NATIVE['VIS'])
    jacobian = (np.linalg.inv(wcs.pixel_scale_matrix)
                @ first.pixel_scale_matrix)
    psf = [(share, sigma * 0.1 / scale) for share, sigma in mixture(band)]
    rms, image = SKY_RMS[band] * scale / 0.1, 0.0
    for item in sources:
        x, y = map(float, wcs.world_to_pixel(
            first.pixel_to_world(item.x, item.y)))
        moved = SimpleNamespace(x=x, y=y, parts=item.parts)
        image = image + item.flux[band] * draw_one(moved, shape, psf,
                                                   jacobian)
    noisy = image + rms * rng.standard_normal(shape)
    return NDData(noisy, wcs=wcs), rms, psf_model(psf), image


@scene
def native_grids():
    """Bands on pixel grids of their own, one of them turned."""
    sources = (disk(26.3, 28.1, 22.2), disk(34.9, 31.6, 22.8, 2.0),
               disk(52.2, 40.7, 22.5))
    rng = np.random.default_rng(8)
    made = {band: native_band(sources, band, rng) for band in NATIVE}
    data, error, psf, model = (dict(zip(made, column, strict=True))
                               for column in zip(*made.values(), strict=True))
    return SimpleNamespace(settings={}, call={
        'data': data, 'error': list(error.values()), 'psf': psf,
        'segmentation_image': parents(model['VIS'], SKY_RMS['VIS']),
        'positions': positions(sources, 8)})


# ------------------------------------------------- one thing in each scene
@scene
def crowd():
    """Thirteen galaxies that touch."""
    rng = np.random.default_rng(9)
    grid = np.array([(i, j) for j in range(4) for i in range(4)][:13])
    xy = 14 + 7.5 * grid + rng.uniform(-1.5, 1.5, grid.shape)
    sources = [disk(x, y, mag, radius, ratio, angle)
               for (x, y), mag, radius, ratio, angle in zip(
                   xy, rng.uniform(21.5, 23.8, 13), rng.uniform(1.5, 3, 13),
                   rng.uniform(0.4, 1, 13), rng.uniform(0, 180, 13),
                   strict=True)]
    return told(sources, (52, 52), 9)


@scene
def bad_pixels():
    """Masked pixels, a masked row and pixels that are not numbers."""
    made = told(FAINT, (46, 86), 10)
    rng = np.random.default_rng(10)
    mask = rng.random(made.call['data'].shape) < 0.03
    mask[:, 22] = True
    mask[0, 20, 18] = True
    made.call['data'][rng.random(mask.shape) < 0.02] = np.nan
    return SimpleNamespace(settings={}, call={**made.call, 'mask': mask})


@scene
def edge():
    """Galaxies at the edges of the image."""
    return told((disk(1.4, 20.3, 22.0), disk(7.8, 24.1, 22.8),
                 disk(33.2, 38.6, 22.5, 3.0), disk(40.1, 1.9, 21.8, 2.0)),
                (40, 44), 11)


@scene
def with_gain():
    """The error of the sky and the gain are given."""
    made = told(FAINT, (46, 86), 12, gain=list(GAIN.values()))
    made.call['error'] = np.broadcast_to(per_band(SKY_RMS),
                                         made.call['data'].shape)
    return made


@scene
def error_numbers():
    """The error is one number for each band."""
    return told(PAIR, (46, 46), 13, error=list(SKY_RMS.values()))


@scene
def fixed():
    """Positions that may not move."""
    table = Table(positions(FAINT, 14, 0.1), names=['x', 'y'])
    table['fixed'] = [True, True, False, True, True]
    return told(FAINT, (46, 86), 14, positions=table)


@scene
def forced():
    """Positions outside of every segment, one of them of blank sky."""
    xy = [*positions(PAIR, 15), (62.0, 30.0), (45.0, 12.0), (70.0, 12.0)]
    sources = (*PAIR, disk(62.0, 30.0, 25.4, 1.5), disk(45.0, 12.0, 24.9))
    made = told(sources, (46, 86), 15, positions=xy)
    made.call['segmentation_image'][:, 36:] = 0
    return made


@scene
def constant_background():
    """A free constant in each band."""
    made = told(FAINT, (46, 86), 16,
                settings={'local_background': 'constant'})
    made.call['data'] += 0.3 * per_band(SKY_RMS)
    return made


@scene
def plane_background():
    """A free plane in each band."""
    made = told(FAINT, (46, 86), 17, settings={'local_background': 'plane'})
    slope = np.linspace(-0.5, 0.5, 86) + np.linspace(0, 0.4, 46)[:, None]
    made.call['data'] += slope * per_band(SKY_RMS)
    return made


@scene
def varying_psf():
    """A PSF that is a function of the position."""
    made = told(FAINT, (46, 86), 18, psf=varying_mixture)
    made.call['psf'] = lambda x, y, band: psf_model(
        varying_mixture(band, x, y))
    return made


@scene
def one_band():
    """One image instead of a stack."""
    image = observe(FAINT, (46, 86), 19, bands=('VIS',))
    made = scene_of(image, bands=('VIS',), positions=positions(FAINT, 19))
    del made.call['bands']
    for name in ('data', 'error', 'psf'):
        made.call[name] = made.call[name][0]
    return made


@scene
def asymmetric():
    """A bright lopsided galaxy with knots, and a neighbour."""
    return told((lopsided(31.2, 30.4, 19.8), disk(47.8, 33.1, 22.0)),
                (62, 72), 20)


@scene
def drop_in():
    """Segments alone, as photutils has them."""
    image = observe(FAINT, (46, 86), 21, bands=('VIS',))
    return SimpleNamespace(settings=None, call={
        'data': image.data[0], 'n_pixels': 5, 'error': image.error[0],
        'segmentation_image': SegmentationImage(image.segm),
        'psf': psf_model(mixture('VIS')), 'progress_bar': False})


# --------------------------------------------------------------- results
@cache
def measure(name):
    """Measure a scene: its numbers as lists; `None` without its data."""
    made = SCENES[name]()
    if made is None:
        return None
    with warnings.catch_warnings():
        # what the networks were trained on is no matter here
        warnings.simplefilter('ignore', DeblendWarning)
        if made.settings is None:
            return record_segments(deblend_sources(**made.call))
        result = VAEDeblender(device='cpu', **made.settings)(**made.call)
    return record(result, 'positions' not in made.call)


def record(result, blind):
    """Numbers of a result in six digits."""
    table = result.table
    parent = np.asarray(table['parent_label'])
    names = result.bands if f'flux_{result.bands[0]}' in table.colnames else ''
    suffixes = [f'_{band}' for band in names] or ['']
    columns = {name: [rounded(table[f'{name}{suffix}']) for suffix in suffixes]
               for name in ('flux', 'flux_err')}
    return {'blind': blind, 'parent_label': parent.tolist(),
            'children': children(parent), **columns,
            'x': rounded(table['x_centroid']),
            'y': rounded(table['y_centroid'])}


def record_segments(segm):
    """Numbers of a segmentation."""
    made = segm.deblended_label_to_parent
    parent = np.array([made.get(k, k) for k in segm.labels.tolist()])
    return {'parent_label': sorted(parent.tolist()),
            'children': children(parent)}


def children(parent):
    """Number of sources of each parent, by its label."""
    labels, counts = np.unique(parent, return_counts=True)
    return dict(zip(map(str, labels.tolist()), counts.tolist(), strict=True))


def rounded(values):
    """List of numbers in six digits; `None` for those that are not finite."""
    values = np.asarray(getattr(values, 'value', values), float).tolist()
    return [float(f'{v:.6g}') if np.isfinite(v) else None for v in values]
