# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Wings of PSFs: power laws of the radius.

Light scattered by optics and atmosphere falls as a power of the radius, so
what is known out to some radius tells what is beyond (King 1971, PASP 83,
199; Racine 1996, PASP 108, 699).
"""

from dataclasses import dataclass, replace

import numpy as np

from vaephot.deblend.inputs.psf.from_stars.star_choice import cut_stamps

__all__ = ['PowerLaw', 'fit_outskirts', 'fit_rings', 'with_wings']

# slopes that wings have: 2 would have no end of light, diffraction gives 3,
# scattering in the atmosphere up to 4, and the cores of profiles more
MIN_SLOPE, MAX_SLOPE = 2.5, 12.0
# slopes of the wings of stars: usual ones, how far they are from these, and
# the largest one
USUAL_SLOPE, SLOPE_SPREAD, MAX_RING_SLOPE = 3.0, 0.5, 6.0
# error of the level of the sky, in units of the noise of a pixel
SKY_ERROR = 0.05
# annulus that the slope of a stamp is taken from, in units of its half side
OUTSKIRTS = 0.5
# the edge of a stamp matters if the brightest source is there brighter than
# this share of the noise of a pixel; wings reach to where it is not, but no
# farther than so many half sides, nor pixels
EDGE, MAX_GROWTH, MAX_HALF = 0.3, 4, 128
# rings count if their light is so many times its error
RING_SIGNAL = 3.0
# relative error of a ring beside that of the noise: spikes, neighbours
RING_ERROR = 0.1


@dataclass(frozen=True, kw_only=True)
class PowerLaw:
    """Brightness ``level * (r / radius) ** -slope``; radii in pixels."""

    level: float
    radius: float
    slope: float

    def __call__(self, r):
        """Brightness at radii."""
        return self.level * (np.maximum(r, 1e-9) / self.radius) ** -self.slope


def _fit_line(radius, value, error):
    """Power law through rings (n,), or None if they do not tell."""
    good = value > RING_SIGNAL * error
    # from where on the wings drown in noise, none counts
    end = np.flatnonzero(~good)[0] if not good.all() else len(good)
    if end < 3:
        return None
    x, y = np.log(radius[:end]), np.log(value[:end])
    weight = 1 / np.hypot(error[:end] / value[:end], RING_ERROR)
    slope, level = np.polyfit(x, y, 1, w=weight)
    slope = float(np.clip(-slope, MIN_SLOPE, MAX_SLOPE))
    middle = float(np.average(x, weights=weight ** 2))
    level = float(np.average(y, weights=weight ** 2))
    return PowerLaw(level=float(np.exp(level)), radius=float(np.exp(middle)),
                    slope=slope)


def fit_outskirts(image, oversampling=1):
    """Power law of the outer half of a PSF image (P, P), or None."""
    half = len(image) // 2
    radius = np.hypot(*np.mgrid[-half:half + 1, -half:half + 1])
    edges = np.geomspace(OUTSKIRTS * half, half + 0.5, 6)
    ring = np.digitize(radius, edges)
    middle, value, error = [], [], []
    for k in range(1, len(edges)):
        pixels = image[ring == k]
        if pixels.size < 4:
            continue
        middle.append(np.exp(np.log(radius[ring == k]).mean()))
        value.append(pixels.mean())
        error.append(pixels.std() / np.sqrt(pixels.size))
    return _fit_line(np.array(middle) / oversampling, np.array(value),
                     np.array(error))


def ring_profile(image, noise, bad, stars, edges):
    """
    Light of rings around stars per pixel and unit flux, and its error, (n,).

    ``stars`` have ``x, y, flux``; pixels far from most of their ring are of
    neighbours and left out.
    """
    half = int(np.ceil(edges[-1]))
    steps = np.arange(-half, half + 1)
    ix, iy = (np.rint(v).astype(int) for v in (stars.x, stars.y))
    data = cut_stamps(image, ix, iy, half, 0.0)
    good = ~cut_stamps(bad, ix, iy, half, True)
    total, weight = np.zeros((2, len(edges) - 1))
    for k in range(len(ix)):
        radius = np.hypot(steps[:, None] + iy[k] - stars.y[k],
                          steps + ix[k] - stars.x[k])
        sigma = float(np.broadcast_to(noise, image.shape)[iy[k], ix[k]])
        ring = np.where(good[k], np.digitize(radius, edges), 0)
        for j in range(1, len(edges)):
            pixels = data[k][ring == j]
            if pixels.size < 4:
                continue
            middle = np.median(pixels)
            spread = 1.4826 * np.median(np.abs(pixels - middle))
            pixels = pixels[np.abs(pixels - middle) <= 3 * spread]
            own = stars.flux[k] ** 2 * pixels.size / sigma ** 2
            total[j - 1] += own * pixels.mean() / stars.flux[k]
            weight[j - 1] += own
    with np.errstate(divide='ignore', invalid='ignore'):
        return (np.where(weight > 0, total / weight, 0),
                np.where(weight > 0, 1 / np.sqrt(weight), np.inf))


def fit_rings(image, noise, bad, stars, edges):
    """
    Power law of the rings around stars, or None if they do not tell.

    A level of the sky is fitted with it, held by the noise of a pixel.
    """
    value, error = ring_profile(image, noise, bad, stars, edges)
    radius = np.sqrt(edges[1:] * edges[:-1])
    if value[0] < RING_SIGNAL * error[0]:
        return None
    sky = SKY_ERROR * np.median(noise) / np.sqrt((stars.flux ** 2).sum())
    error = np.hypot(error, RING_ERROR * np.maximum(value, 0))
    best, found = np.inf, None
    for slope in np.arange(MIN_SLOPE, MAX_RING_SLOPE, 0.05):
        columns = np.stack([(radius / radius[0]) ** -slope,
                            np.ones_like(radius)], 1) / error[:, None]
        columns = np.concatenate([columns, [[0, 1 / sky]]])
        target = np.append(value / error, 0.0)
        parts, *_ = np.linalg.lstsq(columns, target, rcond=None)
        chi2 = ((columns @ parts - target) ** 2).sum() + (
            (slope - USUAL_SLOPE) / SLOPE_SPREAD) ** 2
        if chi2 < best and parts[0] > 0:
            best, found = chi2, PowerLaw(
                level=float(parts[0]), radius=float(radius[0]),
                slope=float(slope))
    return found


def _extended(image, oversampling, half, wings):
    """
    Image (P, P) enlarged to ``half`` pixels on each side by its wings.

    Beyond the circle that ``half`` is the radius of there is nothing.
    """
    old, new = len(image) // 2, half * oversampling
    radius = np.hypot(*np.mgrid[-new:new + 1, -new:new + 1]) / oversampling
    out = np.where(radius <= half, wings(radius) / oversampling ** 2, 0.0)
    inside = slice(new - old, new + old + 1)
    out[inside, inside] = image
    return out


def with_wings(psf, image, noise):
    """
    PSF of a stamp with wings, if the edge matters for the brightest source.

    ``psf`` is a `BandPSF`, ``image`` (ny, nx) without bad pixels, ``noise``
    of that shape or a number.
    """
    if psf.stamp is None or psf.varies:
        return psf
    stamp, oversampling = psf.sample(0, 0)
    density = stamp * oversampling ** 2
    bright = image.max() / np.median(noise) / density.max()
    border = np.concatenate([density[[0, -1]], density[:, [0, -1]].T])
    if not np.mean(border) * bright > EDGE:
        return psf
    law = fit_outskirts(density, oversampling)
    half = len(stamp) // 2 // oversampling
    if law is None:
        return psf
    radii = np.arange(half + 1, max(half + 1, min(MAX_GROWTH * half,
                                                  MAX_HALF)) + 1)
    faint = np.flatnonzero(law(radii) * bright < EDGE)
    wide = _extended(stamp, oversampling, int(
        radii[faint[0]] if faint.size else radii[-1]), law)
    light = wide.sum()
    wide /= light
    return psf.replace(
        sampler=lambda x, y: (wide, oversampling),
        stamp=replace(psf.stamp, wings=float(1 - 1 / light),
                      slope=law.slope))
