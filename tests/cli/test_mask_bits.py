# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
from astropy.io import fits
from numpy.testing import assert_array_equal

from vaephot.cli._mask_bits import bad_pixels
from vaephot.cli._options import UsageError
from vaephot.exceptions import VaephotWarning
from vaephot.utils.fits_images import FitsImage, InputFileError

SHAPE = (20, 30)


def make(values=None, *, telescope=None, planes=None, dtype='i4'):
    """Map with the bit of each given value in its own column."""
    data = np.zeros(SHAPE, dtype)
    for column, value in enumerate(
            () if values is None else values):
        data[:, column] = value
    header = fits.Header({f'HIERARCH MP_{name}': bit for name, bit
                          in (planes or {}).items()})
    primary = fits.Header({'TELESCOP': telescope} if telescope else {})
    return FitsImage(data=data, header=header, name='dq.fits[DQ]',
                     primary=primary)


def columns(bad):
    assert (bad == bad[0]).all()
    return np.flatnonzero(bad[0]).tolist()


def test_without_a_known_map_all_but_0_is_bad():
    assert columns(bad_pixels(make([0, 1, 2, 4096]))) == [1, 2, 3]
    assert columns(bad_pixels(make([0, 0.5, 1.0], dtype='f4'))) == [1, 2]
    assert columns(bad_pixels(make([1, 4], telescope='HST'))) == [0, 1]


@pytest.mark.parametrize(('bits', 'bad'), [
    (['4'], [2]), (['4', '16'], [2, 4]), (['20'], [2, 4]),
    (['SATPIXEL'], [5]), (['satpixel', '1'], [0, 5]),
    (['HOTPIX', 'ATODSAT'], [4, 6])])
def test_bits_are_names_or_values(bits, bad):
    image = make([1, 2, 4, 8, 16, 256, 2048], telescope='HST')
    assert columns(bad_pixels(image, bits)) == bad


@pytest.mark.parametrize('dtype', ['>i4', 'u4', 'i8', 'u8', 'f8'])
def test_any_whole_dtype_has_bits(dtype):
    image = make([1, 2**30, 2**31 - 1], telescope='JWST', dtype=dtype)
    assert columns(bad_pixels(image, ['OTHER_BAD_PIXEL'])) == [1, 2]


def test_what_is_known_to_be_fine_is_not_masked():
    # a jump that was corrected, and pixels with sources
    jwst = make([1, 4, 5], telescope='JWST')
    assert columns(bad_pixels(jwst)) == [0, 2]
    euclid = make([1, 8, 1 << 24, 1 << 22], telescope='Euclid')
    assert columns(bad_pixels(euclid)) == [0, 1, 3]


def test_masks_of_hsc_and_rubin_name_their_bits():
    planes = {'BAD': 0, 'SAT': 1, 'CR': 3, 'DETECTED': 5, 'NO_DATA': 8}
    image = make([1, 2, 8, 32, 256, 34], planes=planes)
    assert columns(bad_pixels(image)) == [0, 1, 4, 5]
    assert columns(bad_pixels(image, ['CR'])) == [2]
    # other versions have other numbers
    planes['SAT'] = 3
    assert columns(bad_pixels(make([2, 8], planes=planes), ['SAT'])) == [1]


@pytest.mark.parametrize(('telescope', 'bits', 'match'), [
    ('HST', ['SATURATED'], 'its names are SOFTERR, DATALOST'),
    (None, ['SATURATED'], 'it names none, so give numbers'),
    ('JWST', ['1', 'HOTTER'], 'DO_NOT_USE')])
def test_unknown_names_are_wrong_usage(telescope, bits, match):
    with pytest.raises(UsageError, match=match):
        bad_pixels(make([1], telescope=telescope), bits)


def test_bits_need_whole_numbers():
    with pytest.raises(InputFileError, match='whole numbers'):
        bad_pixels(make([0.5], dtype='f4'), ['1'])
    assert_array_equal(bad_pixels(make([4.0], dtype='f4'), ['4'])[:, 0], True)


def test_a_mask_of_most_pixels_is_told():
    image = make(np.full(30, 32))
    with pytest.warns(VaephotWarning, match=r'mask 100 % .* --mask-bits'):
        assert bad_pixels(image).all()
