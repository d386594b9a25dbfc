# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Bright point sources, saturated or not, before anything else is looked for.

A star's spikes and rings are part of its PSF. So the star is fitted first,
position and fluxes, to the pixels that are good; what is left is searched
for other sources.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from vaephot.deblend.detect.pixels import Pixels
from vaephot.utils.boxes import cut_window
from vaephot.utils.labels import brightest_pixels
from vaephot.utils.rows import Rows

__all__ = ['PointSources', 'Stars', 'find_stars', 'recognize_stars']

# peak of a star, in units of the noise, from which its pattern matters
MIN_PEAK = 150.0
# side of the stamps on which stars are fitted, in FWHM of the sharpest band
STAMP_FWHM = 12.0
MIN_STAMP, MAX_STAMP = 24, 64
# and of those that their fluxes are taken from: small ones fold the wings
# of the PSF back
FLUX_STAMP = 160
# pixels of all bands that are fitted at once; bounds the memory
CHUNK_PIXELS = 100_000
# share of the weighted light that a point source may leave over, around a
# masked core and where the whole of it is seen
MAX_LEFT = 0.03
MAX_LEFT_WHOLE = 0.005
# and from which on one that is not saturated is given up, after this many
# steps
HOPELESS, FIRST_VERDICT = 0.1, 2
# steps of the fit of a position, at first and on the stamps of the fluxes;
# the largest one, that of differences, the one from which on slopes are drawn
# anew, and the one that ends the fit
N_STEPS, N_FLUX_STEPS = 6, 2
MAX_STEP, DIFFERENCE, LARGE_STEP, LEAST_STEP = 0.7, 0.05, 0.03, 1e-3
# a saturated core is darker around than the model at its middle, and no
# larger than this many pixels
MAX_CORE = 2500
# share of a core's border that lies in the parent of the star
MIN_BORDER = 0.5


@dataclass(frozen=True, kw_only=True, eq=False)
class Stars(Rows):
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

    @property
    def xy(self):
        """Positions, (n, 2)."""
        return np.column_stack([self.x, self.y])


@dataclass(frozen=True, kw_only=True, eq=False)
class PointSources:
    """
    Pixels, and what draws point sources on them.

    Parameters
    ----------
    pixels : `~vaephot.deblend.detect.pixels.Pixels`
        Data and noise.
    draw : callable
        ``draw(xy, size, corner)`` gives point sources of unit flux at xy
        (n, 2) on square stamps from the pixels corner (n, 2),
        (n, n_bands, size, size).
    draw_image : callable
        ``draw_image(xy, flux)`` gives the light of all on the frame,
        (n_bands, ny, nx).
    free_sky : bool, optional
        Whether the fit frees the level of the sky.
    """

    pixels: Pixels
    draw: Callable
    draw_image: Callable
    free_sky: bool = False

    @classmethod
    def of(cls, engine):
        """Those of an `~vaephot.deblend.fit.engine.Engine`."""
        return cls(pixels=engine.pixels, draw=engine.draw_points,
                   draw_image=engine.point_image,
                   free_sky=engine.settings.background is not None)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Stamps(Rows):
    """Pixels around places, (n, n_bands, size, size)."""

    corner: np.ndarray
    data: np.ndarray
    good: np.ndarray
    variance: np.ndarray

    @classmethod
    def cut(cls, pixels, xy, size):
        """Stamps around places (n, 2)."""
        corner = np.rint(xy).astype(int) - size // 2

        def cut(frame, fill):
            return np.stack([cut_window(frame, iy, ix, size, fill)
                             for ix, iy in corner])
        variance = (np.repeat(pixels.variance[None], len(xy), 0)
                    if pixels.variance.shape[-1] == 1
                    else cut(pixels.variance, 1.0))
        return cls(corner=corner, data=cut(pixels.data, 0.0),
                   good=~cut(pixels.mask, True), variance=variance)

    def weight(self, model, gain):
        """Inverse variance for a model of the stars."""
        variance = self.variance
        if gain is not None:
            gain = np.asarray(gain)[:, None, None]
            variance = variance + np.maximum(model, 0) / gain
        return self.good / variance


@dataclass(frozen=True, kw_only=True, eq=False)
class _Fits(Rows):
    """
    Point sources fitted to stamps.

    xy (n, 2), flux (n, n_bands), the brightest pixel of the models
    (n, n_bands), and the share of the weighted light left over (n,).
    """

    xy: np.ndarray
    flux: np.ndarray
    peak: np.ndarray
    left: np.ndarray


def _fluxes(data, weight, images):
    """Best flux of each band (n, n_bands), and the templates times it."""
    weighted = weight * images
    top = np.einsum('nbyx,nbyx->nb', weighted, data)
    bottom = np.einsum('nbyx,nbyx->nb', weighted, images)
    flux = np.divide(top, bottom, out=np.zeros_like(top), where=bottom > 0)
    return flux, flux[:, :, None, None] * images


