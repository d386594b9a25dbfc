# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Images that methods measure, and the truth they are scored against.

`ObservedBlends` is what every method gets: images and what is told about
them. The truth hangs on it for the sake of the oracle; other methods leave
it alone.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from astropy.io import fits
from astropy.table import QTable
from photutils.aperture import BoundingBox

from vaephot.exceptions import CatalogError, ShapeMismatchError

__all__ = ['ObservedBlends', 'Truth', 'clean_image', 'has_models',
           'observe_blends', 'observe_field', 'paste_models',
           'read_observed']

# scatter of the positions that are told, in arcsec in x and in y
POSITION_SIGMA = 0.02
# pixels this close to the level of saturation are saturated
SATURATED_SHARE = 0.999


@dataclass(frozen=True, kw_only=True, eq=False)
class Truth:
    """
    True sources of all blends, one after the other.

    Parameters
    ----------
    blend : `~numpy.ndarray` of int, (n,)
        Blend that a source is in, rising.
    xy : `~numpy.ndarray`, (n, 2)
        Positions in the pixels of the blend.
    flux : `~numpy.ndarray`, (n, n_bands)
        Total fluxes.
    is_star, is_scored : `~numpy.ndarray` of bool, (n,)
        Points; sources that the figures are about.
    half_light_radius, eta1, eta2 : `~numpy.ndarray`, (n,)
        Circularised radius in pixels and conformal shear without the
        PSF; NaN if unknown.
    models : tuple of (BoundingBox, `~numpy.ndarray`) or None, optional
        Noiseless sources ``(n_bands, h, w)`` in boxes inside the image.
        `None` if they are not known.
    error : `~numpy.ndarray` or None, optional
        True 1-sigma noise, of the shape of the images.
    """

    blend: np.ndarray
    xy: np.ndarray
    flux: np.ndarray
    is_star: np.ndarray
    is_scored: np.ndarray
    half_light_radius: np.ndarray
    eta1: np.ndarray
    eta2: np.ndarray
    models: tuple | None = field(default=None, repr=False)
    error: np.ndarray | None = field(default=None, repr=False)

    def __len__(self):
        return len(self.blend)

    def rows(self, k):
        """
        Return the slice of the sources of a blend.

        Parameters
        ----------
        k : int
            Number of the blend.

        Returns
        -------
        slice
        """
        return slice(*np.searchsorted(self.blend, [k, k + 1]).tolist())


@dataclass(frozen=True, kw_only=True, eq=False)
class ObservedBlends:
    """
    Images of one size and what a method is told about them.

    A *blend* is any image with sources: a stamp, or a whole field.

    Parameters
    ----------
    image : `~numpy.ndarray`, (n, n_bands, ny, nx)
        Images, background-subtracted unless the conditions say otherwise.
    mask : `~numpy.ndarray` of bool, (n, n_bands, ny, nx)
        True for bad pixels.
    sky_rms, gain : `~numpy.ndarray`, (n_bands,)
        Noise of the sky per pixel, and electrons per unit of the data.
    noise_correlation : `~numpy.ndarray`, (n_bands,)
        Noise of a large sum over that of independent pixels.
    psf : `~numpy.ndarray`, (n_bands, P, P)
        Effective PSFs, sum 1, centred on the middle sample.
    oversampling : int
        Samples of the PSFs per pixel.
    bands : tuple of str
        Names of the bands; the first one detects.
    pixel_scale, zeropoint : float
        Arcsec, and AB magnitude of flux 1.
    positions : tuple of `~numpy.ndarray`, each (m, 2)
        Positions that methods are told, per blend.
    given : tuple of `~numpy.ndarray` of int, each (m,)
        Which source of the blend each position belongs to.
    point_source : tuple of `~numpy.ndarray` of bool, each (m,)
        Which positions are those of stars.
    truth : Truth
        The truth.
    """

    image: np.ndarray = field(repr=False)
    mask: np.ndarray = field(repr=False)
    sky_rms: np.ndarray
    gain: np.ndarray
    noise_correlation: np.ndarray
    psf: np.ndarray = field(repr=False)
    oversampling: int
    bands: tuple
    pixel_scale: float
    zeropoint: float
    positions: tuple = field(repr=False)
    given: tuple = field(repr=False)
    point_source: tuple = field(repr=False)
    truth: Truth = field(repr=False)

    def __len__(self):
        return len(self.image)

    @property
    def shape(self):
        """(ny, nx) of each blend."""
        return self.image.shape[-2:]

    @property
    def true_mags(self):
        """True AB magnitudes, (n_sources, n_bands)."""
        return self.zeropoint - 2.5 * np.log10(self.truth.flux)


