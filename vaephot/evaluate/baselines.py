# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Other ways to measure the same images, to compare with.

`sep_photometry` runs the algorithms of SExtractor (Bertin & Arnouts 1996)
through the package ``sep`` (Barbary 2016): thresholding and
multi-threshold deblending in one band, Kron fluxes (``FLUX_AUTO``) in all.
"""

from dataclasses import dataclass

import numpy as np
from astropy.table import QTable

from vaephot.exceptions import BandMismatchError, ShapeMismatchError
from vaephot.utils._optional_deps import import_optional

__all__ = ['SepSettings', 'sep_photometry']

# SExtractor measures the Kron radius within this many times the ellipse of
# the second moments (Bertin & Arnouts 1996, section 6)
KRON_ELLIPSE = 6.0
# light is summed on pixels divided this finely
SUBPIXELS = 5


@dataclass(frozen=True, kw_only=True)
class SepSettings:
    """
    Settings of the SExtractor baseline, under SExtractor's defaults.

    Parameters
    ----------
    threshold : float
        ``DETECT_THRESH``, in units of the noise.
    n_pixels : int
        ``DETECT_MINAREA``.
    n_levels : int
        ``DEBLEND_NTHRESH``.
    contrast : float
        ``DEBLEND_MINCONT``.
    kron_factor, min_radius : float
        ``PHOT_AUTOPARAMS``: the Kron radius is multiplied by the first;
        the product is at least the second, both in units of the ellipse
        of the second moments.
    """

    threshold: float = 1.5
    n_pixels: int = 5
    n_levels: int = 32
    contrast: float = 0.005
    kron_factor: float = 2.5
    min_radius: float = 3.5

    def __post_init__(self):
        for name in ('threshold', 'n_pixels', 'n_levels', 'kron_factor'):
            if not getattr(self, name) > 0:
                msg = f'{name} is {getattr(self, name)}; it must be > 0.'
                raise ValueError(msg)
        if not 0 <= self.contrast <= 1:
            msg = f'contrast is {self.contrast}; it must be in 0...1.'
            raise ValueError(msg)


def _frames(data, bands):
    """Images as native float64, (n_bands, ny, nx)."""
    data = np.array(data, dtype=np.float64, order='C')
    if data.ndim == 2:
        data = data[None]
    if data.ndim != 3:
        msg = (f'data has the shape {data.shape}; give (n_bands, ny, nx) '
               'or (ny, nx).')
        raise ShapeMismatchError(msg, shape=data.shape)
    if len(bands) != len(data):
        msg = (f'data has {len(data)} bands but bands are '
               f'({", ".join(bands)}); give one name for each.')
        raise BandMismatchError(msg, bands=tuple(bands), given=len(data))
    return data


def _noise(error, band, shape):
    """Noise of a band: an array of its shape."""
    error = np.asarray(error, dtype=np.float64)
    error = error if error.ndim == 0 or error.shape == shape else error[band]
    return np.array(np.broadcast_to(error, shape))


def sep_photometry(data, error, *, bands, gain=None, mask=None,
                   detection_band=0, settings=None):
    """
    Detect, deblend and measure as SExtractor does.

    Pixels of other sources inside an aperture take the value opposite of
    the centre, or 0 if that belongs to another source too: SExtractor's
    ``MASK_TYPE CORRECT``.

    Parameters
    ----------
    data : array_like, (n_bands, ny, nx) or (ny, nx)
        Background-subtracted images.
    error : array_like
        Noise of the background: one number, one per band, or of the
        shape of ``data``.
    bands : sequence of str
        Names of the bands.
    gain : sequence of float or None, optional
        Electrons per data unit of each band; `None` adds no photon noise
        to the flux errors.
    mask : array_like of bool, (ny, nx) or None, optional
        True for bad pixels.
    detection_band : int, optional
        Index of the band that sources are found and apertures are
        defined in.
    settings : SepSettings or None, optional
        `None` means the defaults.

    Returns
    -------
    table : `~astropy.table.QTable`
        ``label``, ``x_centroid``, ``y_centroid``, ``kron_radius`` (of the
        scaled aperture, in units of the moments' ellipse), ``flags``,
        and ``flux_<band>``, ``flux_err_<band>``.
    segmentation : `~numpy.ndarray` of int, (ny, nx)
        Pixels of each source.

    Raises
    ------
    MissingDependencyError
        If ``sep`` is not installed.
    BandMismatchError, ShapeMismatchError
        If names, images and noise do not belong together.
    """
    sep = import_optional('sep', 'the SExtractor baseline')
    settings = settings or SepSettings()
    frames = _frames(data, bands)
    shape = frames.shape[1:]
    noise = [_noise(error, i, shape) for i in range(len(frames))]
    if mask is not None:
        mask = np.array(mask, dtype=bool)
    sources, segm = sep.extract(
        frames[detection_band], settings.threshold,
        err=noise[detection_band], mask=mask, minarea=settings.n_pixels,
        deblend_nthresh=settings.n_levels, deblend_cont=settings.contrast,
        filter_type='conv', segmentation_map=True)
    aperture = _KronAperture(sep, sources, segm, mask, settings)
    radius = aperture.measure_radius(frames[detection_band])
    table = QTable({'label': np.arange(1, len(sources) + 1),
                    'x_centroid': np.array(sources['x']),
                    'y_centroid': np.array(sources['y']),
                    'kron_radius': radius,
                    'flags': np.array(sources['flag'])})
    for i, band in enumerate(bands):
        flux, flux_err = aperture.sum(frames[i], noise[i], radius,
                                      None if gain is None else gain[i])
        table[f'flux_{band}'], table[f'flux_err_{band}'] = flux, flux_err
    return table, segm


class _KronAperture:
    """Kron apertures of the sources that sep found."""

    def __init__(self, sep, sources, segm, mask, settings):
        self.sep = sep
        self.settings = settings
        self.xy = sources['x'], sources['y']
        self.ellipse = sources['a'], sources['b'], sources['theta']
        self.common = {'mask': mask, 'segmap': segm,
                       'seg_id': np.arange(1, len(sources) + 1)}

    def measure_radius(self, image):
        """Radius of each aperture in units of the moments' ellipse."""
        if not len(self.xy[0]):
            return np.zeros(0)
        radius, _ = self.sep.kron_radius(image, *self.xy, *self.ellipse,
                                         KRON_ELLIPSE, **self.common)
        scaled = self.settings.kron_factor * np.nan_to_num(radius)
        return np.maximum(scaled, self.settings.min_radius)

    def sum(self, image, noise, radius, gain):
        """Flux and its error in each aperture."""
        rows = [self._sum_one(k, image, noise, radius[k], gain)
                for k in range(len(radius))]
        return np.reshape(rows, (-1, 2)).T.copy()

    def _sum_one(self, k, image, noise, radius, gain):
        """Flux and error of one source, its neighbours mirrored away."""
        (x, y), (a, b, theta) = ([column[k] for column in columns]
                                 for columns in (self.xy, self.ellipse))
        half = int(np.ceil(a * radius)) + 2
        middle = round(x), round(y)
        x0, y0 = (max(0, m - half) for m in middle)
        box = np.s_[y0:middle[1] + half + 1, x0:middle[0] + half + 1]
        stamp = self._without_neighbours(k, image, box, middle)
        mask = self.common['mask']
        flux, flux_err, _ = self.sep.sum_ellipse(
            stamp, [x - x0], [y - y0], [a], [b], [theta], [radius],
            err=np.ascontiguousarray(noise[box]), gain=gain,
            mask=None if mask is None else np.ascontiguousarray(mask[box]),
            subpix=SUBPIXELS)
        return flux[0], flux_err[0]

    def _without_neighbours(self, k, image, box, middle):
        """Cutout with the pixels of other sources replaced."""
        segm = self.common['segmap']
        stamp = image[box].copy()
        other = (segm[box] != 0) & (segm[box] != k + 1)
        rows, columns = np.nonzero(other)
        mirrored = (2 * middle[1] - (rows + box[0].start),
                    2 * middle[0] - (columns + box[1].start))
        inside = np.ones(len(rows), bool)
        for index, size in zip(mirrored, image.shape, strict=True):
            inside &= (index >= 0) & (index < size)
        values = np.zeros(len(rows))
        mirror = tuple(index[inside] for index in mirrored)
        free = (segm[mirror] == 0) | (segm[mirror] == k + 1)
        values[inside] = np.where(free, image[mirror], 0)
        stamp[rows, columns] = values
        return stamp
