# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Other ways to measure the same images, to compare with.

`sep_photometry` runs the algorithms of SExtractor (Bertin & Arnouts 1996)
through the package ``sep`` (Barbary 2016): thresholding and
multi-threshold deblending in one band, Kron fluxes (``FLUX_AUTO``) in all.
`sep_kron`, `photutils_kron`, `aperture` and `oracle` are methods, see
`vaephot.evaluate.methods`.
"""

from dataclasses import dataclass

import numpy as np
from astropy.table import QTable
from photutils.aperture import CircularAperture
from photutils.segmentation import SourceCatalog, deblend_sources

from vaephot.evaluate.mosaic import detect_segments, make_mosaic
from vaephot.exceptions import BandMismatchError, ShapeMismatchError
from vaephot.utils.optional_deps import import_optional

__all__ = ['MASK_TYPES', 'SepSettings', 'aperture', 'oracle',
           'photutils_kron', 'sep_kron', 'sep_photometry',
           'solve_templates']

# SExtractor measures the Kron radius within this many times the ellipse of
# the second moments (Bertin & Arnouts 1996, section 6)
KRON_ELLIPSE = 6.0
# light is summed on pixels divided this finely
SUBPIXELS = 5
# smallest axis of the moments' ellipse in pixels
MIN_AXIS = 0.3
# what an aperture sees where other sources are: the pixel opposite of the
# centre, nothing, or what is there
MASK_TYPES = ('correct', 'blank', 'none')


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
    clean : bool
        ``CLEAN``: whether detections that the wings of others explain are
        removed.
    clean_param : float
        ``CLEAN_PARAM``.
    mask_type : {'correct', 'blank', 'none'}
        ``MASK_TYPE``: what an aperture sees where other sources are.
    """

    threshold: float = 1.5
    n_pixels: int = 5
    n_levels: int = 32
    contrast: float = 0.005
    kron_factor: float = 2.5
    min_radius: float = 3.5
    clean: bool = True
    clean_param: float = 1.0
    mask_type: str = 'correct'

    def __post_init__(self):
        for name in ('threshold', 'n_pixels', 'n_levels', 'kron_factor'):
            if not getattr(self, name) > 0:
                msg = f'{name} is {getattr(self, name)}; it must be > 0.'
                raise ValueError(msg)
        if not 0 <= self.contrast <= 1:
            msg = f'contrast is {self.contrast}; it must be in 0...1.'
            raise ValueError(msg)
        if self.mask_type not in MASK_TYPES:
            msg = (f'mask_type is {self.mask_type!r}; choose one of '
                   f'{", ".join(MASK_TYPES)}.')
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
    the centre, or 0 if that belongs to another source too (SExtractor's
    ``MASK_TYPE CORRECT``), unless the settings say otherwise.

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
        filter_type='conv', clean=settings.clean,
        clean_param=settings.clean_param, segmentation_map=True)
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
        self.ellipse = (np.maximum(sources['a'], MIN_AXIS),
                        np.maximum(sources['b'], MIN_AXIS),
                        np.clip(sources['theta'], -np.pi / 2, np.pi / 2))
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
        if self.settings.mask_type == 'none':
            return stamp
        other = (segm[box] != 0) & (segm[box] != k + 1)
        if self.settings.mask_type == 'blank':
            stamp[other] = 0
            return stamp
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


def sep_kron(observed, **settings):
    """
    Measure blends as SExtractor does, by way of ``sep``.

    Parameters
    ----------
    observed : `~vaephot.evaluate.observed.ObservedBlends`
        The blends.
    **settings
        As for `SepSettings`.

    Returns
    -------
    list of dict
        One per blend.
    """
    mosaic = make_mosaic(observed)
    table, segm = sep_photometry(
        mosaic.image, observed.sky_rms, bands=observed.bands,
        gain=observed.gain, mask=mosaic.mask[0],
        settings=SepSettings(**settings))
    columns = {name: np.stack([table[f'{name}_{band}']
                               for band in observed.bands], axis=1)
               for name in ('flux', 'flux_err')}
    xy = np.stack([table['x_centroid'], table['y_centroid']], axis=1)
    columns['flux_err'] = columns['flux_err'] * observed.noise_correlation
    return mosaic.split_rows(xy, **columns, segmentation=segm)


def photutils_kron(observed, *, n_levels=32, contrast=0.001, n_pixels=5):
    """
    Deblend with photutils' watershed and measure Kron fluxes.

    Parameters
    ----------
    observed : `~vaephot.evaluate.observed.ObservedBlends`
        The blends.
    n_levels, contrast, n_pixels : optional
        As for `photutils.segmentation.deblend_sources`, and its defaults.

    Returns
    -------
    list of dict
        One per blend.

    Raises
    ------
    MissingDependencyError
        If scikit-image, which has the watershed, is not installed.
    """
    import_optional('skimage', "photutils' watershed")
    mosaic = make_mosaic(observed)
    smooth, segm = detect_segments(mosaic, observed.sky_rms[0])
    if segm is None:
        nothing = np.zeros((0, len(observed.bands)))
        return mosaic.split_rows(np.zeros((0, 2)), nothing, nothing,
                                 np.zeros(mosaic.gap.shape, int))
    segm = deblend_sources(smooth, segm, n_pixels, n_levels=n_levels,
                           contrast=contrast, progress_bar=False)
    segm.relabel_consecutive()
    first, flux, flux_err = None, [], []
    for band, sky_rms, mask in zip(mosaic.image, observed.sky_rms,
                                   mosaic.mask, strict=True):
        catalog = SourceCatalog(
            band, segm, convolved_data=smooth if first is None else None,
            error=np.full(band.shape, sky_rms), mask=mask,
            detection_catalog=first)
        first = catalog if first is None else first
        flux.append(catalog.kron_flux)
        flux_err.append(catalog.kron_flux_err)
    xy = np.stack([first.x_centroid, first.y_centroid], axis=1)
    return mosaic.split_rows(
        xy, np.stack(flux, axis=1),
        np.stack(flux_err, axis=1) * observed.noise_correlation, segm.data)


