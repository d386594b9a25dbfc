# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Positions of sources that a user gives, in pixels from 0."""

from collections.abc import Mapping

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import QTable

__all__ = ['pixel_positions']

# columns with a SkyCoord; pairs of columns with coordinates on the sky
SKY_NAMES = ('sky_centroid', 'sky', 'sky_coord', 'skycoord', 'coord')
WORLD_NAMES = (('ra', 'dec'), ('RA', 'DEC'), ('RIGHT_ASCENSION',
               'DECLINATION'), ('ALPHA_J2000', 'DELTA_J2000'),
               ('ALPHAWIN_J2000', 'DELTAWIN_J2000'))
# SExtractor counts pixels from 1
FITS_NAMES = (('X_IMAGE', 'Y_IMAGE'), ('XWIN_IMAGE', 'YWIN_IMAGE'),
              ('XPEAK_IMAGE', 'YPEAK_IMAGE'))
# what goes along with a position
OTHER_NAMES = ('fixed', 'point_source')


def pixel_positions(positions, wcs):
    """
    Positions as pixels from 0, if they are something else; (n,) rows.

    A `~astropy.coordinates.SkyCoord`, or a table with a column of them, with
    ``ra`` and ``dec`` (degrees if they have no unit), or with SExtractor's
    ``X_IMAGE`` and ``Y_IMAGE``, becomes a table with ``x_centroid``,
    ``y_centroid`` and the columns ``fixed`` and ``point_source`` if there
    are any. Everything else, and a table with columns of pixels from 0, is
    returned as it is.
    """
    if isinstance(positions, SkyCoord):
        return _from_sky(positions.ravel(), wcs, 'positions')
    if isinstance(positions, Mapping):
        msg = (f'positions is a {type(positions).__name__}; give (x, y) '
               'pairs, a SkyCoord or a table: astropy.table.Table(positions).')
        raise TypeError(msg)
    if np.iscomplexobj(positions):
        msg = 'positions are complex numbers; give (x, y) pairs.'
        raise TypeError(msg)
    names = getattr(positions, 'colnames', None)
    if names is None or any(name in names for name in ('x_centroid', 'x')):
        return positions
    found = _from_table(positions, names, wcs)
    if found is None:
        return positions
    for name in OTHER_NAMES:
        if name in names:
            found[name] = positions[name]
    return found


def _from_table(table, names, wcs):
    """Pixels from columns of sky positions or of pixels from 1, or None."""
    for name in SKY_NAMES:
        if name in names and isinstance(table[name], SkyCoord):
            return _from_sky(table[name], wcs, f'column {name!r}')
    for x, y in FITS_NAMES:
        if x in names and y in names:
            return QTable({'x_centroid': _plain(table[x]) - 1,
                           'y_centroid': _plain(table[y]) - 1})
    for ra, dec in WORLD_NAMES:
        if ra in names and dec in names:
            sky = SkyCoord(_angle(table[ra]), _angle(table[dec]))
            return _from_sky(sky, wcs, f'columns {ra!r} and {dec!r}')
    return None


def _from_sky(sky, wcs, name):
    """Table of the pixels of sky positions."""
    if wcs is None:
        msg = (f'{name} of positions are on the sky, but the first band has '
               'no WCS; give wcs, or positions in pixels.')
        raise ValueError(msg)
    x, y = wcs.world_to_pixel(sky)
    return QTable({'x_centroid': np.atleast_1d(x),
                   'y_centroid': np.atleast_1d(y)})


def _plain(column):
    """Numbers of a column; masked ones are NaN."""
    return np.asarray(np.ma.filled(np.ma.asarray(
        getattr(column, 'value', column), float), np.nan))


def _angle(column):
    """Angles of a column, in degrees if it has no unit."""
    return u.Quantity(_plain(column), getattr(column, 'unit', None) or u.deg)
