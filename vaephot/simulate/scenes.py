# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Images of all kinds with known sources, to learn what a source looks like.

Each image is drawn from its seed alone: a survey and some of its bands, a
kind of blend, galaxies that are smooth, structured or real, stars among them,
white or correlated noise, a residual sky, a PSF that is told wrong by some
per cent, hot pixels and cosmic rays, holes.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from scipy.ndimage import affine_transform

from vaephot.simulate.blends import CASES, draw_blends
from vaephot.simulate.catalog.mock import MockCatalog
from vaephot.simulate.disk_features import Structure
from vaephot.utils.layout import lay_out

__all__ = ['LabelledImage', 'draw_labelled_image']

# how often each survey, kind of blend and population is drawn
SURVEYS = {'euclid-wide': 4.0, 'euclid-deep': 1.0, 'hsc-wide': 1.5,
           'lsst': 1.0, 'cosmos-acs': 0.5}
KINDS = {'isolated': 1.0, 'faint': 1.3, 'bright': 1.2, 'crowded': 0.4,
         'star': 0.5, 'extreme': 0.3}
POPULATIONS = {'mock': 1.0, 'smooth': 0.5, 'real': 0.3}
# side of stamps in arcsec, within limits in pixels
SIDE, SIDES = 9.6, (64, 160)
# share of the images with each of the troubles, and their sizes
TROUBLE = 0.3
BACKGROUND = 0.2  # of the noise of a pixel
PSF_ERROR = 0.03  # of the width
# hot pixels and tracks per million pixels and band, and their peaks over the
# noise
N_ARTEFACTS, PEAKS = 150.0, (10.0, 300.0)
# rectangles without data per source, and their sides in pixels
N_HOLES, HOLE_SIDES = 0.5, (1, 40)
STAR_SHARE = 0.25
MAX_BANDS = 4
GAP = 12


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledImage:
    """
    An image as a deblender is told of it, and its true sources.

    Parameters
    ----------
    data : `~numpy.ndarray`, (n_bands, ny, nx)
        Images.
    mask : `~numpy.ndarray` of bool, (n_bands, ny, nx)
        True for bad pixels.
    sky_rms, gain : `~numpy.ndarray`, (n_bands,)
        Noise of a pixel of the sky, electrons per unit.
    psf : `~numpy.ndarray`, (n_bands, P, P)
        Effective PSFs as they are told.
    oversampling : int
        Samples of the PSFs per pixel.
    bands : tuple of str
        Names of the bands.
    xy : `~numpy.ndarray`, (n, 2)
        True positions.
    is_star : `~numpy.ndarray` of bool, (n,)
        True sources that are points.
    kind : str
        Survey, kind of blend and population, with slashes between.
    """

    data: np.ndarray = field(repr=False)
    mask: np.ndarray = field(repr=False)
    sky_rms: np.ndarray
    gain: np.ndarray
    psf: np.ndarray = field(repr=False)
    oversampling: int
    bands: tuple
    xy: np.ndarray = field(repr=False)
    is_star: np.ndarray = field(repr=False)
    kind: str


class _Smooth:
    """The mock catalogue without knots, arms and bars."""

    def __init__(self):
        self.catalog = MockCatalog()

    def draw(self, rng, mags, bands):
        """Galaxies of some magnitudes."""
        return [replace(item, galaxy=item.galaxy.with_structure(Structure()))
                for item in self.catalog.draw(rng, mags, bands)]


def _pick(rng, weights):
    """One of the names, by their weights."""
    values = np.array(list(weights.values()))
    return list(weights)[rng.choice(len(values), p=values / values.sum())]


def _wrong_psf(psf, factor):
    """PSFs (n_bands, P, P) wider by a factor, of the same sums."""
    middle = (psf.shape[-1] - 1) / 2
    out = np.stack([affine_transform(
        image, [1 / factor] * 2, middle - middle / factor, order=3)
        for image in psf])
    return out * (psf.sum((1, 2)) / out.sum((1, 2)))[:, None, None]