def aperture(observed, *, radius=0.6):
    """
    Sum the light around each told position: no deblending at all.

    Parameters
    ----------
    observed : `~vaephot.evaluate.observed.ObservedBlends`
        The blends.
    radius : float, optional
        Radius of the aperture in arcsec. Fluxes are divided by the share
        of the PSF inside it, as is right for points.

    Returns
    -------
    list of dict
        One per blend, in the order of the positions.
    """
    pixels = radius / observed.pixel_scale
    middle = observed.psf.shape[-1] // 2
    distance = np.hypot(*(np.indices(observed.psf.shape[1:]) - middle))
    inside = distance <= pixels * observed.oversampling
    share = observed.psf[:, inside].sum(1) / observed.psf.sum((1, 2))
    out = []
    for image, mask, xy in zip(observed.image, observed.mask,
                               observed.positions, strict=True):
        flux = np.zeros((len(xy), len(image)))
        for b in range(len(image) if len(xy) else 0):
            sums, _ = CircularAperture(xy, pixels).do_photometry(
                np.asarray(image[b], float), mask=mask[b])
            flux[:, b] = sums / share[b]
        noise = observed.sky_rms * np.sqrt(np.pi) * pixels / share
        photons = np.maximum(flux, 0) / observed.gain
        error = np.sqrt((noise * observed.noise_correlation) ** 2 + photons)
        out.append({'xy': xy, 'flux': flux, 'flux_err': error})
    return out


aperture.uses_positions = True


def oracle(observed):
    """
    Fit the true templates with the true noise: the floor, not a peer.

    It shares the noise with every other method, so that the median of
    (flux - oracle) / truth shows a bias far below the scatter. Told
    positions that were left out do not matter: it knows them all.

    Parameters
    ----------
    observed : `~vaephot.evaluate.observed.ObservedBlends`
        Blends with noiseless sources in their truth.

    Returns
    -------
    list of dict
        One per blend, in the order of the positions.
    """
    out = []
    for k, given in enumerate(observed.given):
        flux, error = solve_templates(observed, k)
        rows = observed.truth.rows(k)
        unit = observed.truth.flux[rows][given]
        models = [observed.truth.models[rows][i] for i in given]
        ratio = (flux[given] / unit)[..., None, None]
        out.append({
            'xy': observed.truth.xy[rows][given], 'flux': flux[given],
            'flux_err': error[given] * observed.noise_correlation,
            'models': [(box, model * r) for (box, model), r in zip(
                models, ratio, strict=True)]})
    return out


oracle.uses_positions = True


def solve_templates(observed, k):
    """
    Fluxes of all sources of a blend by least squares of true templates.

    Parameters
    ----------
    observed : `~vaephot.evaluate.observed.ObservedBlends`
        Blends with noiseless sources in their truth.
    k : int
        Number of the blend.

    Returns
    -------
    flux, error : `~numpy.ndarray`, (n_sources, n_bands)
    """
    truth, rows = observed.truth, observed.truth.rows(k)
    boxes, models = zip(*truth.models[rows], strict=True)
    unit = truth.flux[rows]
    with np.errstate(divide='ignore'):
        weight = np.where(observed.mask[k], 0, truth.error[k] ** -2.0)
    n, n_bands = unit.shape
    F, g = np.zeros((n_bands, n, n)), np.zeros((n_bands, n))
    weighted = weight * observed.image[k]
    for i in range(n):
        a = boxes[i]
        template = models[i] / unit[i][:, None, None]
        own = np.s_[:, a.iymin:a.iymax, a.ixmin:a.ixmax]
        g[:, i] = (template * weighted[own]).sum((1, 2))
        for j in range(i, n):
            common = a.intersection(boxes[j])
            if common is None:
                continue
            both = [m[:, common.iymin - box.iymin:common.iymax - box.iymin,
                      common.ixmin - box.ixmin:common.ixmax - box.ixmin]
                    for m, box in ((template, a), (models[j], boxes[j]))]
            seen = np.s_[:, common.iymin:common.iymax,
                         common.ixmin:common.ixmax]
            F[:, i, j] = (weight[seen] * both[0] * both[1]).sum((1, 2)) \
                / unit[j]
            F[:, j, i] = F[:, i, j]
    C = np.linalg.pinv(F, hermitian=True)
    error = np.sqrt(np.maximum(np.diagonal(C, axis1=1, axis2=2), 0))
    return np.einsum('bij,bj->ib', C, g), error.T
