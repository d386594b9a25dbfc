# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest

from vaephot.utils.boxes import cut_window, overlap

IMAGE = np.arange(2 * 5 * 7, dtype=float).reshape(2, 5, 7)


@pytest.mark.parametrize(('iy', 'ix', 'side'), [
    (1, 2, 3), (-2, 4, 4), (3, -1, 4), (-3, -3, 12), (2, 5, 1)])
def test_window_equals_that_of_a_padded_image(iy, ix, side):
    pad = 15
    padded = np.pad(IMAGE, ((0, 0), (pad, pad), (pad, pad)),
                    constant_values=-9)
    wanted = padded[:, iy + pad:iy + pad + side, ix + pad:ix + pad + side]
    np.testing.assert_array_equal(cut_window(IMAGE, iy, ix, side, -9), wanted)


@pytest.mark.parametrize(('iy', 'ix'), [(9, 0), (-8, 0), (0, 20), (0, -6)])
def test_window_off_the_image_holds_the_fill_value(iy, ix):
    assert (cut_window(IMAGE, iy, ix, 4, 3.0) == 3).all()


def test_window_is_a_copy_of_the_same_dtype():
    image = np.ones((1, 3, 3), bool)
    window = cut_window(image, 0, 0, 3, True)
    window[:] = False
    assert image.all()
    assert window.dtype == bool


def test_ranges_that_do_not_meet_have_an_empty_overlap():
    assert overlap(0, 3, 1, 9) == slice(1, 3)
    empty = overlap(0, 3, 5, 9)
    assert empty.start == empty.stop