def _left(stamps, weight, model):
    """Share of the weighted light that models leave over, (n,)."""
    light = np.einsum('nbyx,nbyx,nbyx->n', weight, stamps.data, stamps.data)
    rest = stamps.data - model
    left = np.einsum('nbyx,nbyx,nbyx->n', weight, rest, rest)
    left -= stamps.good.sum((1, 2, 3))
    return np.divide(left, light, out=np.ones_like(light), where=light > 0)


class _StampFit:
    """Point sources at places (n, 2), fitted to stamps of one size."""

    def __init__(self, points, xy, size):
        self.draw, self.gain = points.draw, points.pixels.gain
        self.size, self.xy = size, xy.copy()
        self.stamps = _Stamps.cut(points.pixels, xy, size)
        self.images = np.zeros(self.stamps.data.shape)
        self.slopes = np.zeros((len(xy), 2, *self.images.shape[1:]))
        self.step = np.full((len(xy), 2), np.inf)
        self.model = None

    def _redraw(self, rows):
        """Draw some anew, and the slopes of those that moved far."""
        far = rows[np.abs(self.step[rows]).max(1) > LARGE_STEP]
        shifts = DIFFERENCE * np.array([(1, 0), (-1, 0), (0, 1), (0, -1)])
        places = self.xy[far] + shifts[:, None]
        corner = self.stamps.corner
        images = self.draw(
            np.concatenate([self.xy[rows], places.reshape(-1, 2)]), self.size,
            np.concatenate([corner[rows], np.tile(corner[far], (4, 1))]))
        self.images[rows] = images[:len(rows)]
        sides = images[len(rows):].reshape(4, len(far), *images.shape[1:])
        for axis in (0, 1):
            self.slopes[far, axis] = (
                (sides[2 * axis] - sides[2 * axis + 1]) / (2 * DIFFERENCE))

    def _move(self, rows):
        """Gauss-Newton step of some, fluxes projected out; their weight."""
        stamps, images = self.stamps.take(rows), self.images[rows]
        if self.model is None:
            self.model = _fluxes(stamps.data, stamps.weight(0.0, self.gain),
                                 images)[1]
        weight = stamps.weight(self.model[rows], self.gain)
        flux, self.model[rows] = _fluxes(stamps.data, weight, images)
        columns = self.slopes[rows] * flux[:, None, :, None, None]
        weighted = (columns * weight[:, None]).reshape(len(rows), 2, -1)
        matrix = weighted @ columns.reshape(weighted.shape).swapaxes(1, 2)
        residual = stamps.data - self.model[rows]
        vector = weighted @ residual.reshape(len(rows), -1, 1)
        # where no pixel is good, nothing moves
        least = 1e-12 + 1e-9 * np.trace(matrix, axis1=1, axis2=2)
        matrix += least[:, None, None] * np.eye(2)
        step = np.linalg.solve(matrix, vector)[:, :, 0]
        self.step[rows] = np.clip(step, -MAX_STEP, MAX_STEP)
        self.xy[rows] += self.step[rows]
        return weight

    def run(self, n_steps, hopeless):
        """Fit; give up those that leave more than a share (n,)."""
        moving = np.arange(len(self.xy))
        for i in range(n_steps):
            self._redraw(moving)
            weight = self._move(moving)
            going = np.abs(self.step[moving]).max(1) > LEAST_STEP
            if i >= FIRST_VERDICT:
                going &= _left(self.stamps.take(moving), weight,
                               self.model[moving]) < hopeless[moving]
            moving = moving[going]
            if not len(moving):
                break
        return self._fits()

    def _fits(self):
        """What was found; small steps change the images linearly."""
        far = np.abs(self.step).max(1) > LEAST_STEP
        near = self.step * ~far[:, None]
        self.images += np.einsum('na,nabyx->nbyx', near, self.slopes)
        if far.any():
            self.images[far] = self.draw(self.xy[far], self.size,
                                         self.stamps.corner[far])
        weight = self.stamps.weight(self.model, self.gain)
        flux, model = _fluxes(self.stamps.data, weight, self.images)
        return _Fits(xy=self.xy, flux=flux,
                     left=_left(self.stamps, weight, model),
                     peak=flux * self.images.max((2, 3)))


