# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The field that ships with the package, and what is done with it."""

from dataclasses import dataclass
from importlib.resources import files

import numpy as np
from astropy import units as u
from astropy.convolution import Gaussian2DKernel, convolve
from astropy.io import fits
from astropy.table import QTable
from photutils.segmentation import detect_sources

from vaephot.cli._inputs import read_psfs
from vaephot.utils.fits_images import InputFileError, read_band_images

__all__ = ['DemoField', 'Score', 'detect_parents', 'load_demo_field',
           'mark_blended', 'score_catalog']

# detection: threshold in units of the noise of the smoothed image, least
# area, and 1-sigma of the smoothing in pixels
THRESHOLD = 3.5
N_PIXELS = 5
SMOOTHING = 1.0
# largest distance of a match in pixels: two FWHM of the sharpest band
MATCH_PIXELS = 3.0
# a source is blended if others in its segment add this share of its flux
BLENDED_SHARE = 0.05
# pixels this close to the largest value are saturated; the shipped images
# are rounded
SATURATED_SHARE = 0.999


@dataclass(frozen=True, kw_only=True)
class DemoField:
    """
    Images of a field and the truth about its sources.

    Parameters
    ----------
    data : `~astropy.units.Quantity`, (n_bands, ny, nx)
        Background-subtracted images.
    sky_rms, gain : `~numpy.ndarray`, (n_bands,)
        Noise of the sky and electrons per unit of the data.
    mask : `~numpy.ndarray` of bool, (n_bands, ny, nx)
        True where saturated.
    psfs : list
        Effective PSF of each band.
    bands : tuple of str
        Names of the bands.
    wcs : `~astropy.wcs.WCS`
        World coordinates.
    truth : `~astropy.table.QTable`
        True sources: ``x``, ``y``, ``flux_<band>``, ``mag_<band>``, ...
    """

    data: u.Quantity
    sky_rms: np.ndarray
    gain: np.ndarray
    mask: np.ndarray
    psfs: list
    bands: tuple
    wcs: object
    truth: QTable

    @property
    def true_xy(self):
        """True positions, (n, 2)."""
        return np.column_stack([np.asarray(self.truth['x'], float),
                                np.asarray(self.truth['y'], float)])

    def true_flux(self, band):
        """
        Return the true fluxes of a band in the unit of the data.

        Parameters
        ----------
        band : str
            Name of the band.

        Returns
        -------
        `~numpy.ndarray`
        """
        flux = self.truth[f'flux_{band}']
        return u.Quantity(flux, self.data.unit).to_value(self.data.unit)

    def true_mag(self, band):
        """
        Return the true magnitudes of a band.

        Parameters
        ----------
        band : str
            Name of the band.

        Returns
        -------
        `~numpy.ndarray`
        """
        return np.asarray(u.Quantity(self.truth[f'mag_{band}']).value)


def load_demo_field(path=None):
    """
    Load the field that ships with the package.

    Parameters
    ----------
    path : str or path-like or None, optional
        Another file of the same layout; `None` means the shipped one.

    Returns
    -------
    DemoField

    Raises
    ------
    InputFileError
        If the file is not there or lacks its truth.
    """
    path = _shipped_path() if path is None else str(path)
    with fits.open(path, memmap=False) as hdus:
        names = [hdu.name for hdu in hdus]
    if 'TRUTH' not in names:
        msg = f'{path} has no extension TRUTH; it has {", ".join(names)}.'
        raise InputFileError(msg, path=path)
    bands = tuple(name[4:] for name in names if name.startswith('PSF_'))
    images = read_band_images([path], bands=bands)
    truth = QTable.read(path, hdu='TRUTH')
    return DemoField(
        data=np.stack([image.data.astype(float) for image in images])
        * images[0].unit,
        sky_rms=np.array([image.find_number(['SKYRMS'])
                          for image in images]),
        gain=np.array([image.find_number(['GAIN']) for image in images]),
        mask=np.stack([_saturated(image) for image in images]),
        psfs=read_psfs([path], len(bands), bands), bands=bands,
        wcs=images[0].wcs, truth=truth)


def _saturated(image):
    """Pixels at the largest value that the header names."""
    level = image.find_number(['SATURATE'])
    level = np.inf if level is None else level
    return image.data >= SATURATED_SHARE * level


def _shipped_path():
    """Path of the shipped field."""
    folder = files('vaephot.cli') / 'data'
    found = sorted(str(item) for item in folder.iterdir()
                   if item.name.startswith('demo_field.fits')
                   ) if folder.is_dir() else []
    if not found:
        msg = (f'{folder} holds no demo_field.fits; the installation is '
               'incomplete, install vaephot again.')
        raise InputFileError(msg, path=str(folder))
    return found[0]


def detect_parents(field):
    """
    Detect sources on the smoothed image of the first band.

    Parameters
    ----------
    field : DemoField
        The field.

    Returns
    -------
    `~photutils.segmentation.SegmentationImage`
    """
    kernel = Gaussian2DKernel(SMOOTHING)
    kernel.normalize()
    smooth = convolve(field.data[0].value, kernel)
    noise = field.sky_rms[0] * np.sqrt((kernel.array ** 2).sum())
    return detect_sources(smooth, THRESHOLD * noise, N_PIXELS)


def mark_blended(field, parents):
    """
    Tell which true sources share their segment with others.

    Parameters
    ----------
    field : DemoField
        The field.
    parents : `~photutils.segmentation.SegmentationImage`
        Segments before deblending.

    Returns
    -------
    `~numpy.ndarray` of bool, (n,)
        True where the others in the segment add at least 5 % of the
        source's flux in the first band.
    """
    x, y = np.round(field.true_xy).astype(int).T
    ny, nx = parents.shape
    inside = (x >= 0) & (x < nx) & (y >= 0) & (y < ny)
    label = np.zeros(len(x), int)
    label[inside] = parents.data[y[inside], x[inside]]
    flux = field.true_flux(field.bands[0])
    total = np.bincount(label, flux)
    return (label > 0) & (total[label] - flux >= BLENDED_SHARE * flux)


@dataclass(frozen=True, kw_only=True)
class Score:
    """
    Flux errors of a catalogue.

    Parameters
    ----------
    name : str
        Name of the method.
    found : `~numpy.ndarray` of bool, (n_true,)
        True sources that were found.
    n_measured : int
        Sources in the catalogue.
    errors : dict
        By band, df/f of each true source; NaN if it was not found.
    """

    name: str
    found: np.ndarray
    n_measured: int
    errors: dict


def score_catalog(name, table, field):
    """
    Match a catalogue to the truth and compute its flux errors.

    Parameters
    ----------
    name : str
        Name of the method.
    table : `~astropy.table.QTable`
        With ``x_centroid``, ``y_centroid`` and ``flux_<band>``.
    field : DemoField
        The field.

    Returns
    -------
    Score
    """
    from vaephot.evaluate.flux_errors import relative_flux_error
    from vaephot.evaluate.matching import match_positions

    xy = np.column_stack([np.asarray(table['x_centroid'], float),
                          np.asarray(table['y_centroid'], float)])
    match = match_positions(field.true_xy, xy, MATCH_PIXELS)
    found = np.zeros(len(field.truth), bool)
    found[match.reference] = True
    errors = {}
    for band in field.bands:
        flux = u.Quantity(table[f'flux_{band}'], field.data.unit).value
        measured = np.full(len(found), np.nan)
        measured[match.reference] = flux[match.measured]
        errors[band] = relative_flux_error(measured, field.true_flux(band))
    return Score(name=name, found=found, n_measured=len(table),
                 errors=errors)
