# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Inputs as people have them, each with a clean twin of the same content."""

from dataclasses import dataclass

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.nddata import (
    CCDData,
    InverseVariance,
    NDData,
    StdDevUncertainty,
    VarianceUncertainty,
)
from astropy.table import QTable, Table
from astropy.utils.masked import Masked
from astropy.wcs import WCS
from hypothesis import strategies as st
from photutils.psf import CircularGaussianPSF, ImagePSF
from photutils.segmentation import SegmentationImage

SIGMA = 1.3
FWHM = 2.3548200450309493 * SIGMA
# x, y, flux as shares of the frame and in units of the noise
SOURCES = ((0.3, 0.3, 900.0), (0.45, 0.36, 500.0), (0.72, 0.7, 700.0))
UNITS = (None, u.uJy, u.nJy, u.adu, u.electron / u.s, u.ct)
SCALES = (1.0, 1e-30, 1e-20, 1e-6, 1e4, 1e15, 1e30)


@dataclass(frozen=True)
class Drawn:
    """A call, that of its twin, and the unit of the former over the latter."""

    settings: dict
    call: dict
    twin: dict
    scale: float
    xy: np.ndarray
    bad: np.ndarray
    note: str


def scene(shape, seed):
    """Image in units of the noise, and the places of its sources."""
    ny, nx = shape
    y, x = np.mgrid[:ny, :nx]
    image = np.random.default_rng(seed).standard_normal(shape)
    xy = np.array([(a * nx, b * ny) for a, b, _ in SOURCES])
    for (x0, y0), (*_, flux) in zip(xy, SOURCES, strict=True):
        width = SIGMA**2 + 1.2**2
        image += flux / (2 * np.pi * width) * np.exp(
            -((x - x0)**2 + (y - y0)**2) / (2 * width))
    return image, xy


def parents(shape, xy):
    """Segments of the blend and of the single source."""
    labels = np.zeros(shape, int)
    y, x = np.mgrid[:shape[0], :shape[1]]
    for label, (x0, y0) in zip((2, 2, 5), xy, strict=True):
        labels[(x - x0)**2 + (y - y0)**2 < 50] = label
    return labels


