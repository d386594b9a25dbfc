# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Bright point sources, saturated or not, before anything else is looked for.

A star's spikes and rings are part of its PSF. So the star is fitted first,
position and fluxes, to the pixels that are good; what is left is searched
for other sources.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from vaephot.deblend.images import draw_scene, draw_stamps
from vaephot.deblend.scene import POINT_LOG_SIZE
from vaephot.utils.boxes import cut_window
from vaephot.utils.labels import brightest_pixels

__all__ = ['Stars', 'find_stars', 'point_parameters', 'recognize_stars',
           'star_light']

# peak of a star, in units of the noise, from which its pattern matters
MIN_PEAK = 150.0
# side of the stamps on which stars are fitted, in FWHM of the sharpest band
STAMP_FWHM = 12.0
MIN_STAMP, MAX_STAMP = 24, 64
# and of those that their fluxes are taken from: small ones fold the wings
# of the PSF back
FLUX_STAMP = 160
# share of the weighted light that a point source may leave over, around a
# masked core and where the whole of it is seen
MAX_LEFT = 0.03
MAX_LEFT_WHOLE = 0.005
# steps of the fit of a position, the largest one and that of differences
N_STEPS, MAX_STEP, DIFFERENCE = 6, 0.7, 0.05
# a saturated core is darker around than the model at its middle, and no
# larger than this many pixels
MAX_CORE = 2500
# share of a core's border that lies in the parent of the star
MIN_BORDER = 0.5


@dataclass(frozen=True, kw_only=True, eq=False)
class Stars:
    """
    Bright point sources.

    Parameters
    ----------
    x, y : `~numpy.ndarray` of float64, (n,)
        Fitted positions in pixels.
    parent : `~numpy.ndarray` of int, (n,)
        Label of the segment of each.
    saturated : `~numpy.ndarray` of bool, (n,)
        Whether the middle is masked in some band.
    flux : `~numpy.ndarray`, (n, n_bands)
        Fitted fluxes.
    """

    x: np.ndarray
    y: np.ndarray
    parent: np.ndarray
    saturated: np.ndarray
    flux: np.ndarray

    def __len__(self):
        return len(self.x)


def _cores(mask, segm, labels):
    """Masked holes of parents: middle and label of each."""
    regions, n_regions = ndimage.label(mask, np.ones((3, 3)))
    if not n_regions:
        return np.zeros((0, 3))
    areas = np.bincount(regions.ravel())[1:]
    found = []
    for i, window in enumerate(ndimage.find_objects(regions), 1):
        if areas[i - 1] > MAX_CORE:
            continue
        grown = tuple(slice(max(s.start - 1, 0), s.stop + 1) for s in window)
        core = regions[grown] == i
        border = ndimage.binary_dilation(core, np.ones((3, 3))) & ~core
        owners = segm.data[grown][border]
        owners = owners[np.isin(owners, labels)]
        if len(owners) < MIN_BORDER * border.sum() or not len(owners):
            continue
        y, x = (np.mean(c) for c in np.nonzero(core))
        values, counts = np.unique(owners, return_counts=True)
        found.append((x + grown[1].start, y + grown[0].start,
                      values[np.argmax(counts)]))
    return np.array(found, float).reshape(-1, 3)


def _summits(image, segm, labels, taken):
    """Brightest pixels of the bright parents that are not taken."""
    labels = np.setdiff1d(labels, taken)
    if not len(labels):
        return np.zeros((0, 3))
    yx, value = brightest_pixels(image, segm, labels)
    found = np.column_stack([yx[:, 1], yx[:, 0], labels])
    return found[value >= MIN_PEAK].astype(float)


def _fluxes(data, weight, images):
    """Best flux of each band, and the templates times it."""
    top = (weight * images * data).sum((2, 3))
    bottom = (weight * images ** 2).sum((2, 3))
    flux = np.divide(top, bottom, out=np.zeros_like(top), where=bottom > 0)
    return flux, flux[:, :, None, None] * images