def _add_artefacts(rng, data, sky_rms):
    """Hot pixels and tracks of cosmic rays on images (n_bands, ny, nx)."""
    n_bands, ny, nx = data.shape
    for band in range(n_bands):
        n = rng.poisson(N_ARTEFACTS * ny * nx / 1e6)
        peak = sky_rms[band] * np.exp(rng.uniform(*np.log(PEAKS), n))
        length = np.where(rng.random(n) < 0.5, 1, rng.integers(2, 9, n))
        x, y = rng.uniform(0, nx, n), rng.uniform(0, ny, n)
        angle = rng.uniform(0, 2 * np.pi, n)
        for k in range(n):
            steps = np.arange(length[k])
            ix = (x[k] + steps * np.cos(angle[k])).astype(int)
            iy = (y[k] + steps * np.sin(angle[k])).astype(int)
            inside = (ix >= 0) & (ix < nx) & (iy >= 0) & (iy < ny)
            data[band, iy[inside], ix[inside]] += peak[k]


def _add_holes(rng, mask, xy):
    """Mask rectangles near some of the sources (n, 2) in all bands."""
    n = rng.poisson(N_HOLES * len(xy))
    sides = np.exp(rng.uniform(*np.log(HOLE_SIDES), (n, 2))).astype(int)
    places = xy[rng.integers(0, len(xy), n)] + rng.uniform(-6, 6, (n, 2))
    # a corner of the rectangle is near the source, so that it hides a part
    for (x, y), (width, height), (left, below) in zip(
            places, sides, rng.integers(0, 2, (n, 2)), strict=True):
        ix = max(int(x) - width * left, 0)
        iy = max(int(y) - height * below, 0)
        mask[:, iy:iy + height, ix:ix + width] = True


def _population(name, real):
    """Where galaxies come from."""
    return {'mock': None, 'smooth': _Smooth(), 'real': real}[name]


def _draw_blends(rng, n_blends, seed, real):
    """Blends of one kind, and what kind that is."""
    survey, case = _pick(rng, SURVEYS), _pick(rng, KINDS)
    name = _pick(rng, {key: value for key, value in POPULATIONS.items()
                       if key != 'real' or real is not None})
    scale = {'cosmos-acs': 0.03, 'hsc-wide': 0.168, 'lsst': 0.2}.get(
        survey, 0.1)
    config = CASES[case]
    side = int(np.clip(SIDE / scale, *SIDES))
    config = replace(config, stamp_size=side if case != 'extreme'
                     else max(side, 128), star_share=(
                         STAR_SHARE if case in ('isolated', 'faint', 'crowded')
                         else 0.0))
    blends = draw_blends(
        config, n_blends, survey=survey, seed=seed,
        population=_population(name, real),
        correlated=rng.random() < TROUBLE,
        background=BACKGROUND * (rng.random() < TROUBLE))
    return blends, f'{survey}/{case}/{name}'


def draw_labelled_image(seed, n_blends=12, *, real=None):
    """
    Draw an image of blends.

    Parameters
    ----------
    seed : int
        Seed; it alone decides all.
    n_blends : int, optional
        Number of blends.
    real : population or None, optional
        Real galaxies, such as `~vaephot.simulate.RealGalaxies`; `None`
        leaves them out.

    Returns
    -------
    LabelledImage
    """
    rng = np.random.default_rng([seed, 1])
    blends, kind = _draw_blends(rng, n_blends, seed, real)
    n_bands = len(blends.bands)
    # the first band detects; some of the others, or none
    rows = np.append(0, 1 + rng.permutation(n_bands - 1))[
        :rng.integers(1, min(n_bands, MAX_BANDS), endpoint=True)]
    data, mask, corners = lay_out(blends.image[:, rows],
                                  blends.mask[:, rows], GAP)
    blend, source = np.nonzero(np.isfinite(blends.x))
    xy = np.stack([blends.x[blend, source], blends.y[blend, source]],
                  1) + corners[blend]
    if rng.random() < TROUBLE:
        _add_artefacts(rng, data, blends.sky_rms[rows])
    if rng.random() < TROUBLE:
        _add_holes(rng, mask, xy)
    psf = blends.psf[rows]
    if rng.random() < TROUBLE:
        psf = _wrong_psf(psf, 1 + PSF_ERROR * rng.choice([-1, 1]))
    return LabelledImage(
        data=data, mask=mask, psf=psf, oversampling=blends.oversampling,
        sky_rms=blends.sky_rms[rows],
        gain=np.asarray(blends.gain)[rows],
        bands=tuple(blends.bands[i] for i in rows), kind=kind,
        xy=xy, is_star=blends.is_star[blend, source])