# ------------------------------------------------------------------ pixels
@st.composite
def bad_pixels(draw, shape):
    """Pixels without data, (ny, nx)."""
    bad = np.zeros(shape, bool)
    kind = draw(st.sampled_from(['none', 'few', 'column', 'block', 'edge',
                                 'core', 'all']))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    if kind == 'few':
        bad[rng.random(shape) < 0.02] = True
    elif kind == 'column':
        bad[:, shape[1] // 2] = True
    elif kind == 'block':
        bad[:shape[0] // 3, shape[1] // 2:] = True
    elif kind == 'edge':
        bad[:, -shape[1] // 3:] = True
    elif kind == 'core':
        y, x = round(0.7 * shape[0]), round(0.72 * shape[1])
        bad[y - 1:y + 2, x - 1:x + 2] = True
    elif kind == 'all':
        bad[:] = True
    return bad


DTYPES = ('f8', '>f8', 'f4', '>f4', 'i2', '>i4', 'u2', 'i8', 'f2')


def as_dtype(image, dtype, scale):
    """Image of a dtype and what one noise is in it; whole numbers are fine."""
    kind = np.dtype(dtype)
    if kind.kind in 'iu':
        offset = 0 if kind.kind == 'i' else 40 * 12
        return np.round(12 * image + offset).astype(kind), 12.0, offset
    if kind.itemsize == 2:
        return image.astype(kind), 1.0, 0
    return (image * scale).astype(kind), scale, 0


def spoiled(values, bad, how):
    """Image with bad pixels marked, and the mask that is left to give."""
    values = values.copy()
    if how == 'mask' or values.dtype.kind in 'iu':
        return values, bad
    fill = {'nan': np.nan, 'inf': np.inf, '-inf': -np.inf, 'zero': 0.0}[how]
    if how == 'zero':  # only areas can be told from noise
        return values, bad
    values[bad] = fill
    return values, None


def carried(values, mask, unit, error, carrier, wcs):
    """An image in a carrier, and what is left for the arguments."""
    left = {'mask': mask, 'error': error}
    quantity = values if unit is None else values * unit
    if carrier == 'ma' and mask is not None and unit is None:
        return np.ma.array(values, mask=mask), {**left, 'mask': None}
    if carrier == 'masked' and mask is not None:
        return Masked(quantity, mask=mask), {**left, 'mask': None}
    if carrier in ('nddata', 'ccddata'):
        kind = NDData if carrier == 'nddata' else CCDData
        if kind is CCDData and unit is None:
            kind = NDData
        sigma = getattr(error, 'value', error)
        own = (sigma is not None and np.shape(sigma) == values.shape)
        made = kind(values, unit=unit, mask=mask, wcs=wcs,
                    uncertainty=StdDevUncertainty(sigma) if own else None)
        return made, {'mask': None, 'error': None if own else error}
    if carrier == 'mapping':
        return {'g': quantity}, left
    if carrier == 'list' and unit is None:
        return values.tolist(), left
    return quantity, left


# --------------------------------------------------------------- arguments
def make_wcs(shape, kind):
    """WCS of a kind, or None."""
    if kind == 'none':
        return None
    n = 4 if kind == 'radio' else 2
    wcs = WCS(naxis=n)
    wcs.wcs.ctype = ('RA---TAN', 'DEC--TAN', 'FREQ', 'STOKES')[:n]
    wcs.wcs.crval = (150.0, 2.0, 1e9, 1.0)[:n]
    wcs.wcs.crpix = (shape[1] / 2, shape[0] / 2, 1, 1)[:n]
    wcs.wcs.cdelt = (-5e-5, 5e-5, 1e6, 1.0)[:n]
    if kind == 'turned':
        wcs.wcs.pc = [[0.6, -0.8], [0.8, 0.6]]
    return wcs


def make_psf(kind):
    """PSF of the width of the scene's."""
    half = {'odd': 10, 'even': 10.5}.get(kind, 10)
    grid = np.arange(-half, half + 1)
    image = np.exp(-0.5 * np.add.outer(grid**2, grid**2) / SIGMA**2)
    return {'fwhm': FWHM, 'none': None, 'image': ImagePSF(image / image.sum()),
            'model': CircularGaussianPSF(fwhm=FWHM),
            'callable': lambda x, y, band: FWHM}.get(kind, image)


def make_positions(kind, xy, wcs):
    """Positions in some form; None where they are to be found."""
    if kind == 'found':
        return None
    if kind == 'sky' and wcs is not None:
        return wcs.celestial.pixel_to_world(*xy.T)
    if kind == 'radec' and wcs is not None:
        sky = SkyCoord(wcs.celestial.pixel_to_world(*xy.T))
        return Table({'ra': sky.ra.deg, 'dec': sky.dec.deg})
    if kind == 'fits':
        return Table({'X_IMAGE': xy[:, 0] + 1, 'Y_IMAGE': xy[:, 1] + 1})
    if kind == 'table':
        return QTable({'x': xy[:, 0], 'y': xy[:, 1],
                       'fixed': [False, True, False]})
    return xy


def make_segments(kind, labels):
    """Segmentation of some dtype, or None."""
    if kind == 'none':
        return None
    if kind == 'long':
        labels = np.where(labels == 5, 2**62, labels)
        return SegmentationImage(labels)
    if kind == 'object':
        return SegmentationImage(labels)
    return labels.astype(kind)


def make_error(kind, sigma, shape, unit):
    """Error of a kind that says the same."""
    if kind == 'none':
        return None
    value = np.full(shape, sigma) if kind != 'number' else sigma
    if kind in ('var', 'ivar'):
        power = 2 if kind == 'var' else -2
        made = {'var': VarianceUncertainty, 'ivar': InverseVariance}[kind]
        return made(value ** power, unit=None if unit is None
                    else unit ** power)
    return value if unit is None else value * unit


@st.composite
def drawn_inputs(draw):
    """A call of a deblender, and that of its clean twin."""
    shape = draw(st.sampled_from([(48, 56), (61, 45), (40, 40)]))
    image, xy = scene(shape, draw(st.integers(0, 999)))
    bad = draw(bad_pixels(shape))
    dtype = draw(st.sampled_from(DTYPES))
    values, scale, offset = as_dtype(image, dtype,
                                     draw(st.sampled_from(SCALES)))
    if offset:
        values = values.astype(float) - offset
    values, mask = spoiled(values, bad, draw(st.sampled_from(
        ['mask', 'nan', 'inf', '-inf'])))
    unit = draw(st.sampled_from(UNITS))
    wcs = make_wcs(shape, draw(st.sampled_from(
        ['none', 'plain', 'turned', 'radio'])))
    how = draw(st.sampled_from(['none', 'number', 'map', 'var', 'ivar']))
    if not 1e-12 < scale < 1e12 and how in ('var', 'ivar'):
        how = 'map'  # their numbers would leave the range of doubles
    error = make_error(how, scale, shape, unit)
    carrier = draw(st.sampled_from(['plain', 'ma', 'masked', 'nddata',
                                    'ccddata', 'mapping', 'list']))
    data, left = carried(values, mask, unit, error, carrier, wcs)
    told = draw(st.sampled_from(['found', 'pairs', 'sky', 'radec', 'fits',
                                 'table']))
    positions = make_positions(told, xy, wcs)
    kind = draw(st.sampled_from(['none', 'i4', '>i2', 'u8', 'u1', 'object',
                                 'long']))
    labels = parents(shape, xy)
    psf = draw(st.sampled_from(['fwhm', 'odd', 'even', 'image', 'model',
                                'callable', 'none']))
    gain = draw(st.sampled_from([None, 30.0]))
    settings = {'refine': draw(st.sampled_from([False, False, 'network',
                                                True])),
                'local_background': draw(st.sampled_from(
                    [None, None, 'constant', 'plane']))}
    call = {'data': data, 'psf': make_psf(psf), 'positions': positions,
            'segmentation_image': make_segments(kind, labels), **left,
            'gain': gain and gain / scale * (1 if unit is None else
                                             u.electron / unit),
            'wcs': None if carrier in ('nddata', 'ccddata') else wcs}
    if unit is None or not unit.is_equivalent(u.Jy):
        call['zeropoint'] = draw(st.sampled_from([None, 25.0, [24.0]]))
    twin = {'data': np.where(bad, 0, np.asarray(values, float) / scale),
            'mask': bad, 'error': None if how == 'none' else 1.0,
            'psf': None if psf == 'none' else FWHM, 'gain': gain,
            'segmentation_image': make_segments(
                'none' if kind == 'none' else 'i4', labels),
            'positions': None if told == 'found' else make_positions(
                'table' if told == 'table' else 'pairs', xy, None)}
    note = (f'{shape} {dtype} {scale:g} {unit} {carrier} error {how} psf '
            f'{psf} segm {kind} told {told} {settings}')
    return Drawn(settings, call, twin, scale, xy, bad, note)