class _PointFit:
    """Point sources on stamps of one size."""

    def __init__(self, fitter, xy, size):
        self.fitter = fitter
        self.size = size
        self.corner = np.rint(xy).astype(int) - size // 2
        observation = fitter.observation

        def cut(array, fill):
            return np.stack([cut_window(array, iy, ix, size, fill)
                             for ix, iy in self.corner])
        self.data = cut(observation.data, 0.0)
        self.good = ~cut(observation.mask, True)
        variance = np.broadcast_to(fitter.variance, observation.data.shape)
        self.variance = cut(variance, 1.0)

    def draw(self, xy):
        """Templates at positions."""
        parameters = point_parameters(self.fitter, xy)
        return draw_stamps(self.fitter, parameters, self.size, self.corner)

    def weight(self, model):
        """Inverse variance for a model of the stars."""
        variance = self.variance
        if self.fitter.observation.gain is not None:
            gain = np.asarray(self.fitter.observation.gain)[:, None, None]
            variance = variance + np.maximum(model, 0) / gain
        return self.good / variance

    def step(self, xy, weight):
        """Gauss-Newton step of the positions, fluxes projected out."""
        flux, model = _fluxes(self.data, weight, self.draw(xy))
        slopes = []
        for axis in (0, 1):
            shift = np.zeros(2)
            shift[axis] = DIFFERENCE
            change = (self.draw(xy + shift) - self.draw(xy - shift))
            slopes.append(flux[:, :, None, None] * change
                          / (2 * DIFFERENCE))
        residual = self.data - model
        matrix = np.array([[(weight * a * b).sum((1, 2, 3)) for a in slopes]
                           for b in slopes]).transpose(2, 0, 1)
        vector = np.array([(weight * a * residual).sum((1, 2, 3))
                           for a in slopes]).T
        # where no pixel is good, nothing moves
        least = 1e-12 + 1e-9 * np.trace(matrix, axis1=1, axis2=2)
        matrix += least[:, None, None] * np.eye(2)
        step = np.linalg.solve(matrix, vector[:, :, None])[:, :, 0]
        return np.clip(step, -MAX_STEP, MAX_STEP), model

    def run(self, xy, n_steps=N_STEPS):
        """Positions, fluxes and the share of light left over."""
        model = np.zeros_like(self.data)
        for _ in range(n_steps):
            step, model = self.step(xy, self.weight(model))
            xy = xy + step
        weight = self.weight(model)
        flux, model = _fluxes(self.data, weight, self.draw(xy))
        light = (weight * self.data ** 2).sum((1, 2, 3))
        left = (weight * (self.data - model) ** 2).sum((1, 2, 3))
        left = left - self.good.sum((1, 2, 3))
        return xy, flux, np.divide(left, light, out=np.ones_like(light),
                                   where=light > 0)


def point_parameters(fitter, xy):
    """
    Parameters of point sources.

    Parameters
    ----------
    fitter : `~vaephot.deblend.scene.SceneFitter`
        Whose decoder draws them.
    xy : `numpy.ndarray`, (n, 2)
        Positions.

    Returns
    -------
    `numpy.ndarray`, (n, n_parameters)
    """
    parameters = np.zeros((len(xy), fitter.vae.config.n_parameters))
    parameters[:, :2] = xy
    parameters[:, 2] = POINT_LOG_SIZE
    return parameters


