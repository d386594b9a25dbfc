# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest

from vaephot.scale.tiles import TileGrid, shared_width

GRIDS = [TileGrid(shape=shape, side=side) for shape, side in
         (((100, 130), 40), ((40, 40), 40), ((7, 90), 30), ((81, 79), 80))]


@pytest.mark.parametrize('grid', GRIDS)
def test_cores_cover_each_pixel_once(grid):
    seen = np.zeros(grid.shape, int)
    for number in range(len(grid)):
        seen[grid.core(number).slices] += 1
    assert (seen == 1).all()


@pytest.mark.parametrize('grid', GRIDS)
def test_a_place_belongs_to_the_core_of_its_pixel(grid):
    ny, nx = grid.shape
    iy, ix = np.indices(grid.shape)
    for shift in (-0.5, 0.0, 0.4999):
        owner = grid.owner(ix + shift, iy + shift)
        for number in range(len(grid)):
            assert (owner[grid.core(number).slices] == number).all()
    beyond = grid.owner([-3.0, nx + 5.0], [-9.0, ny + 5.0])
    assert beyond.tolist() == [0, len(grid) - 1]


@pytest.mark.parametrize('grid', GRIDS)
def test_neighbours_are_mutual_and_touch(grid):
    for number in range(len(grid)):
        near = grid.neighbours(number)
        assert number not in near
        assert len(near) <= 8
        for other in near:
            assert number in grid.neighbours(other)


def test_windows_grow_up_to_the_edges():
    core = GRIDS[0].core(0)
    assert core.grown(10, (100, 130)).shape == (50, 50)
    assert core.inside(core.grown(10, (100, 130))) == (
        slice(0, 40), slice(0, 40))


def test_the_halo_follows_the_widest_psf():
    assert shared_width([1.6]) == 64
    assert shared_width([1.6, 10.0]) == 120
