# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Scenes around sources, and what turns their images into pictures."""

from dataclasses import dataclass, replace

import numpy as np
from astropy.stats import mad_std

from vaephot.exceptions import BandMismatchError

__all__ = ['MASKED_COLOR', 'RESIDUAL_RANGE', 'BandPainter', 'ColorPainter',
           'Scene', 'asinh_stretch', 'band_painter', 'box_window',
           'color_painter', 'make_rgb', 'make_scene', 'noise_of',
           'plain_values', 'unmasked_cube', 'value_with_error']

# faintest level shown and the linear range of the stretch, in sigma
BLACK_LEVEL = -1.5
LINEAR_RANGE = 3.0
# residuals are shown from minus to plus this many sigma
RESIDUAL_RANGE = 6.0
# pixels around the boxes of the sources
MARGIN = 4
# colour of pixels without data
MASKED_COLOR = '#b9d4ea'
WHOLE = (slice(None), slice(None))


def plain_values(value):
    """Array without unit."""
    return np.asarray(getattr(value, 'value', value))


def _cube(frame):
    """Array (n_bands, ny, nx) without unit."""
    frame = plain_values(frame)
    return frame[None] if frame.ndim == 2 else frame


def noise_of(image):
    """
    Noise of an image that is mostly sky.

    Parameters
    ----------
    image : `numpy.ndarray`
        Any shape.

    Returns
    -------
    float
        Scaled median absolute deviation, clipped below so that it is
        positive.
    """
    finite = image[np.isfinite(image)]
    if not finite.size:
        return 1.0
    sigma = mad_std(finite)
    largest = np.abs(finite).max()
    return float(sigma or 1e-3 * largest or 1.0)


def asinh_stretch(image, sigma, brightest):
    """
    Compress an image so that noise and peaks are both seen.

    Parameters
    ----------
    image : `numpy.ndarray`
        Sky-subtracted image.
    sigma : float
        Its noise.
    brightest : float
        Value that becomes 1.

    Returns
    -------
    `numpy.ndarray`
        Values from 0, 1.5 sigma below the sky, to 1.

    References
    ----------
    Lupton, Gunn & Szalay 1999, AJ 118, 1406, the asinh magnitude.
    """
    low = np.arcsinh(BLACK_LEVEL / LINEAR_RANGE)
    high = np.arcsinh(max(brightest / sigma, LINEAR_RANGE) / LINEAR_RANGE)
    scaled = np.arcsinh(image / sigma / LINEAR_RANGE)
    return np.clip((scaled - low) / (high - low), 0, 1)


def make_rgb(images, scales, sigma, brightest):
    """
    Colour image that keeps the colour of bright pixels.

    Parameters
    ----------
    images : sequence of `numpy.ndarray`, (ny, nx)
        For red, green and blue.
    scales : sequence of float
        Factors that balance the bands.
    sigma : float
        Noise of the mean of the scaled images.
    brightest : float
        Value of that mean that becomes white.

    Returns
    -------
    `numpy.ndarray`, (ny, nx, 3)
        Values between 0 and 1.

    References
    ----------
    Lupton et al. 2004, PASP 116, 133, eq. 2: the stretch is that of the
    mean, and pixels too bright for one colour keep their hue.
    """
    scaled = np.stack([image * scale for image, scale in
                       zip(images, scales, strict=True)])
    mean = scaled.mean(0)
    stretched = asinh_stretch(mean, sigma, brightest)
    offset = asinh_stretch(np.zeros(1), sigma, brightest)[0]
    ratio = (stretched - offset) / np.where(np.abs(mean) > 0, mean, 1)
    rgb = np.clip(offset + scaled * ratio, 0, None)
    rgb /= np.maximum(rgb.max(0), 1)
    return np.moveaxis(rgb, 0, -1)


def unmasked_cube(result, frame, window=WHOLE):
    """Window of a frame, (n_bands, h, w), with NaN in masked pixels."""
    cube = _cube(frame)[:, *window]
    if result.mask is None:
        return cube
    return np.where(_cube(result.mask)[:, *window], np.nan, cube)


def box_window(sources, shape):
    """Slices (y, x) around the boxes of sources, inside the frame."""
    slices = np.array([[(part.start, part.stop) for part in source.slices]
                       for source in sources])
    first = np.maximum(slices[..., 0].min(0) - MARGIN, 0)
    last = np.minimum(slices[..., 1].max(0) + MARGIN, shape)
    return tuple(slice(int(a), int(b))
                 for a, b in zip(first, last, strict=True))


