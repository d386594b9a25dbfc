# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Sources for other programs: regions, and stamps as FITS images."""

from typing import NamedTuple

import astropy.units as u
import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from vaephot.photometry.catalog import pixel_scale
from vaephot.results.painters import plain_values
from vaephot.utils.frames import is_mapping, pick_band
from vaephot.utils.optional_deps import import_optional

__all__ = ['Ellipse', 'make_cutouts', 'make_regions', 'source_ellipses']

# more likely a star than a galaxy
MIN_P_POINT = 0.5


class Ellipse(NamedTuple):
    """Ellipse of half the light, in pixels; the semi-axes of stars are 0."""

    x: float
    y: float
    major: float
    minor: float
    angle: float  # degrees, from the x axis towards the y axis


def _first_wcs(result):
    return pick_band(result.wcs, 0, result.bands[0]) if is_mapping(
        result.wcs) else result.wcs


def _radii_in_pixels(result):
    """Half-light radius of each source; 0 if it has none."""
    radius = u.Quantity(result.table['half_light_radius'])
    if radius.unit.is_equivalent(u.arcsec):
        radius = (radius / pixel_scale(_first_wcs(result))).to(u.one)
    radius = np.nan_to_num(radius.value)
    is_point = np.nan_to_num(result.table['p_point']) > MIN_P_POINT
    return np.where(is_point, 0, radius)


def source_ellipses(result):
    """Ellipse of each source in pixels of the first band, by its label."""
    radius = _radii_in_pixels(result)
    ratio = np.asarray(result.table['axis_ratio'], float)
    ratio = np.sqrt(np.where(ratio > 0, ratio, 1))
    angle = np.nan_to_num(
        u.Quantity(result.table['orientation']).to_value(u.deg))
    rows = np.column_stack([
        result.table['x_centroid'], result.table['y_centroid'],
        radius / ratio, radius * ratio, angle]).tolist()
    return {source.label: Ellipse(*row)
            for source, row in zip(result, rows, strict=True)}


def make_regions(result, scale):
    """Regions of all sources that have a position."""
    regions = import_optional('regions', 'DeblendResult.to_regions')
    made = []
    for label, shape in source_ellipses(result).items():
        if not np.isfinite([shape.x, shape.y]).all():
            continue
        center = regions.PixCoord(shape.x, shape.y)
        meta = regions.RegionMeta(text=str(label))
        if shape.major > 0:
            made.append(regions.EllipsePixelRegion(
                center, 2 * scale * shape.major, 2 * scale * shape.minor,
                angle=shape.angle * u.deg, meta=meta))
        else:
            made.append(regions.PointPixelRegion(center, meta=meta))
    return regions.Regions(made)


def _stamp_header(result, source):
    """Header of a stamp: its source, its place, and its WCS."""
    header, (y, x) = fits.Header(), source.slices
    if isinstance(result.wcs, WCS):
        header.update(result.wcs[y, x].to_header(relax=True))
    header['LABEL'] = source.label
    header['PARENT'] = (source.parent_label, 'label of the parent')
    header['XFIRST'] = (x.start, 'first column in the frame, from 0')
    header['YFIRST'] = (y.start, 'first row in the frame, from 0')
    if result.unit is not None:
        header['BUNIT'] = result.unit.to_string()
    return header


def _stamps(result, source, suffix):
    """Data, share of the data and model of a source, in its box."""
    arrays = {'DATA': result.data[..., *source.slices],
              'IMAGE': source.image, 'MODEL': source.model}
    header = _stamp_header(result, source)
    return [fits.ImageHDU(plain_values(array), header,
                          name=f'{name}_{source.label}{suffix}')
            for name, array in arrays.items()]


def make_cutouts(result, labels):
    """FITS extensions DATA, IMAGE and MODEL of each of some sources."""
    views = {'': result}
    if result.on_own_grids:
        views = {f'_{band}': result.band(band) for band in result.bands}
    return fits.HDUList([fits.PrimaryHDU(), *(
        hdu for label in labels for suffix, view in views.items()
        for hdu in _stamps(view, view[label], suffix))])
