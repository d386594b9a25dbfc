# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Build the PSF of an image from its stars."""

from dataclasses import dataclass

import numpy as np

from vaephot.deblend.inputs.psf.band_psf import BandPSF, StarOrigin
from vaephot.deblend.inputs.psf.extent import centroid
from vaephot.deblend.inputs.psf.from_stars.star_choice import (
    choose_stars,
    find_candidates,
)
from vaephot.deblend.inputs.psf.from_stars.star_model import StarModel
from vaephot.deblend.inputs.psf.from_stars.star_stack import (
    cut_stars,
    fit_model,
    fit_stars,
    prediction_error,
)
from vaephot.deblend.inputs.psf.from_stars.width import estimate_width
from vaephot.deblend.inputs.psf.given import make_band_psfs
from vaephot.deblend.inputs.psf.samples import samples_per_pixel
from vaephot.deblend.inputs.psf.wings import PowerLaw, fit_rings

__all__ = ['build_psf']

# fewest stars that a PSF is built from
MIN_STARS = 3
# most stars, the brightest: of a constant PSF, and for each polynomial term
MAX_STARS, STARS_PER_TERM = 40, 25
# stars for each term of a PSF that varies, and how much better it must
# predict stars it was not built from
LEAST_PER_TERM, BETTER = 12, 0.97
# rings of the wings, in FWHM, and the least S/N of stars they count for
RINGS = np.geomspace(2.5, 15.0, 10)
MAX_RING, RING_SNR = 60.0, 200.0
# wings are joined to the core between these radii, in FWHM
JOIN = (2.5, 4.0)
# the image of a PSF ends where the brightest star is so faint against the
# noise of a pixel, and beyond these radii in FWHM and in pixels
EDGE, MIN_RADIUS, MIN_PIXELS, MAX_PIXELS = 0.3, 6.0, 24, 100


@dataclass(frozen=True, kw_only=True)
class _Sampler:
    """Images of a PSF at positions: model, wings and half the side."""

    model: StarModel
    wings: PowerLaw | None
    half: int
    oversampling: int

    def __call__(self, x, y):
        """Image of sum 1 and its oversampling, as `BandPSF` wants them."""
        image = self._image(x, y)
        return image / image.sum(), self.oversampling

    def _image(self, x, y):
        oversampling, half = self.oversampling, self.half
        n = half * oversampling
        # centred on the light
        model = self.model
        small = min(half, int(np.ceil(3 * model.fwhm))) * oversampling
        for _ in range(2):
            offset = np.subtract(centroid(model.grid(
                small, oversampling, x, y)), small) / oversampling
            model = model.moved(*offset)
        image = model.grid(n, oversampling, x, y)
        radius = np.hypot(*np.mgrid[-n:n + 1, -n:n + 1]) / oversampling
        if self.wings is not None:
            low, high = (value * model.fwhm for value in JOIN)
            share = np.clip((radius - low) / (high - low), 0, 1)
            image += share * (self.wings(radius) - image)
        return np.where(radius <= half + 0.5 / oversampling, image, 0.0)


def build_psf(image, noise, bad, *, band, gain=None, smoothing=0.0):
    """
    Build the PSF of a band from its stars, or a Gaussian without them.

    Parameters
    ----------
    image : 2D `~numpy.ndarray`
        Without background; bad pixels are 0.
    noise : float or 2D `~numpy.ndarray`
        1-sigma noise of the sky.
    bad : 2D bool `~numpy.ndarray`
        True for bad pixels, among them those of saturated stars.
    band : str
        Name of the band.
    gain : float or None, optional
        Electrons per data unit.
    smoothing : float, optional
        FWHM in pixels of the Gaussian that the image was smoothed with.

    Returns
    -------
    BandPSF
        With ``stars``, what it was built from.
    """
    candidates = find_candidates(image, noise, bad)
    rows = choose_stars(candidates)
    built = None
    if len(rows) >= MIN_STARS:
        built = _build(image, noise, bad, candidates.take(rows), gain)
    if built is None:
        fwhm = estimate_width(candidates.fwhm, smoothing)
        (psf,) = make_band_psfs(fwhm, [band], image.shape)
        return psf.replace(stars=StarOrigin(
            x=np.zeros(0), y=np.zeros(0), n_candidates=len(candidates)))
    sampler, stars = built
    ny, nx = image.shape
    return BandPSF(sampler, band=band, varies=len(sampler.model.coefficients)
                   > 1, centre=((nx - 1) / 2, (ny - 1) / 2),
                   stars=StarOrigin(x=stars.x, y=stars.y,
                                    n_candidates=len(candidates)))


def _build(image, noise, bad, chosen, gain):
    """Sampler and stars of a PSF; None if too few stars remain."""
    fwhm = float(np.median(chosen.fwhm))
    most = MAX_STARS
    for n_terms in (6, 3):
        if len(chosen) >= LEAST_PER_TERM * n_terms:
            most = max(most, STARS_PER_TERM * n_terms)
            break
    stamps = cut_stars(image, noise, bad, chosen.take(slice(most)), fwhm)
    model, stars = fit_stars(stamps, fwhm, image.shape, gain)
    if len(stars) < MIN_STARS:
        return None
    model, stars = _varying(model, stars, gain)
    snr = stars.flux * model.fwhm / np.broadcast_to(noise, image.shape)[
        stars.iy, stars.ix]
    edges = np.minimum(RINGS * model.fwhm, MAX_RING)
    bright = stars.take(np.flatnonzero(snr > RING_SNR))
    wings = fit_rings(image, noise, bad, bright, np.unique(edges)) if len(
        bright) else None
    return _Sampler(model=model, wings=wings,
                    half=_half(model, wings, image, noise, bad),
                    oversampling=samples_per_pixel(model.fwhm)), stars


def _varying(model, stars, gain):
    """Model with as many terms as predict other stars best."""
    kept, best = (model, stars), np.inf
    for n_terms in (1, 3, 6):
        if len(stars) < LEAST_PER_TERM * max(n_terms, 3):
            break
        error = prediction_error(model, stars, gain, n_terms)
        if error < BETTER * best:
            best = error
            kept = (model, stars) if n_terms == 1 else fit_model(
                model, stars, gain, n_terms)
    return kept


def _half(model, wings, image, noise, bad):
    """Pixels from the centre to the edge of the PSF's image."""
    top = np.where(bad, 0, image).max() / np.median(noise)
    least = max(MIN_PIXELS, int(np.ceil(MIN_RADIUS * model.fwhm)))
    radius = np.arange(least, max(MAX_PIXELS, least) + 1)
    light = (wings(radius) if wings is not None
             else model.moffat(radius, 0 * radius))
    faint = np.flatnonzero(light * top < EDGE)
    return int(radius[faint[0]] if faint.size else radius[-1])