def _alone(result, source, window):
    """Image of a source alone, (n_bands, h, w), on a window."""
    out = np.zeros((len(result.bands), *result.data.shape[-2:]))
    out[:, *source.slices] = _cube(source.image)
    return out[:, *window]


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What is seen in a window: arrays (n_bands, h, w)."""

    window: tuple
    data: np.ndarray
    model: np.ndarray
    residual: np.ndarray
    images: list

    @property
    def extent(self):
        """Edges (left, right, bottom, top) in pixels of the frame."""
        y, x = self.window
        return x.start - 0.5, x.stop - 0.5, y.start - 0.5, y.stop - 0.5


def make_scene(result, sources, window):
    """Scene in a window, with the images of some sources alone."""
    return Scene(
        window=window, data=unmasked_cube(result, result.data, window),
        model=_cube(result.model_image)[:, *window],
        residual=unmasked_cube(result, result.residual_image, window),
        images=[_alone(result, source, window) for source in sources])


def _brightest(image):
    """Largest finite value, or 0."""
    return np.max(image, initial=0, where=np.isfinite(image))


def _band_noise(result, band):
    """Noise of a pixel: the median error, or measured on the residual."""
    if result.error is not None:
        return float(np.median(_cube(result.error)[band]))
    return noise_of(unmasked_cube(result, result.residual_image)[band])


@dataclass(frozen=True, kw_only=True)
class BandPainter:
    """Turns arrays (n_bands, h, w) into pictures of one band."""

    name: str
    band: int
    sigma: float
    brightest: float = 1.0

    residual_title = r'residual / $\sigma$'

    def scaled_to(self, cube):
        """Painter whose white is the brightest pixel of an array."""
        return replace(self, brightest=_brightest(cube[self.band]))

    def image(self, cube):
        """Picture (h, w) from 0, the sky, to 1."""
        return asinh_stretch(cube[self.band], self.sigma, self.brightest)

    def residual(self, cube):
        """Residual (h, w) in sigma."""
        return cube[self.band] / self.sigma


@dataclass(frozen=True, kw_only=True)
class ColorPainter:
    """Turns arrays (n_bands, h, w) into colours of three bands."""

    name: str
    bands: list
    scales: np.ndarray
    sigma: float
    brightest: float = 1.0

    residual_title = r'residual of mean / $\sigma$'

    def _mean(self, cube):
        """Mean of the scaled bands."""
        return np.tensordot(self.scales, cube[self.bands], 1) / 3

    def scaled_to(self, cube):
        """Painter whose white is the brightest pixel of an array."""
        return replace(self, brightest=_brightest(self._mean(cube)))

    def image(self, cube):
        """Picture (h, w, 3) between 0 and 1."""
        return make_rgb(np.nan_to_num(cube[self.bands]), self.scales,
                        self.sigma, self.brightest)

    def residual(self, cube):
        """Residual (h, w) of the mean in sigma."""
        return self._mean(cube) / self.sigma


def band_painter(result, band):
    """Painter of one band, by number, of a result on one grid."""
    return BandPainter(name='' if result.is_2d else result.bands[band],
                       band=band, sigma=_band_noise(result, band))


def _channels(result, rgb):
    """Numbers of the bands for red, green and blue."""
    if rgb is True:
        n_bands = len(result.bands)
        return [n_bands - 1, n_bands // 2, 0]
    bands = [result.band_index(band) for band in rgb]
    if len(bands) != 3:
        msg = (f'rgb needs three bands, for red, green and blue, not '
               f'{len(bands)}.')
        raise BandMismatchError(msg, bands=rgb)
    return bands


def color_painter(result, rgb=True):
    """Painter in colours; True: the last, middle and first band."""
    bands = _channels(result, rgb)
    model = np.clip(_cube(result.model_image)[bands], 0, None)
    # the average source is grey
    total = model.sum((1, 2)) + np.finfo(float).tiny
    scales = total.mean() / total
    noise = np.array([_band_noise(result, band) for band in bands])
    return ColorPainter(
        name='-'.join(result.bands[band] for band in bands), bands=bands,
        scales=scales, sigma=np.sqrt(((noise * scales) ** 2).sum()) / 3)


def value_with_error(value, error):
    """Value and error as text, to two digits of the error."""
    if not (np.isfinite(value) and np.isfinite(error) and error > 0):
        return f'{value:.3g}'
    places = 1 - int(np.floor(np.log10(error)))
    if places > 6 or max(abs(value), error) >= 1e6:
        return f'{value:.3g} ± {error:.2g}'
    places = max(places, 0)
    return f'{value:.{places}f} ± {error:.{places}f}'
