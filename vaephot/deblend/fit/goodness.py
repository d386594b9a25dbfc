# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Chi-square of the residual smoothed with the PSF, in units of its sky scatter.

The chi-square of single pixels means nothing where images were resampled:
their noise is correlated. Here the residual in units of the noise of each
pixel is smoothed with the width of the PSF, then divided by the scatter that
white noise would have and by one factor per band measured on the sky. Its
square has the mean 1 where the models describe the data, on white and on
correlated noise.
"""

from typing import NamedTuple

import numpy as np
from astropy.stats import gaussian_fwhm_to_sigma
from scipy.ndimage import correlate1d

__all__ = ['Residual', 'SourceSums', 'make_residual', 'reduced_chi2',
           'sum_sources']

# where the kernel is cut, in units of its sigma
TRUNCATE = 3.0
# a source shines where its model is brighter than this, in units of the noise
SHARE_LEVEL = 0.2
# sky: models are fainter than this, in units of the noise of a pixel
SKY_LEVEL = 0.05
# fewest independent samples of the sky that tell its scatter
MIN_SKY = 30
# below this scatter the image has no noise, whatever its error says
MIN_FACTOR = 0.1
# the sky is measured in rows of about so many pixels
SKY_SAMPLE = 300_000
# rows that are worked on at once, so that they stay in the cache
STRIP = 64
# median of the absolute value, and mean square within 3 sigma, of a normal
# number of sigma 1
MEDIAN_NORMAL = 0.6744897501960817
CLIP_SIGMA = 3.0
CLIPPED_SQUARE = 0.97334
# largest area of correlated noise, in units of that of white noise
MAX_WIDENING = 4.0


class Residual(NamedTuple):
    """
    Data minus models of the frame, (n_bands, ny, nx) in single precision.

    ``smoothed``: of scatter 1 on the sky; ``left``: data minus models in
    units of ``unit``; ``root``: the inverse of the noise at the scale of the
    PSF in these units. All are 0 in bad pixels. ``total``: the models, in
    units of the data. Of each band (n_bands,) ``unit``, the typical noise of
    a pixel; ``area``, pixels of an independent sample of ``smoothed ** 2``;
    ``factor``, scatter of the smoothed sky over that of white noise of the
    stated variance.
    """

    smoothed: np.ndarray
    left: np.ndarray
    root: np.ndarray
    total: np.ndarray
    unit: np.ndarray
    area: np.ndarray
    factor: np.ndarray

    def cut(self, box):
        """The same in a `~photutils.aperture.BoundingBox`."""
        index = np.s_[:, box.iymin:box.iymax, box.ixmin:box.ixmax]
        return self._replace(
            smoothed=self.smoothed[index], left=self.left[index],
            root=self.root[index], total=self.total[index])

    def in_units(self, image):
        """Image (n_bands, h, w) in units of the noise."""
        return (image * (1 / self.unit)[:, None, None]).astype(np.float32)


class SourceSums(NamedTuple):
    """
    Sums over the box of each source, all (n, n_bands).

    ``chi2``: of the independent samples of the box, ``n_samples``.
    ``excess``: of the chi-square over its expectation where the source
    shines, each pixel weighted with its share of the light;
    ``excess_variance``: of that, by noise. ``power``: squared
    signal-to-noise ratio of the model. ``left``: its share of the residual;
    ``left_variance``: of that, by noise. ``blendedness``:
    ``1 - sum(m^2) / sum(m * all models)``.
    """

    chi2: np.ndarray
    n_samples: np.ndarray
    excess: np.ndarray
    excess_variance: np.ndarray
    power: np.ndarray
    left: np.ndarray
    left_variance: np.ndarray
    blendedness: np.ndarray


def _kernel(fwhm):
    """One axis of a Gaussian of the width of a PSF."""
    sigma = fwhm * gaussian_fwhm_to_sigma
    half = max(1, int(np.ceil(TRUNCATE * sigma)))
    return np.exp(-0.5 * (np.arange(-half, half + 1) / sigma) ** 2)


def _correlation(kernel):
    """Correlation of white noise smoothed by it, at lags of 0, 1, ..."""
    full = np.correlate(kernel, kernel, 'full')[len(kernel) - 1:]
    return full / full[0]


def _smooth(image, kernel):
    """Image smoothed along both axes; there is nothing beyond the edges."""
    for axis in (0, 1):
        out = np.empty_like(image)  # scipy is slow in making one
        image = correlate1d(image, kernel, axis, out, mode='constant')
    return image


def _white_scatter(good, kernel):
    """Scatter of smoothed white noise of variance 1, (ny, nx)."""
    if good.all():
        rows, columns = (correlate1d(np.ones(n, np.float32), kernel ** 2,
                                     mode='constant') for n in good.shape)
        return np.sqrt(rows[:, None] * columns)
    square = _smooth(good.astype(np.float32), kernel ** 2)
    return np.sqrt(np.maximum(square, kernel[0] ** 4))


def _strips(n_rows, reach=0):
    """Slices of rows, with some on both sides, and of those in these."""
    for start in range(0, n_rows, STRIP):
        first = max(start - reach, 0)
        stop = min(start + STRIP, n_rows)
        yield (slice(first, min(stop + reach, n_rows)),
               slice(start - first, stop - first), slice(start, stop))


def _compare(data, model, variance, mask, gain, unit, left, root):
    """Fill in what is left of one band and the inverse of its noise."""
    for _, _, rows in _strips(len(data)):
        light = model[rows]
        noise = variance[rows] if len(variance) > 1 else variance
        if gain is not None:
            noise = noise + np.maximum(light, 0) / gain
        good = ~mask[rows]
        left[rows] = (data[rows] - light) * (1 / unit)
        left[rows][~good] = 0
        root[rows] = good / np.sqrt(noise * (1 / unit ** 2))


def _smooth_band(left, root, kernel, out):
    """Fill in the smoothed residual over the scatter of white noise."""
    for rows, inner, target in _strips(len(left), len(kernel) // 2):
        good = root[rows] > 0
        image = _smooth(left[rows] * root[rows], kernel)
        image /= _white_scatter(good, kernel)
        out[target] = (image * good)[inner]


def _scatter(values):
    """Clipped scatter about zero."""
    values = np.abs(values)
    scale = np.median(values) / MEDIAN_NORMAL
    kept = values[values < CLIP_SIGMA * scale].astype(float)
    return np.sqrt(np.mean(kept ** 2) / CLIPPED_SQUARE) if len(kept) else 1.0


def _correlated(pairs, scale):
    """Correlation of pairs of normal numbers, clipped."""
    kept = np.abs(pairs).max(0) < CLIP_SIGMA * scale
    if not kept.any():
        return 0.0
    found = np.mean(pairs[0][kept] * pairs[1][kept], dtype=float)
    return float(np.clip(found / scale ** 2 / CLIPPED_SQUARE, 0, 0.999))


def _sample_rows(image):
    """Every so many rows of an image (ny, nx)."""
    return image[::max(1, round(image.size / SKY_SAMPLE))]


def _measure_sky(smoothed, root, model, unit, kernel):
    """Factor and area of one band, measured on the sky where there is any."""
    white = _correlation(kernel)
    area = (1 + 2 * np.sum(white[1:] ** 2)) ** 2
    image, root, model = map(_sample_rows, (smoothed, root, model))
    sky = (root > 0) & (np.abs(model) * root < SKY_LEVEL * unit)
    # rows are independent where only some are taken
    if sky.sum() * (len(smoothed) / len(image)) < MIN_SKY * area:
        return 1.0, area
    factor = _scatter(image[sky])
    if not factor > MIN_FACTOR:
        return 1.0, area
    lag = max(1, int(np.argmin(np.abs(white - 0.5))))
    both = sky[:, lag:] & sky[:, :-lag]
    found = _correlated(np.stack([image[:, lag:][both],
                                  image[:, :-lag][both]]), factor)
    widening = np.log(white[lag]) / np.log(max(found, 1e-3))
    return factor, area * np.clip(widening, 1, MAX_WIDENING)


def _typical(variance):
    """Typical noise of a pixel of each band, (n_bands,)."""
    return np.sqrt([np.median(_sample_rows(band)) for band in variance])


def make_residual(data, model_image, variance, mask, gain, fwhm):
    """
    `Residual` of images.

    ``data, model_image, mask`` (n_bands, ny, nx); ``variance`` of the sky,
    of that shape or (n_bands, 1, 1); ``gain`` (n_bands,), or None for
    variances with the photons in them; ``fwhm`` (n_bands,) of the PSFs in
    pixels.
    """
    smoothed, left, root = (np.empty(data.shape, np.float32)
                            for _ in range(3))
    unit, (factor, area) = _typical(variance), np.ones((2, len(data)))
    for b, kernel in enumerate(map(_kernel, fwhm)):
        _compare(data[b], model_image[b], variance[b], mask[b],
                 None if gain is None else gain[b], unit[b], left[b],
                 root[b])
        _smooth_band(left[b], root[b], kernel, smoothed[b])
        factor[b], area[b] = _measure_sky(smoothed[b], root[b],
                                          model_image[b], unit[b], kernel)
        smoothed[b] /= factor[b]
        root[b] /= factor[b]
    return Residual(smoothed, left, root, model_image, unit, area, factor)


def _dot(one, other):
    """Sum over pixels of the product of two images, (n_bands,)."""
    return np.vecdot(one.reshape(len(one), -1), other.reshape(len(one), -1))


def _sum_source(model, here):
    """Sums of one source, (8, n_bands), from the residual in its box."""
    total, pull = here.in_units(here.total), model * here.root
    shines = (pull > SHARE_LEVEL) & (total > 0)
    share = np.minimum(model / np.where(shines, total, 1), 1) * shines
    noise = share / np.where(shines, here.root, 1)
    own, both = _dot(model, model), _dot(model, total)
    return (_dot(here.smoothed, here.smoothed),
            np.count_nonzero(here.root, (1, 2)),
            _dot(share, here.smoothed ** 2 - 1), 2 * _dot(share, share),
            _dot(pull, pull), _dot(share, here.left), _dot(noise, noise),
            np.where(own > 0, 1 - own / np.where(both == 0, 1, both), 0))


def sum_sources(boxes, models, residual):
    """
    Sum up what the models leave over in the boxes of sources.

    ``boxes`` `~photutils.aperture.BoundingBox` of each source, ``models``
    (n_bands, h, w) of each, and the `Residual` of all; returns `SourceSums`.
    """
    rows = np.empty((len(boxes), len(SourceSums._fields),
                     len(residual.unit)))
    for k, (box, model) in enumerate(zip(boxes, models, strict=True)):
        rows[k] = _sum_source(residual.in_units(model), residual.cut(box))
    rows[:, :4] /= residual.area
    rows[:, 5] *= residual.unit
    rows[:, 6] *= residual.unit ** 2
    return SourceSums(*rows.swapaxes(0, 1))


def reduced_chi2(sums):
    """Reduced chi-square and samples, (n,), of all bands; NaN without any."""
    chi2, n_samples = sums.chi2.sum(1), sums.n_samples.sum(1)
    reduced = np.full(len(chi2), np.nan)
    np.divide(chi2, n_samples, out=reduced, where=n_samples > 0)
    return reduced, n_samples