def paste_models(models, shape, factors=None):
    """
    Add sources in their boxes up to one image.

    Parameters
    ----------
    models : iterable of (BoundingBox, `~numpy.ndarray`)
        Sources ``(n_bands, h, w)`` in boxes inside the image.
    shape : tuple of int
        ``(n_bands, ny, nx)``.
    factors : iterable of array_like, (n_bands,), or None, optional
        What each source is multiplied by. `None` is 1.

    Returns
    -------
    `~numpy.ndarray`, (n_bands, ny, nx)
    """
    out = np.zeros(shape)
    factors = np.ones((len(models), 1)) if factors is None else factors
    for (box, model), factor in zip(models, factors, strict=True):
        out[:, box.iymin:box.iymax, box.ixmin:box.ixmax] += (
            np.asarray(model) * np.asarray(factor)[:, None, None])
    return out


def clean_image(observed, k):
    """
    Return the noiseless image of a blend.

    Parameters
    ----------
    observed : ObservedBlends
        Blends with the noiseless sources in their truth.
    k : int
        Number of the blend.

    Returns
    -------
    `~numpy.ndarray`, (n_bands, ny, nx)
    """
    return paste_models(observed.truth.models[observed.truth.rows(k)],
                        observed.image.shape[1:])


def _told(truth, n_blends, sigma, seed):
    """Positions with a scatter, and which sources they belong to."""
    rng = np.random.default_rng([seed, 1])
    jittered = truth.xy + rng.normal(scale=sigma, size=truth.xy.shape)
    rows = [truth.rows(k) for k in range(n_blends)]
    return {'positions': tuple(jittered[r] for r in rows),
            'given': tuple(np.arange(r.stop - r.start) for r in rows),
            'point_source': tuple(truth.is_star[r] for r in rows)}


def observe_blends(blends, *, score='central',
                   position_sigma=POSITION_SIGMA):
    """
    Turn simulated blends into what methods are told.

    Parameters
    ----------
    blends : `~vaephot.simulate.Blends`
        The blends.
    score : {'central', 'all'}, optional
        Whether figures are about the source in the middle or about all.
    position_sigma : float, optional
        Scatter of the positions that are told, in arcsec in x and in y.

    Returns
    -------
    ObservedBlends
    """
    real = np.arange(blends.x.shape[1]) < blends.n_sources[:, None]
    blend, source = np.nonzero(real)
    box = BoundingBox(0, blends.image.shape[-1], 0, blends.image.shape[-2])
    truth = Truth(
        blend=blend, flux=blends.flux[real], is_star=blends.is_star[real],
        xy=np.stack([blends.x[real], blends.y[real]], axis=1),
        is_scored=(source == 0) | (score == 'all'),
        half_light_radius=blends.half_light_radius[real],
        eta1=blends.eta1[real], eta2=blends.eta2[real],
        models=tuple((box, model) for model in blends.models[real]),
        error=blends.error)
    return ObservedBlends(
        image=blends.image, mask=blends.mask, truth=truth,
        sky_rms=np.asarray(blends.sky_rms), gain=np.asarray(blends.gain),
        noise_correlation=blends.noise_correlation, psf=blends.psf,
        oversampling=blends.oversampling, bands=tuple(blends.bands),
        pixel_scale=blends.pixel_scale, zeropoint=blends.zeropoint,
        **_told(truth, len(blends), position_sigma / blends.pixel_scale,
                blends.seed))


def observe_field(simulated, *, zeropoint=23.9,
                  position_sigma=POSITION_SIGMA):
    """
    Turn a simulated field into what methods are told: one large blend.

    Parameters
    ----------
    simulated : `~vaephot.simulate.SimulatedField`
        The field.
    zeropoint : float, optional
        AB magnitude of flux 1; the default is that of microjansky.
    position_sigma : float, optional
        Scatter of the positions that are told, in arcsec in x and in y.

    Returns
    -------
    ObservedBlends
    """
    truth = _field_truth(simulated.truth, simulated.bands,
                         simulated.pixel_scale)
    truth = replace(truth, models=simulated.models,
                    error=simulated.error[None])
    return ObservedBlends(
        image=simulated.image[None], mask=simulated.mask[None], truth=truth,
        sky_rms=np.asarray(simulated.sky_rms),
        gain=np.asarray(simulated.gain),
        noise_correlation=simulated.noise_correlation, psf=simulated.psf,
        oversampling=simulated.oversampling, bands=tuple(simulated.bands),
        pixel_scale=simulated.pixel_scale, zeropoint=zeropoint,
        **_told(truth, 1, position_sigma / simulated.pixel_scale,
                simulated.seed))