def _fit(points, xy, size, n_steps, hopeless=np.inf):
    """Fit places (n, 2) on stamps, some at a time."""
    hopeless = np.broadcast_to(hopeless, len(xy))
    n = max(1, CHUNK_PIXELS // (len(points.pixels.data) * size ** 2))
    fits = [_StampFit(points, xy[i:i + n], size).run(n_steps,
                                                     hopeless[i:i + n])
            for i in range(0, len(xy), n)]
    return _Fits(**{field: np.concatenate([getattr(f, field) for f in fits])
                    for field in ('xy', 'flux', 'peak', 'left')})


def _owner(segm_data, wanted, core, window):
    """Wanted label (0: none) around a core, within a window."""
    border = ndimage.binary_dilation(core, np.ones((3, 3))) & ~core
    owners = segm_data[window][border]
    owners = owners[np.isin(owners, wanted)]
    if not len(owners) or len(owners) < MIN_BORDER * border.sum():
        return 0
    values, counts = np.unique(owners, return_counts=True)
    return values[np.argmax(counts)]


def _cores(mask, segm_data, labels):
    """Masked holes of parents: x, y and label of each, (n, 3)."""
    if not mask.any():
        return np.zeros((0, 3))
    found = []
    regions, _ = ndimage.label(mask, np.ones((3, 3)))
    for i, window in enumerate(ndimage.find_objects(regions), 1):
        grown = tuple(slice(max(s.start - 1, 0), s.stop + 1) for s in window)
        core = regions[grown] == i
        if core.sum() > MAX_CORE or not segm_data[grown].any():
            continue
        owner = _owner(segm_data, labels, core, grown)
        if owner:
            y, x = (np.mean(c) for c in np.nonzero(core))
            found.append((x + grown[1].start, y + grown[0].start, owner))
    return np.array(found, float).reshape(-1, 3)


def _all_cores(mask, segm_data, labels):
    """Holes of masks (n_bands, ny, nx) in some bands, then in all."""
    everywhere = mask.all(0)
    if len(mask) == 1:
        return _cores(everywhere, segm_data, labels)
    return np.concatenate([
        _cores(mask.any(0) & ~everywhere, segm_data, labels),
        _cores(everywhere, segm_data, labels)])


def _bright_pixels(image, segm, labels):
    """Brightest pixels of parents brighter than that of a star, (n, 3)."""
    with np.errstate(invalid='ignore'):
        bright = np.unique(segm.data[image >= MIN_PEAK])
    labels = np.intersect1d(labels, bright)
    yx, _ = brightest_pixels(image, segm, labels)
    return np.column_stack([yx[:, 1], yx[:, 0], labels]).astype(float)


def _as_points(points, places, saturated):
    """Fitted positions (n, 2), and which of them bright points explain."""
    fwhm = points.pixels.fwhm.min()
    size = int(np.clip(STAMP_FWHM * fwhm, MIN_STAMP, MAX_STAMP))
    limit = np.where(saturated, MAX_LEFT, MAX_LEFT_WHOLE)
    fits = _fit(points, places, size, N_STEPS,
                np.where(saturated, np.inf, HOPELESS))
    moved = np.hypot(*(fits.xy - places).T)
    signal = (fits.peak / points.pixels.sky_rms(fits.xy)).max(1)
    return fits.xy, ((fits.left < limit) & (signal >= MIN_PEAK)
                     & (moved < 2 * fwhm + 2))


def find_stars(points, segm, image, labels):
    """
    Bright point sources of some parents, saturated ones too, as `Stars`.

    ``image`` (ny, nx) is the detection image in units of its noise, NaN for
    bad pixels. A point source explains the light there up to a few per cent.
    """
    cores = _all_cores(points.pixels.mask, segm.data, labels)
    peaks = _bright_pixels(image, segm, np.setdiff1d(labels, cores[:, 2]))
    places = np.concatenate([cores, peaks])
    saturated = np.arange(len(places)) < len(cores)
    flux = np.zeros((0, len(points.pixels.data)))
    xy, parent = places[:, :2], places[:, 2].astype(int)
    good = np.zeros(len(places), bool)
    if len(places):
        xy, good = _as_points(points, xy, saturated)
    xy = xy[good]
    if good.any():
        fits = _fit(points, xy, FLUX_STAMP, N_FLUX_STEPS)
        xy, flux = fits.xy, fits.flux
    return Stars(x=xy[:, 0], y=xy[:, 1], parent=parent[good], flux=flux,
                 saturated=saturated[good])


def recognize_stars(points, image, places):
    """
    Which places (n, 2) are bright point sources, (n,), and where those are.

    Positions (n, 2) of others are as given. ``image`` (ny, nx) is the
    detection image in units of its noise, NaN for bad pixels.
    """
    xy, is_star = np.array(places, float), np.zeros(len(places), bool)
    masked, bright = _near_places(points.pixels, image, xy)
    rows = np.flatnonzero(masked | bright)
    if len(rows):
        fitted, good = _as_points(points, xy[rows], masked[rows])
        xy[rows[good]], is_star[rows[good]] = fitted[good], True
    return xy, is_star


def _near_places(pixels, image, xy):
    """Whether bad pixels are near places (n, 2), and whether bright ones."""
    reach = pixels.fwhm.min()
    half = int(np.ceil(reach)) + 1
    bad = pixels.mask.any(0)
    masked, bright = np.zeros((2, len(xy)), bool)
    ny, nx = image.shape
    ix, iy = (np.clip(np.rint(c).astype(int), 0, n - 1)
              for c, n in zip(xy.T, (nx, ny), strict=True))
    for k, (x, y) in enumerate(zip(ix, iy, strict=True)):
        rows, columns = (slice(max(c - half, 0), c + half + 1)
                         for c in (y, x))
        yy, xx = np.nonzero(bad[rows, columns])
        masked[k] = (np.hypot(yy + rows.start - y, xx + columns.start - x)
                     <= reach).any()
        near = image[max(y - 1, 0):y + 2, max(x - 1, 0):x + 2]
        bright[k] = (near >= MIN_PEAK).any()
    return masked, bright
