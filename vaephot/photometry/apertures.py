# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Aperture and Kron fluxes of deblended images, as columns."""

import astropy.units as u
import numpy as np
from photutils.aperture import CircularAperture

from vaephot.photometry.catalog import pixel_scale
from vaephot.utils.frames import is_mapping
from vaephot.utils.grids import GridMap, linear_scale

__all__ = ['aperture_table', 'kron_fluxes']


def _plain(value):
    return np.asarray(getattr(value, 'value', value), float)


def _radii_in_pixels(radii, result):
    """Radii in pixels of the first band."""
    if isinstance(radii, u.Quantity) and radii.unit.is_equivalent(u.deg):
        wcs = (result.wcs[result.bands[0]] if is_mapping(result.wcs)
               else result.wcs)
        if wcs is None:
            msg = (f'the radii {radii} are angles, but the result has no '
                   'WCS; give radii in pixels.')
            raise ValueError(msg)
        radii = (radii / pixel_scale(wcs)).to_value(
            u.dimensionless_unscaled)
    values = np.atleast_1d(_plain(radii))
    if values.ndim != 1 or not (np.isfinite(values) & (values > 0)).all():
        msg = f'radii is {radii}; give positive numbers.'
        raise ValueError(msg)
    return values


def _scale_of(result, band):
    """Pixels of a band on the side of one of the first."""
    if not is_mapping(result.wcs):
        return 1.0
    first, wcs = (result.wcs[name] for name in (result.bands[0], band))
    return (1.0 if wcs is first else
            linear_scale(GridMap(first, wcs), result.segmentation_image.shape))


def _in_circles(view, radii):
    """Sums in circles about the sources of one band, and their errors."""
    error = None if view.error is None else np.broadcast_to(
        _plain(view.error), view.data.shape)
    mask = view.mask
    flux = np.zeros((len(view), len(radii)))
    flux_err = np.full(flux.shape, np.nan)
    for i, source in enumerate(view):
        place = (source.x_centroid - source.bbox.ixmin,
                 source.y_centroid - source.bbox.iymin)
        if not np.isfinite(place).all():  # there is no source
            flux[i] = np.nan
            continue
        image, window = _plain(source.image), source.slices
        for j, radius in enumerate(radii):
            cover = CircularAperture(place, radius).to_mask(
                method='exact').to_image(image.shape)
            if cover is None:  # the circle lies beside the box
                continue
            flux[i, j] = (cover * image).sum()
            if error is not None:
                variance = error[window] ** 2
                if mask is not None:
                    variance = np.where(mask[window], 0, variance)
                flux_err[i, j] = np.sqrt((cover * variance).sum())
    return flux, flux_err


def kron_fluxes(result, bands):
    """
    Kron fluxes of the deblended images.

    Parameters
    ----------
    result : `~vaephot.results.result.DeblendResult`
        The sources.
    bands : sequence of str
        Bands to measure.

    Returns
    -------
    dict
        Band to flux and error, each ``(n,)``, without units; NaN for
        sources without pixels. On a common grid all bands are measured
        in the ellipses of the first band of the result.
    """
    out = {band: np.full((2, len(result)), np.nan) for band in bands}
    if not len(result):
        return out
    row_of = {label: i for i, label in enumerate(result.labels.tolist())}
    detection = None if result.on_own_grids else result.to_catalog()
    for band in bands:
        if result.on_own_grids:
            catalog = result.to_catalog(band)
        elif result.band_index(band) == 0:
            catalog = detection
        else:
            catalog = result.to_catalog(band, detection_catalog=detection)
        rows = [row_of[int(label)] for label in np.atleast_1d(
            catalog.labels)]
        for values, name in zip(out[band], ('kron_flux', 'kron_flux_err'),
                                strict=True):
            values[rows] = _plain(getattr(catalog, name))
    return out


def aperture_table(result, radii=(), *, kron=True, bands=None):
    """
    Table of a result with aperture and Kron fluxes.

    Parameters
    ----------
    result : `~vaephot.results.result.DeblendResult`
        The sources.
    radii : sequence of float or `~astropy.units.Quantity`, optional
        Radii in pixels of the first band, or angles.
    kron : bool, optional
        Whether to add Kron fluxes.
    bands : sequence of str or int or None, optional
        Bands to measure; `None`: all.

    Returns
    -------
    `~astropy.table.QTable`
        See `~vaephot.results.result.DeblendResult.aperture_table`.

    Raises
    ------
    ValueError
        If a radius is not positive, or an angle without a WCS.
    """
    radii = _radii_in_pixels(radii, result) if np.size(radii) else []
    index = [result.band_index(band) for band in (
        result.bands if bands is None else bands)]
    names = [result.bands[i] for i in index]
    unit = 1 if result.unit is None else result.unit
    table = result.table.copy()
    columns = {}
    for name in names if len(radii) else ():
        view = result.band(name)
        found = _in_circles(view, np.array(radii) * _scale_of(result, name))
        for kind, values in zip(('flux', 'flux_err'), found, strict=True):
            for j, column in enumerate(values.T):
                columns[f'aperture_{kind}_{j}', name] = column
    for name, values in (kron_fluxes(result, names).items() if kron else ()):
        columns['kron_flux', name], columns['kron_flux_err', name] = values
    for kind in dict.fromkeys(key[0] for key in columns):
        for name in names:
            column = kind if result.is_2d else f'{kind}_{name}'
            table[column] = columns[kind, name] * unit
    table.meta['aperture_radii'] = [float(radius) for radius in radii]
    return table