def _field_truth(table, bands, pixel_scale):
    """Truth of a field from its table of sources."""
    def column(name, default=np.nan):
        if name not in table.colnames:
            return np.full(len(table), default)
        return np.asarray(getattr(table[name], 'value', table[name]))

    n = len(table)
    return Truth(
        blend=np.zeros(n, int),
        xy=np.stack([column('x'), column('y')], axis=1).astype(float),
        flux=np.stack([column(f'flux_{band}') for band in bands],
                      axis=1).astype(float),
        is_star=column('is_star', False).astype(bool),
        is_scored=np.ones(n, bool),
        half_light_radius=column('half_light_radius') / pixel_scale,
        eta1=column('eta1'), eta2=column('eta2'))


def read_observed(path, *, score='central', position_sigma=POSITION_SIGMA):
    """
    Read what ``vaephot simulate blends`` or ``field`` wrote.

    Parameters
    ----------
    path : path-like
        Blends (``.npz`` or FITS) or a field (FITS, with its truth).
    score : {'central', 'all'}, optional
        As for `observe_blends`; in a field all sources are scored.
    position_sigma : float, optional
        Scatter of the positions that are told, in arcsec in x and in y.

    Returns
    -------
    ObservedBlends

    Raises
    ------
    CatalogError
        If the file lacks the truth, or a number in a header.
    """
    if str(path).endswith('.npz'):
        return _observe_file(path, score, position_sigma)
    with fits.open(path, memmap=False) as hdus:
        names = [hdu.name for hdu in hdus]
        if 'MODELS' in names and 'IMAGE' in names:
            return _observe_file(path, score, position_sigma)
        if 'TRUTH' not in names:
            msg = (f'{path} has no extension TRUTH; it has '
                   f'{", ".join(names)}. Give a field that "vaephot '
                   'simulate field" wrote.')
            raise CatalogError(msg, path=str(path))
        return _observe_hdus(path, hdus, names, position_sigma)


def has_models(path):
    """
    Whether a file of blends or of a field has its sources and its noise.

    Parameters
    ----------
    path : path-like
        Blends (``.npz`` or FITS) or a field (FITS).

    Returns
    -------
    bool
    """
    if str(path).endswith('.npz'):
        return True
    with fits.open(path) as hdus:
        names = [hdu.name for hdu in hdus]
    # those of a field are of use with its noise alone
    return 'MODELS' in names and ('IMAGE' in names or any(
        name.startswith('ERROR_') for name in names))


def _observe_file(path, score, position_sigma):
    """Observed blends of a file."""
    from vaephot.simulate import read_blends

    return observe_blends(read_blends(path), score=score,
                          position_sigma=position_sigma)


def _observe_hdus(path, hdus, names, position_sigma):
    """Observed field from the extensions of a file."""
    bands = tuple(name[4:] for name in names if name.startswith('PSF_'))
    headers = [hdus[band].header for band in bands]
    shapes = {hdus[band].data.shape for band in bands}
    if len(shapes) != 1:
        msg = (f'bands of {path} have the shapes {sorted(shapes)}; give '
               'bands on one pixel grid.')
        raise ShapeMismatchError(msg, shapes=shapes)
    image = np.array([hdus[band].data for band in bands], dtype=float)
    levels = np.array([_card(path, header, 'SATURATE', np.inf)
                       for header in headers])
    mask = image >= SATURATED_SHARE * levels[:, None, None]
    for k, band in enumerate(bands):
        if f'MASK_{band}' in names:
            mask[k] |= hdus[f'MASK_{band}'].data.astype(bool)
    scale = 3600 * np.abs(_card(path, headers[0], 'CDELT1'))
    truth = _field_truth(QTable.read(hdus['TRUTH']), bands, scale)
    if has_models(path):
        from vaephot.simulate import read_models

        truth = replace(
            truth, models=tuple(read_models(path).values()),
            error=np.array([[hdus[f'ERROR_{band}'].data for band in bands]],
                           dtype=float))
    return ObservedBlends(
        image=image[None], mask=mask[None], truth=truth, bands=bands,
        sky_rms=np.array([_card(path, h, 'SKYRMS') for h in headers]),
        gain=np.array([_card(path, h, 'GAIN') for h in headers]),
        noise_correlation=np.array([_card(path, h, 'NCORR', 1.0)
                                    for h in headers]),
        psf=np.array([hdus[f'PSF_{band}'].data for band in bands], float),
        oversampling=int(hdus[f'PSF_{bands[0]}'].header['OVERSAMP']),
        pixel_scale=float(scale),
        zeropoint=_card(path, headers[0], 'MAGZERO'),
        **_told(truth, 1, position_sigma / scale,
                int(_card(path, headers[0], 'SEED', 0))))


def _card(path, header, name, default=None):
    """Number in a header."""
    value = header.get(name, default)
    if value is None:
        msg = (f'a band of {path} has no {name} in its header; give a '
               'field that "vaephot simulate field" wrote.')
        raise CatalogError(msg, path=str(path), keyword=name)
    return value
