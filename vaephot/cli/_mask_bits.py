# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Bad pixels from data-quality maps, the bits of which have names."""

import warnings

import numpy as np
from astropy.nddata.bitmask import (
    bitfield_to_boolean_mask,
    extend_bit_flag_map,
    interpret_bit_flags,
)

from vaephot.cli._options import UsageError
from vaephot.exceptions import VaephotWarning
from vaephot.utils.fits_images import InputFileError

__all__ = ['bad_pixels']


def _flags(name, text, first=0):
    """Map of flags from names in the order of the bits; ``-`` for none."""
    return extend_bit_flag_map(name, **{
        flag: 1 << bit for bit, flag in enumerate(text.split(), first)
        if flag != '-'})


# JWST pipeline documentation, "Data Quality Flags"
JWST = _flags('JWST', """
    DO_NOT_USE SATURATED JUMP_DET DROPOUT OUTLIER PERSISTENCE AD_FLOOR
    CHARGELOSS UNRELIABLE_ERROR NON_SCIENCE DEAD HOT WARM LOW_QE RC TELEGRAPH
    NONLINEAR BAD_REF_PIXEL NO_FLAT_FIELD NO_GAIN_VALUE NO_LIN_CORR
    NO_SAT_CHECK UNRELIABLE_BIAS UNRELIABLE_DARK UNRELIABLE_SLOPE
    UNRELIABLE_FLAT OPEN ADJ_OPEN FLUX_ESTIMATED MSA_FAILED_OPEN
    OTHER_BAD_PIXEL REFERENCE_PIXEL""")
# names of calacs and calwf3, acsdq.h and wf3dq.h
HST = _flags('HST', """
    SOFTERR DATALOST DETECTORPROB DATAMASKED HOTPIX - WARMPIX BADBIAS
    SATPIXEL BADFLAT TRAP ATODSAT - DATAREJECT""")
# Euclid DPDD, VIS flag map
EUCLID = _flags('EUCLID', """
    INVALID HOT COLD SAT COSMIC GHOST QUADEDGE BAD_COLUMN BAD_CLUSTER
    CR_REGION - - OVRCOL EXTOBJ SCATLIGHT CHARINJ - SATXTALKGHOST STARSIGNAL
    SATURATEDSTAR CTICORRECTION ADCMAX NO_DATA STITCHBLOCK OBJECTS""")
# by telescope, and the bits that are bad where none is asked for; the others
# of these maps mark what was corrected, or where the sources are
KNOWN = {'JWST': (JWST, ('DO_NOT_USE',)), 'HST': (HST, None),
         'EUCLID': (EUCLID, ('INVALID', 'HOT', 'COLD', 'SAT', 'BAD_COLUMN',
                             'BAD_CLUSTER', 'NO_DATA'))}
# masks of HSC and Rubin name their bits in the header
PLANE = 'MP_'
BAD_PLANES = ('BAD', 'SAT', 'NO_DATA', 'UNMASKEDNAN', 'SUSPECT')
# a mask that leaves less than this share of the pixels is hardly one
LEAST_GOOD = 0.5


def _map_of(image):
    """Map of the flags that an image names, and those that are bad."""
    planes = {key[len(PLANE):]: 1 << int(value)
              for key, value in image.header.items()
              if key.startswith(PLANE)}
    if planes:
        return (extend_bit_flag_map('PLANES', **planes),
                tuple(name for name in BAD_PLANES if name in planes))
    telescope = str(image.find_text('TELESCOP') or '').strip().upper()
    return KNOWN.get(telescope, (None, None))


def _names_of(flags):
    """Names of a map of flags."""
    return sorted((name for name in vars(flags) if name.isupper()
                   and not name.startswith('_')), key=flags.__getitem__)


def _interpret(bits, flags, image):
    """One integer from numbers and names of bits."""
    named = [bit.upper() for bit in bits if not bit.isdecimal()]
    total = sum({int(bit) for bit in bits if bit.isdecimal()})
    try:
        return total | (interpret_bit_flags(named, flag_name_map=flags)
                        if named else 0)
    except (KeyError, TypeError, ValueError, AttributeError) as err:
        known = ('it names none, so give numbers' if flags is None else
                 f'its names are {", ".join(_names_of(flags))}')
        msg = (f'--mask-bits is {",".join(bits)}, which are no bits of '
               f'{image.name}: {known}.')
        raise UsageError(msg, bits=bits) from err


def bad_pixels(image, bits=None):
    """
    Bad pixels of a mask or data-quality map.

    Parameters
    ----------
    image : `~vaephot.utils.fits_images.FitsImage`
        The map.
    bits : list of str or None, optional
        Names or values of the bits that are bad. `None`: those that are
        known to be for the maps of JWST, Euclid, HSC and Rubin; else
        everything but 0.

    Returns
    -------
    `~numpy.ndarray` of bool
        True for bad pixels.

    Raises
    ------
    UsageError
        For names that the map does not have.
    InputFileError
        If the map is none of whole numbers, where bits are asked for.
    """
    values = image.data
    flags, usual = _map_of(image)
    if values.dtype.kind == 'f' and (values == np.round(values)).all():
        values = values.astype(np.int64)
    whole = values.dtype.kind in 'iu'
    if bits is not None and not whole:
        msg = (f'{image.name} has values of the type {values.dtype}; '
               '--mask-bits needs whole numbers.')
        raise InputFileError(msg, dtype=values.dtype)
    bits = usual if bits is None else bits
    if not (bits and whole):
        bad = values != 0
    else:
        bad = bitfield_to_boolean_mask(
            values, ~_interpret(list(bits), flags, image))
    if bad.mean() > 1 - LEAST_GOOD:
        which = ('the bits that are asked for' if bits else 'what is not 0')
        warnings.warn(
            f'{which} of {image.name} mask {100 * bad.mean():.0f} % of the '
            'pixels; choose those that are bad with --mask-bits.',
            VaephotWarning, stacklevel=2)
    return bad
