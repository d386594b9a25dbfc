# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
import torch

from vaephot.deblend.fit.bands import Bands
from vaephot.deblend.fit.draw import make_drawer
from vaephot.deblend.fit.windows import SIDES

SHAPE = (70, 110)


@pytest.fixture
def bands(gaussian_band):
    """Return two narrow bands, one of which varies, and a wide one."""
    return Bands([gaussian_band(1.2), gaussian_band(1.1, slope=0.004),
                  gaussian_band(2.5, half=14)], [SHAPE] * 3)


def test_bands_of_one_binning_share_their_matrices(bands):
    assert bands.binning.tolist() == [1, 1, 2]
    assert bands.kind.tolist() == [0, 0, 1]
    assert bands.n_kinds == 2


def test_images_of_the_user_are_not_binned(bands):
    other = bands.unbinned()
    assert other.binning.tolist() == [1, 1, 1]
    assert other.n_kinds == 1
    assert bands.binning.tolist() == [1, 1, 2]


def test_transfers_are_those_of_the_band_at_its_place(bands):
    side = SIDES.index(32)
    drawer = make_drawer(*bands.drawing(0, side, 10, 3))
    places = np.zeros((2, 3, 2))
    places[1, 1] = 60.0, 10.0
    group, band = torch.tensor([0, 1, 1]), torch.tensor([0, 0, 1])
    found = bands.transfers((group, band), places, drawer.grid)
    wanted = [bands.transfer[b].at(place, drawer.grid) for b, place in (
        (0, (0.0, 0.0)), (0, (0.0, 0.0)), (1, (60.0, 10.0)))]
    torch.testing.assert_close(found, torch.stack(wanted))


def test_constant_transfers_are_made_once(gaussian_band):
    bands = Bands([gaussian_band(1.2), gaussian_band(2.5, half=14)],
                  [SHAPE] * 2)
    grid = make_drawer(*bands.drawing(1, 3, 10, 3)).grid
    where = torch.tensor([0]), torch.tensor([1])
    one, other = (bands.transfers(where, None, grid) for _ in range(2))
    assert torch.equal(one, other)
    assert len(bands._stacks) == 1
    torch.testing.assert_close(one[0],
                               bands.transfer[1].at((0.0, 0.0), grid))
