# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""AB magnitudes of fluxes, and their errors."""

import astropy.units as u
import numpy as np

__all__ = ['ab_color_error', 'ab_magnitude', 'ab_magnitude_error',
           'zeropoint_of_unit']

# Pogson 1856: five magnitudes are a factor of 100
POGSON = 2.5
# magnitudes per unit of relative flux, d mag / d ln f
MAG_PER_LN = POGSON / np.log(10)


def zeropoint_of_unit(unit):
    """
    AB magnitude of a source whose flux is 1 in a unit.

    Parameters
    ----------
    unit : `~astropy.units.UnitBase` or None
        Unit of the fluxes.

    Returns
    -------
    float or None
        `None` if the unit is no flux per frequency, or there is none.

    References
    ----------
    Oke & Gunn 1983, ApJ 266, 713, the AB system; the zero point is the
    one of `astropy.units.ABmag`.

    Examples
    --------
    >>> import astropy.units as u
    >>> from vaephot.photometry import zeropoint_of_unit
    >>> round(zeropoint_of_unit(u.uJy), 6)
    23.9
    """
    if unit is None:
        return None
    try:  # also maggies, which are fluxes of magnitude 0
        flux = u.Unit(unit).to(u.AB,
                               equivalencies=u.zero_point_flux(1 * u.AB))
    except u.UnitConversionError:
        return None
    return float(-POGSON * np.log10(flux))


def ab_magnitude(flux, zeropoint):
    """
    Magnitude of a flux.

    Parameters
    ----------
    flux : array-like
        Fluxes, in data units.
    zeropoint : array-like
        Magnitude of a flux of 1.

    Returns
    -------
    `numpy.ndarray`
        ``zeropoint - 2.5 log10(flux)``; NaN where the flux is not
        positive.

    Examples
    --------
    >>> from vaephot.photometry import ab_magnitude
    >>> ab_magnitude([100.0, -1.0], 23.9)
    array([18.9,  nan])
    """
    flux = np.asarray(flux, float)
    positive = np.where(flux > 0, flux, np.nan)
    return zeropoint - POGSON * np.log10(positive)


def ab_magnitude_error(flux, flux_err):
    """
    Error of a magnitude, to first order.

    Parameters
    ----------
    flux, flux_err : array-like
        Fluxes and their 1-sigma errors, in the same unit.

    Returns
    -------
    `numpy.ndarray`
        ``1.0857 flux_err / flux``; NaN where the flux is not positive.

    Examples
    --------
    >>> from vaephot.photometry import ab_magnitude_error
    >>> ab_magnitude_error(100.0, 10.0).round(4)
    np.float64(0.1086)
    """
    flux = np.asarray(flux, float)
    positive = np.where(flux > 0, flux, np.nan)
    return MAG_PER_LN * np.asarray(flux_err, float) / positive


def ab_color_error(flux1, flux2, variance1, variance2, covariance):
    """
    Error of the colour of two bands, to first order.

    Parameters
    ----------
    flux1, flux2 : array-like
        Fluxes of the two bands.
    variance1, variance2, covariance : array-like
        Their variances, and the covariance of the two.

    Returns
    -------
    `numpy.ndarray`
        In magnitudes: 1.0857 times the error of the logarithm of the
        ratio of the fluxes. NaN where a flux is not positive.

    Examples
    --------
    >>> from vaephot.photometry import ab_color_error
    >>> ab_color_error(10.0, 20.0, 1.0, 4.0, 2.0).round(6)
    np.float64(0.0)
    >>> ab_color_error(10.0, 20.0, 1.0, 4.0, 0.0).round(4)
    np.float64(0.1535)
    """
    flux1, flux2 = (np.where(np.asarray(f, float) > 0, f, np.nan)
                    for f in (flux1, flux2))
    square = (variance1 / flux1 ** 2 + variance2 / flux2 ** 2
              - 2 * np.asarray(covariance, float) / (flux1 * flux2))
    return MAG_PER_LN * np.sqrt(np.maximum(square, 0))
