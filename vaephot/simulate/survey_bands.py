# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What a survey is: its bands, their PSFs, noise, depth and sources."""

from dataclasses import dataclass, replace

import numpy as np

from vaephot.exceptions import CatalogError
from vaephot.simulate.telescopes import TELESCOPES

__all__ = ['Band', 'Depth', 'Survey']


@dataclass(frozen=True, kw_only=True)
class Depth:
    """
    Faintest source that is measured at some signal-to-noise ratio.

    Parameters
    ----------
    mag : float
        AB magnitude.
    n_sigma : float, optional
        Signal-to-noise ratio.
    aperture : float or None, optional
        Diameter in arcsec of an aperture. `None` means a point source
        that is measured by a fit of the PSF.
    """

    mag: float
    n_sigma: float = 5.0
    aperture: float | None = None


@dataclass(frozen=True, kw_only=True)
class Band:
    """
    One band of a survey.

    Parameters
    ----------
    name : str
        Name of the band.
    psf_fwhm : float
        Full width at half maximum of the PSF, pixel included for
        telescopes in space, in arcsec.
    sky_rms : float
        1-sigma noise of the empty sky per pixel, in microjansky, such
        that independent pixels give the depth of the survey.
    gain : float
        Electrons per microjansky in the stack.
    zeropoint, sky_mag, exposure : float or None, optional
        AB magnitude of one electron per second, AB magnitude of the sky
        per square arcsec, and seconds of the stack, which ``gain`` and
        in part ``sky_rms`` follow from. `None` if not known.
    wavelengths_nm : tuple of float, optional
        Wavelengths that the PSF of a space telescope is averaged over,
        in nm. Empty means a Moffat PSF.
    blur_fwhm : float, optional
        Gaussian blur in arcsec that brings the PSF of a space
        telescope to ``psf_fwhm``.
    saturation_mag : float or None, optional
        AB magnitude of a star whose brightest pixel just saturates.
        `None` means that nothing saturates.
    native_pixel_scale : float or None, optional
        Pixel size of the detector in arcsec. `None` means that of the
        survey.
    native_blur_fwhm : float or None, optional
        As ``blur_fwhm``, for the pixels of the detector. `None` takes
        ``blur_fwhm``.
    catalog_band : str or None, optional
        Band of the catalogues that has the magnitudes. `None` means
        the band of the same name.
    depth : `Depth` or None, optional
        Stated depth. `None` if there is none but ``sky_rms``.
    psf_file : str or None, optional
        FITS file of an effective PSF on the pixels of the survey, with
        ``OVERSAMP`` samples per pixel in its header (1 without it).
    sources : tuple of (str, str), optional
        Where the numbers come from, by the name of the parameter.
    """

    name: str
    psf_fwhm: float
    sky_rms: float
    gain: float
    zeropoint: float | None = None
    sky_mag: float | None = None
    exposure: float | None = None
    wavelengths_nm: tuple[float, ...] = ()
    blur_fwhm: float = 0.0
    saturation_mag: float | None = None
    native_pixel_scale: float | None = None
    native_blur_fwhm: float | None = None
    catalog_band: str | None = None
    depth: Depth | None = None
    psf_file: str | None = None
    sources: tuple[tuple[str, str], ...] = ()

    def __post_init__(self):
        for name in ('psf_fwhm', 'sky_rms', 'gain'):
            value = getattr(self, name)
            if not (np.isfinite(value) and value > 0):
                msg = (f'{name} of band {self.name} is {value}; it must be '
                       f'positive.')
                raise CatalogError(msg, band=self.name, value=value)
        if self.saturation_mag is not None and not np.isfinite(
                self.saturation_mag):
            msg = (f'saturation_mag of band {self.name} is '
                   f'{self.saturation_mag}; leave it out if nothing '
                   f'saturates.')
            raise CatalogError(msg, band=self.name,
                               value=self.saturation_mag)

    @property
    def catalog_name(self):
        """Band of the catalogues that has the magnitudes, a str."""
        return self.catalog_band or self.name


@dataclass(frozen=True, kw_only=True)
class Survey:
    """
    A survey.

    Parameters
    ----------
    name : str
        Name of the survey.
    pixel_scale : float
        Pixel size in arcsec, common to the bands.
    bands : tuple of `Band`
        The bands, the one that detects first.
    telescope : str or None, optional
        Name of the space telescope, one of ``TELESCOPES`` of
        `vaephot.simulate.telescopes`. `None` is the ground.
    """

    name: str
    pixel_scale: float
    bands: tuple[Band, ...]
    telescope: str | None = None

    def __post_init__(self):
        names = [band.name for band in self.bands]
        if not self.pixel_scale > 0 or not names:
            msg = (f'survey {self.name} has pixel_scale {self.pixel_scale} '
                   f'and {len(names)} bands; it needs a positive scale and '
                   f'at least one band.')
            raise CatalogError(msg, survey=self.name)
        if len(set(names)) < len(names):
            msg = (f'survey {self.name} has the bands {", ".join(names)}; '
                   f'each name may appear once.')
            raise CatalogError(msg, survey=self.name, bands=names)
        if self.telescope is not None and self.telescope not in TELESCOPES:
            msg = (f'survey {self.name} has the telescope '
                   f'{self.telescope!r}; choose one of '
                   f'{", ".join(TELESCOPES)} or leave it out.')
            raise CatalogError(msg, telescope=self.telescope)

    @property
    def band_names(self):
        """Names of the bands, a tuple of str."""
        return tuple(band.name for band in self.bands)

    @property
    def catalog_bands(self):
        """Bands of the catalogues that have the magnitudes."""
        return tuple(band.catalog_name for band in self.bands)

    @property
    def sky_rms(self):
        """Noise of the sky per pixel in microjansky, (n_bands,)."""
        return np.array([band.sky_rms for band in self.bands])

    @property
    def gain(self):
        """Electrons per microjansky, (n_bands,)."""
        return np.array([band.gain for band in self.bands])

    def select(self, bands):
        """
        Keep some of the bands.

        Parameters
        ----------
        bands : sequence of str
            Names, in the wanted order.

        Returns
        -------
        `Survey`
            With the same name.

        Raises
        ------
        CatalogError
            If a band is unknown.
        """
        known = {band.name: band for band in self.bands}
        unknown = [name for name in bands if name not in known]
        if unknown:
            msg = (f'survey {self.name} has no band {unknown}; it has '
                   f'{", ".join(known)}.')
            raise CatalogError(msg, bands=unknown)
        return replace(self, bands=tuple(known[name] for name in bands))