def find_stars(fitter, segm, image, labels):
    """
    Find bright point sources and the middles of saturated ones.

    Parameters
    ----------
    fitter : `~vaephot.deblend.scene.SceneFitter`
        Data, noise and PSFs.
    segm : `~photutils.segmentation.SegmentationImage`
        Parents.
    image : `numpy.ndarray`, (ny, nx)
        Detection image in units of its noise.
    labels : `numpy.ndarray` of int
        Parents to search.

    Returns
    -------
    Stars
        Places that a point source explains, up to a few per cent of the
        light around them.
    """
    mask = fitter.observation.mask
    cores = _cores(mask.any(0) & ~mask.all(0) if len(mask) > 1
                   else mask.any(0), segm, labels)
    if mask.all(0).any() and len(mask) > 1:
        cores = np.concatenate([cores, _cores(mask.all(0), segm, labels)])
    summits = _summits(image, segm, labels, cores[:, 2].astype(int))
    places = np.concatenate([cores, summits])
    if not len(places):
        return _empty(len(mask))
    saturated = np.arange(len(places)) < len(cores)
    xy, good = _as_points(fitter, places[:, :2], saturated)
    if not good.any():
        return _empty(len(mask))
    xy, flux, _ = _PointFit(fitter, xy[good], FLUX_STAMP).run(
        xy[good], n_steps=2)
    return Stars(x=xy[:, 0], y=xy[:, 1],
                 parent=places[good, 2].astype(int), flux=flux,
                 saturated=saturated[good])


def _as_points(fitter, places, saturated):
    """Fitted positions, and which of them bright points explain."""
    size = int(np.clip(STAMP_FWHM * fitter.fwhm.min(), MIN_STAMP, MAX_STAMP))
    fit = _PointFit(fitter, places, size)
    xy, flux, left = fit.run(places)
    moved = np.hypot(*(xy - places).T)
    bright = _peak_signal(fitter, fit, xy, flux) >= MIN_PEAK
    limit = np.where(saturated, MAX_LEFT, MAX_LEFT_WHOLE)
    return xy, ((left < limit) & bright
                & (moved < 2 * fitter.fwhm.min() + 2))


def recognize_stars(fitter, image, places):
    """
    Bright point sources among known positions.

    Parameters
    ----------
    fitter : `~vaephot.deblend.scene.SceneFitter`
        Data, noise and PSFs.
    image : `numpy.ndarray`, (ny, nx)
        Detection image in units of its noise, NaN for bad pixels.
    places : `numpy.ndarray`, (n, 2)
        Positions.

    Returns
    -------
    xy : `numpy.ndarray`, (n, 2)
        Fitted positions of the stars, the given ones of the others.
    is_star : `numpy.ndarray` of bool, (n,)
        Which are stars, saturated or not.
    """
    xy, is_star = np.array(places, float), np.zeros(len(places), bool)
    reach = fitter.fwhm.min()
    top = ndimage.maximum_filter(np.nan_to_num(image, nan=-np.inf), 3)
    distance = ndimage.distance_transform_edt(
        ~fitter.observation.mask.any(0))
    ny, nx = image.shape
    ix, iy = (np.clip(np.rint(c).astype(int), 0, n - 1)
              for c, n in zip(xy.T, (nx, ny), strict=True))
    masked = fitter.observation.mask.any() & (distance[iy, ix] <= reach)
    rows = np.flatnonzero(masked | (top[iy, ix] >= MIN_PEAK))
    if len(rows):
        fitted, good = _as_points(fitter, xy[rows], masked[rows])
        xy[rows[good]], is_star[rows[good]] = fitted[good], True
    return xy, is_star


def _empty(n_bands):
    """No stars."""
    none = np.zeros(0)
    return Stars(x=none, y=none, parent=none.astype(int),
                 saturated=none.astype(bool), flux=np.zeros((0, n_bands)))


def _peak_signal(fitter, fit, xy, flux):
    """Brightest pixel of the models over the noise of the sky."""
    peak = flux * fit.draw(xy).max((2, 3))
    return (peak / fitter.sky_rms(xy)).max(1)


def star_light(fitter, stars):
    """
    Image of all stars.

    Parameters
    ----------
    fitter : `~vaephot.deblend.scene.SceneFitter`
        Draws them.
    stars : Stars
        What `find_stars` returned.

    Returns
    -------
    `numpy.ndarray`, (n_bands, ny, nx)
    """
    xy = np.column_stack([stars.x, stars.y])
    return draw_scene(fitter, point_parameters(fitter, xy),
                      stars.flux)['model_image']
