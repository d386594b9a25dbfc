# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The noise of the sky at the scale of the sources, from the image itself.

Pixels of resampled images are correlated: their scatter says little about
the noise of a sum over many. The fit takes the noise as white, of the level
that sums over *large areas* have, for sources are low frequencies.

All is measured on blocks of 7 by 7 pixels. Blocks with sources and those
around them are left out, the more of them the brighter the source is; the
median of 70 pixels around is subtracted, so that a residual background
counts only where it varies on the scale of the sources.
"""

from dataclasses import dataclass, fields

import numpy as np
from scipy.ndimage import map_coordinates, maximum_filter

from vaephot.deblend.inputs.noise import spread, stripes, without_crowding

__all__ = ['NoiseLevel', 'join_levels', 'measure_noise']

# side of a block in pixels: two of them make an area of R = 8 pixels
BLOCK = 7
# least share of good pixels in a block of the sky
MIN_GOOD = 0.7
# blocks beyond this many sigma are sources; around them, this many blocks
# are left out
SOURCES = ((3.5, 1), (30.0, 2), (300.0, 4), (3000.0, 8),
           (3e4, 16))
# how often the sky is found anew without the sources found before
N_ROUNDS = 3
# blocks on the side of a cell whose median is subtracted, and the least
# number of blocks that make a median
CELL, MIN_CELL = 10, 25
# areas used for the scatter of single pixels and their correlation, at most
MAX_AREAS = 300
# pixels apart up to which the correlation is measured
MAX_LAG = 6
# least sky: good pixels for the scatter of pixels, independent areas for
# that of areas
MIN_PIXELS, MIN_AREAS = 2000, 60
# least share of the sky among the good blocks: what is left between sources
# that fill the image is full of their wings
MIN_SKY = 0.25
# areas that overlap by a block count as this many fewer: the sum of the
# squares of their correlations, (1 + 2 / 4)**2
OVERLAP = 2.25
# standard error of a clipped spread over that of the standard deviation
CLIPPED_ERROR = 1.15
# a level closer to 1 than this many standard errors, or than the accuracy
# of the measurement on white noise, is 1
N_SIGMA, ACCURACY = 3.0, 0.06
# large areas count as no noisier than this over what the correlation of
# pixels says: more is light of sources or background
MAX_EXCESS = 1.5
# an image with less noise than this share of its error has none
NOISELESS = 0.01
# pixels that far apart are less correlated than this if it is noise, which
# is that smoothed with 6.5 pixels FWHM; else it is the light of sources
NOISE_LAG, MAX_CORRELATION = 6, 0.3
# standard deviation of a normal distribution cut at 3 sigma
CUT, CUT_NORMAL = 3.0, 0.98658


@dataclass(frozen=True, kw_only=True, eq=False)
class NoiseLevel:
    """
    Noise of the sky of each band over its error; NaN if not measured.

    Parameters
    ----------
    ratio : `~numpy.ndarray`, (n_bands,)
        Scatter of single pixels over the error.
    psf_ratio : `~numpy.ndarray`, (n_bands,)
        Scatter of sums over squares of the area of a circle with the
        radius of the FWHM of the PSF, over the error in quadrature.
    large_ratio : `~numpy.ndarray`, (n_bands,)
        The same for squares of 14 pixels, the area of R = 8 pixels.
    correlation : `~numpy.ndarray`, (n_bands, 7)
        Correlation of pixels 0 to 6 apart, the mean of both axes.
    measured : `~numpy.ndarray` of bool, (n_bands,)
        Whether there was sky enough for ``large_ratio``, and it was free of
        sources.
    used : `~numpy.ndarray`, (n_bands,)
        What multiplies the error in the fit.
    """

    ratio: np.ndarray
    psf_ratio: np.ndarray
    large_ratio: np.ndarray
    correlation: np.ndarray
    measured: np.ndarray
    used: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class _Blocks:
    """Sums of image over error and numbers of good pixels of blocks."""

    total: np.ndarray
    count: np.ndarray
    sky: np.ndarray
    level: np.ndarray


def measure_noise(image, error, mask, *, sources=None, psf_fwhm=None):
    """
    Measure the noise of the sky, `NoiseLevel`.

    ``image`` (n_bands, ny, nx), ``error`` of that shape or (n_bands, 1, 1),
    ``mask`` (n_bands, ny, nx) True for bad pixels, ``sources`` (ny, nx) or
    None True for pixels of known sources, ``psf_fwhm`` (n_bands,) or None.

    ``used`` is ``large_ratio``, corrected for the correlation across the
    edges of its areas and at most 1.5 times what the scatter of pixels and
    their correlation amount to, or 1 where that is 1 within 3 of its
    standard errors (or 6 %) or was not measured. With ``error * used``, sums
    over areas of the size of sources or larger have the right noise. That
    also holds for the photons of sources, ``model / gain`` in each pixel,
    without any factor: resampling lowers their scatter per pixel as it does
    the sky's, but not that of sums over large areas.
    """
    psf_fwhm = [np.inf] * len(image) if psf_fwhm is None else psf_fwhm
    rows = [_measure_band(*band, sources, fwhm) for *band, fwhm
            in zip(image, error, mask, psf_fwhm, strict=True)]
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    return NoiseLevel(**dict(zip(
        ('ratio', 'psf_ratio', 'large_ratio', 'correlation', 'measured',
         'used'), columns, strict=True)))


def join_levels(levels, rows):
    """`NoiseLevel` of all bands from those of some, ``rows`` of each."""
    if any(level is None for level in levels):
        return None
    order = np.argsort(np.concatenate(rows))
    return NoiseLevel(**{field.name: np.concatenate(
        [getattr(level, field.name) for level in levels])[order]
        for field in fields(NoiseLevel)})


def _measure_band(image, error, mask, sources, fwhm):
    """Values of one band, in the order of `NoiseLevel`."""
    nothing = (np.nan, np.nan, np.nan, np.full(MAX_LAG + 1, np.nan), False,
               1.0)
    if min(image.shape) < 2 * BLOCK:
        return nothing
    blocks = _find_sky(*_sum_blocks(image, error, mask, sources))
    large, n_areas = _scatter_of_areas(blocks)
    pixels = _sky_pixels(image, error, mask, blocks)
    good = np.isfinite(pixels)
    if good.sum() < MIN_PIXELS:
        return nothing
    # of few photons the median deviation is 0
    ratio = _clipped_spread(pixels[good], pixels[good].std())
    if not ratio > NOISELESS:
        return nothing
    correlation = _correlation(pixels, ratio)
    dark = _darkest(image, error, mask, ratio)
    if dark < ratio:  # what was taken for the sky is full of sources
        return dark, np.nan, np.nan, np.full(MAX_LAG + 1, np.nan), False, 1.0
    if n_areas < MIN_AREAS or correlation[NOISE_LAG] > MAX_CORRELATION:
        return ratio, np.nan, np.nan, correlation, False, 1.0
    side = round(min(np.sqrt(np.pi) * max(fwhm, 1.0), 2 * BLOCK))
    psf_ratio = (large if side == 2 * BLOCK
                 else _spread_of_sums(_sums(pixels, side)))
    # white or resampled noise has no more than what its pixels tell
    most = MAX_EXCESS * ratio * _sum_along(correlation)
    factor = min(large * _beyond_edges(correlation), most)
    return (ratio, psf_ratio, large, correlation, True,
            _level(factor, n_areas))


def _darkest(image, error, mask, ratio):
    """Scatter of pixels over the error in the darkest blocks, or ``ratio``."""
    values, good = stripes(image, mask)
    sigma, _ = stripes(np.broadcast_to(error, image.shape))
    return without_crowding(ratio, values / sigma, good & (values != 0))


def _sum_along(correlation, side=np.inf):
    """
    Sum of a correlation along an axis, for pairs within ``side``.

    What is left of it at the largest lag is light, not noise.
    """
    noise = correlation - max(correlation[-1], 0)
    lags = np.arange(1, MAX_LAG + 1)
    return noise[0] + 2 * ((1 - lags / side) * noise[1:]).sum()


def _beyond_edges(correlation):
    """
    Noise of sums over very large areas over that of those of 14 pixels.

    In these, pixels at the edge lack neighbours: the sum of the correlation
    along each axis is one of ``(1 - lag / 14) * correlation``.
    """
    cut = _sum_along(correlation, 2 * BLOCK)
    return max(_sum_along(correlation) / cut, 1.0) if cut > 0 else 1.0


def _level(factor, n_areas):
    """Factor of the error in the fit: 1 where the measurement allows it."""
    error = CLIPPED_ERROR * factor / np.sqrt(2 * n_areas)
    tolerance = max(N_SIGMA * error, ACCURACY)
    return 1.0 if abs(factor - 1) <= tolerance else factor


# ---------------------------------------------------------------- blocks
def _sum_of_blocks(array, dtype):
    """Sums over blocks of an image of whole blocks, (n_y, n_x)."""
    n_y, n_x = (size // BLOCK for size in array.shape)
    lines = array.reshape(n_y, BLOCK, -1).sum(1, dtype=dtype)
    return lines.reshape(n_y, n_x, BLOCK).sum(2)


def _sum_blocks(image, error, mask, sources):
    """Sums of image over error, good pixels, sources: (n_y, n_x) each."""
    n_y, n_x = (size // BLOCK for size in image.shape)
    total, bad = np.zeros((2, n_y, n_x))
    seen = np.zeros((n_y, n_x), bool)
    error = np.broadcast_to(error, image.shape)
    for start in range(0, n_y, CELL):  # bounds the memory
        rows = slice(start, start + CELL)
        part = slice(start * BLOCK, min(start + CELL, n_y) * BLOCK)
        part = part, slice(n_x * BLOCK)
        relative = image[part] / error[part]
        relative[mask[part]] = 0
        total[rows] = _sum_of_blocks(relative, float)
        bad[rows] = _sum_of_blocks(mask[part].view(np.uint8), np.uint8)
        if sources is not None:
            seen[rows] = _sum_of_blocks(sources[part].view(np.uint8),
                                        np.uint8) > 0
    return total, BLOCK**2 - bad, seen


def _find_sky(total, count, seen):
    """Blocks without sources, and the level of the sky around them."""
    usable = count >= MIN_GOOD * BLOCK**2
    sky = usable & ~seen
    root = np.sqrt(np.maximum(count, 1))
    for _ in range(N_ROUNDS):
        if not sky.any():
            break
        level = _level_of_cells(total / root**2, sky)
        excess = total / root - level * root
        excess = np.where(usable, excess / (spread(excess[sky]) or 1), 0)
        hot = seen.copy()
        for limit, reach in SOURCES:
            hot |= maximum_filter(excess > limit, 2 * reach + 1)
        sky = usable & ~hot
    level = _level_of_cells(total / root**2, sky)
    return _Blocks(total=total, count=count, sky=sky, level=level)


def _level_of_cells(mean, sky):
    """Median of the sky in cells of blocks, interpolated to the blocks."""
    n_cells = [max(1, round(size / CELL)) for size in mean.shape]
    sides = [-(-size // n) for size, n in zip(mean.shape, n_cells,
                                              strict=True)]
    padded = np.full(np.multiply(n_cells, sides), np.nan)
    padded[:mean.shape[0], :mean.shape[1]] = np.where(sky, mean, np.nan)
    cells = padded.reshape(n_cells[0], sides[0], n_cells[1], sides[1])
    cells = np.sort(cells.swapaxes(1, 2).reshape(np.prod(n_cells), -1))
    count = np.isfinite(cells).sum(1)  # sorted before NaN
    rows = np.arange(len(cells))
    middle = (cells[rows, (count - 1) // 2] + cells[rows, count // 2]) / 2
    overall = np.median(mean[sky]) if sky.any() else 0.0
    level = np.where(count >= MIN_CELL, middle, overall).reshape(n_cells)
    places = [(np.arange(size) + 0.5) / side - 0.5
              for size, side in zip(mean.shape, sides, strict=True)]
    return map_coordinates(level, np.meshgrid(*places, indexing='ij'),
                           order=1, mode='nearest')


def _four(array):
    """The four blocks of each area of 2 by 2."""
    return np.stack([array[:-1, :-1], array[:-1, 1:],
                     array[1:, :-1], array[1:, 1:]])


def _scatter_of_areas(blocks):
    """Scatter of sums over areas of the sky; how many are independent."""
    sky = _four(blocks.sky).all(0)
    total = _four(blocks.total - blocks.level * blocks.count).sum(0)[sky]
    count = _four(blocks.count).sum(0)[sky]
    n_areas = count.size / OVERLAP
    usable = (blocks.count >= MIN_GOOD * BLOCK**2).sum()
    if n_areas < MIN_AREAS or blocks.sky.sum() < MIN_SKY * usable:
        return np.nan, 0.0
    return _spread_of_sums(total / np.sqrt(count)), n_areas


# ---------------------------------------------------------------- pixels
def _sky_pixels(image, error, mask, blocks):
    """Image over error in areas of the sky, (n, 14, 14), NaN where bad."""
    sky = _four(blocks.sky).all(0)
    y, x = np.nonzero(sky[::2, ::2])
    step = max(1, len(y) // MAX_AREAS)
    y, x = 2 * y[::step], 2 * x[::step]
    side = np.arange(2 * BLOCK)
    index = ((y * BLOCK)[:, None, None] + side[:, None],
             (x * BLOCK)[:, None, None] + side)
    pixels = image[index] / np.broadcast_to(error, image.shape)[index]
    pixels -= blocks.level[y, x][:, None, None]
    pixels[mask[index]] = np.nan
    return pixels


def _sums(pixels, side):
    """Sums over squares in areas of the sky, over root of good pixels."""
    n = 2 * BLOCK // side
    squares = pixels[:, :n * side, :n * side].reshape(-1, n, side, n, side)
    count = np.isfinite(squares).sum((2, 4))
    total = np.nansum(squares, (2, 4))
    enough = count >= MIN_GOOD * side**2
    return total[enough] / np.sqrt(count[enough])


def _correlation(pixels, ratio):
    """Correlation of pixels 0 to 6 apart, the mean of both axes."""
    good = np.isfinite(pixels)
    values = np.where(good, np.clip(pixels, -4 * ratio, 4 * ratio), 0)
    found = [1.0]
    for lag in range(1, MAX_LAG + 1):
        pairs = [(values[:, lag:], values[:, :-lag],
                  good[:, lag:] & good[:, :-lag]),
                 (values[..., lag:], values[..., :-lag],
                  good[..., lag:] & good[..., :-lag])]
        found.append(np.mean([(a * b).sum() / max(both.sum(), 1)
                              for a, b, both in pairs]))
    variance = (values**2).sum() / max(good.sum(), 1)
    return np.array([1.0, *np.divide(found[1:], variance or 1)])


# ---------------------------------------------------------------- scatter
def _clipped_spread(values, sigma):
    """Standard deviation of what lies within 3 sigma, first a guess of it."""
    for _ in range(10):
        middle = np.median(values)
        kept = values[np.abs(values - middle) <= CUT * sigma]
        if kept.size in (0, values.size):
            break
        values, sigma = kept, float(kept.std() / CUT_NORMAL)
    return sigma


def _spread_of_sums(values):
    """Clipped standard deviation of sums, some of them over sources."""
    return _clipped_spread(values, spread(values))
