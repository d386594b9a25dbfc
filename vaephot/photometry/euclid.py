# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The names of the Euclid MER catalogues for the columns of a result.

=========================  ================================================
name                       from
=========================  ================================================
OBJECT_ID                  ``label``
RIGHT_ASCENSION,           ``sky_centroid``, degrees in ICRS; with a WCS
DECLINATION
SEGMENTATION_MAP_ID        ``label``; 0 if the source owns no pixel
FLUX_<b>_TEMPLFIT,         ``flux``, ``flux_err``: here the total flux of
FLUXERR_<b>_TEMPLFIT       the model in each band, VIS included
FLUX_DETECTION_TOTAL,      Kron flux in the first band, on request
FLUXERR_DETECTION_TOTAL
DEBLENDED_FLAG             1 if the parent has more than one child
POINT_LIKE_PROB            ``p_point``, where it is known
EXTENDED_PROB              1 - ``p_point``
SPURIOUS_PROB              1 - ``p_source``, where it is known
SEGMENTATION_AREA          ``area``
SEMIMAJOR_AXIS             ``half_light_radius`` / sqrt(``axis_ratio``)
ELLIPTICITY                1 - ``axis_ratio``
POSITION_ANGLE             of the major axis, from north through east,
                           degrees; with a WCS
VAEPHOT_FLAGS              ``flags``, whose bits are not those of MER
=========================  ================================================

Names follow the public description of the Q1 catalogues; what is measured
is what this package measures, so that values differ where definitions do
(shapes here have the PSF removed).
"""

import astropy.units as u
import numpy as np
from astropy.table import QTable

from vaephot.photometry.apertures import kron_fluxes
from vaephot.photometry.flux_tables import flux_arrays
from vaephot.photometry.magnitudes import POGSON, zeropoint_of_unit

__all__ = ['euclid_table', 'microjansky_factors']


def microjansky_factors(result):
    """
    Microjansky of a flux of 1 in each band.

    Parameters
    ----------
    result : `~vaephot.results.result.DeblendResult`
        The sources; ``zeropoint`` in ``table.meta`` or the unit tell.

    Returns
    -------
    `numpy.ndarray`, (n_bands,), or None
        `None` if the zeropoint is not known.
    """
    meta = result.table.meta
    names = (['zeropoint'] if result.is_2d else
             [f'zeropoint_{band}' for band in result.bands])
    if all(name in meta for name in names):
        zeropoint = np.array([meta[name] for name in names])
    else:
        zeropoint = zeropoint_of_unit(result.unit)
        if zeropoint is None:
            return None
        zeropoint = np.full(len(result.bands), zeropoint)
    return 10 ** ((zeropoint_of_unit(u.uJy) - zeropoint) / POGSON)


def _position_angle(table, wcs):
    """Angle of the major axes from north through east, in degrees."""
    angle = table['orientation'].to_value(u.rad)
    ends = [wcs.pixel_to_world(table['x_centroid'] + sign * np.cos(angle) / 2,
                               table['y_centroid'] + sign * np.sin(angle) / 2)
            for sign in (-1, 1)]
    found = ends[0].icrs.position_angle(ends[1].icrs).to_value(u.deg)
    return 90 - (90 - found) % 180


def euclid_table(result, *, kron=False):
    """
    Table with the names of the Euclid MER catalogues.

    Parameters
    ----------
    result : `~vaephot.results.result.DeblendResult`
        The sources.
    kron : bool, optional
        Whether to add Kron fluxes of the first band.

    Returns
    -------
    `~astropy.table.QTable`
        One row for each source. Fluxes are in microjansky where the
        zeropoint is known, else in the unit of the data.
    """
    source = result.table
    factors = microjansky_factors(result)
    unit = (u.uJy if factors is not None
            else 1 if result.unit is None else result.unit)
    factors = np.ones(len(result.bands)) if factors is None else factors
    table = QTable({'OBJECT_ID': source['label']}, meta=dict(source.meta))
    if 'sky_centroid' in source.colnames:
        sky = source['sky_centroid'].icrs
        table['RIGHT_ASCENSION'], table['DECLINATION'] = sky.ra, sky.dec
    table['SEGMENTATION_MAP_ID'] = np.where(source['area'] > 0,
                                            source['label'], 0)
    for name, values in zip(('FLUX', 'FLUXERR'), flux_arrays(result),
                            strict=True):
        for band, column, factor in zip(result.bands, values.T, factors,
                                        strict=True):
            table[f'{name}_{band}_TEMPLFIT'] = column * factor * unit
    if kron:
        total = kron_fluxes(result, result.bands[:1])[result.bands[0]]
        for name, column in zip(('FLUX', 'FLUXERR'), total, strict=True):
            table[f'{name}_DETECTION_TOTAL'] = column * factors[0] * unit
    table['DEBLENDED_FLAG'] = (source['n_blended'] > 1).astype(int)
    if 'p_point' in source.colnames:
        table['POINT_LIKE_PROB'] = source['p_point']
        table['EXTENDED_PROB'] = 1 - source['p_point']
    if 'p_source' in source.colnames:
        table['SPURIOUS_PROB'] = 1 - source['p_source']
    table['SEGMENTATION_AREA'] = source['area']
    table['SEMIMAJOR_AXIS'] = (source['half_light_radius']
                               / np.sqrt(source['axis_ratio']))
    table['ELLIPTICITY'] = 1 - source['axis_ratio']
    wcs = result.band().wcs
    if wcs is not None and len(source):
        table['POSITION_ANGLE'] = _position_angle(source, getattr(
            wcs, 'celestial', wcs)) * u.deg
    table['VAEPHOT_FLAGS'] = source['flags']
    return table
