# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from vaephot.utils.layout import lay_out


@pytest.mark.parametrize('n', [1, 2, 5, 9])
def test_stamps_lie_side_by_side_with_masked_gaps(n):
    rng = np.random.default_rng(n)
    image = rng.standard_normal((n, 2, 7, 5))
    mask = rng.random(image.shape) < 0.2
    whole, bad, corners = lay_out(image, mask, 3)
    assert whole.shape == bad.shape
    assert_array_equal((np.array(whole.shape[1:]) - 3) % (10, 8), 0)
    left = np.ones(whole.shape, bool)
    for stamp, its_mask, (x0, y0) in zip(image, mask, corners, strict=True):
        box = np.s_[:, y0:y0 + 7, x0:x0 + 5]
        assert_array_equal(whole[box], stamp)
        assert_array_equal(bad[box], its_mask)
        # no two stamps share a pixel, and none touches the edge
        assert left[box].all()
        left[box] = False
        assert left[:, y0 - 3:y0, x0:x0 + 5].all()
    assert bad[left].all()
    assert not whole[left].any()


def test_what_is_laid_out_stays_as_it_is():
    image, mask = np.ones((3, 1, 4, 4)), np.zeros((3, 1, 4, 4), bool)
    whole, bad, _ = lay_out(image, mask, 2)
    whole[:], bad[:] = 7, True
    assert (image == 1).all()
    assert not mask.any()
