# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
from photutils.aperture import BoundingBox

from vaephot.simulate.disk_features import Structure
from vaephot.simulate.fourier_drawing import PSFStack, Renderer, grid_size
from vaephot.simulate.galaxies import Galaxy, galaxy_profile
from vaephot.simulate.survey import survey_psfs

galsim = pytest.importorskip('galsim')
pytestmark = pytest.mark.galsim

SHAPE = {'disk_radius': 0.4, 'bulge_radius': 0.2, 'disk_axis_ratio': 0.4,
         'bulge_axis_ratio': 0.8, 'position_angle': 0.7}
RICH = Structure(knot_fraction=0.15, n_knots=8, arm_fraction=0.3,
                 bar_fraction=0.2, bar_angle=0.5, seed=3)
BOX = BoundingBox(0, 130, 0, 121)
PLACE = (66.3, 58.8)


@pytest.fixture(scope='module')
def psfs():
    return survey_psfs('euclid-wide', 61)


@pytest.fixture(scope='module')
def renderer(psfs):
    return Renderer(PSFStack([psfs]))


def draw(renderer, galaxy, box=BOX, place=PLACE):
    fluxes = galaxy.part_fluxes(np.full(4, galaxy.bulge_fraction))
    return renderer.draw(galaxy.components(), fluxes, box, *place,
                         galaxy.extent)


@pytest.mark.parametrize('band', [0, 3])
@pytest.mark.parametrize(('fraction', 'structure'), [
    (0.0, Structure()), (0.4, Structure()), (1.0, Structure()),
    (0.2, RICH)])
def test_drawings_are_those_of_galsim(renderer, psfs, band, fraction,
                                      structure):
    galaxy = Galaxy(**SHAPE, bulge_fraction=fraction, structure=structure,
                    shear=(0.05, -0.03))
    accuracy = galsim.GSParams(folding_threshold=1e-4,
                               maximum_fft_size=16384)
    scene = galsim.Convolve(galaxy_profile(galaxy, gsparams=accuracy),
                            psfs[band].profile, gsparams=accuracy)
    expected = scene.drawImage(
        nx=130, ny=121, scale=0.1, method='no_pixel', dtype=float,
        offset=(PLACE[0] - 64.5, PLACE[1] - 60)).array
    drawn = draw(renderer, galaxy)[band]
    assert drawn == pytest.approx(expected, abs=2e-4 * expected.max())
    assert drawn.sum() == pytest.approx(expected.sum(), abs=2e-4)


def test_no_light_wraps_into_a_small_box(renderer):
    galaxy = Galaxy(**SHAPE, bulge_fraction=0.3)
    whole = draw(renderer, galaxy)
    part = draw(renderer, galaxy, BoundingBox(40, 71, 50, 80))
    assert part == pytest.approx(whole[:, 50:80, 40:71],
                                 abs=1e-6 * whole.max())


def test_a_source_outside_of_the_box_leaves_its_wings(renderer):
    galaxy = Galaxy(**SHAPE, bulge_fraction=0.3)
    whole = draw(renderer, galaxy)
    part = draw(renderer, galaxy, BoundingBox(80, 110, 0, 30))
    assert part == pytest.approx(whole[:, :30, 80:110],
                                 abs=1e-6 * whole.max())


def test_a_point_is_the_psf(renderer, psfs):
    box = BoundingBox(0, 61, 0, 61)
    image = renderer.draw([], {'point': np.arange(1.0, 5.0)}, box, 30, 30, 0)
    for k, psf in enumerate(psfs):
        assert image[k] == pytest.approx(
            (k + 1) * 9 * psf.image[1::3, 1::3],
            abs=1e-4 * (k + 1) * psf.peak)


def test_nodes_are_mixed_by_their_weights():
    nodes = [survey_psfs('hsc-wide', 25, widening=w) for w in (1.0, 1.2)]
    stack = PSFStack(nodes)
    box = BoundingBox(0, 25, 0, 25)

    def star(renderer, weights=None):
        return renderer.draw([], {'point': np.ones(5)}, box, 12.2, 12.4, 0,
                             weights=weights)

    mixed = star(Renderer(stack), np.array([0.25, 0.75]))
    ends = [star(Renderer(PSFStack([node]))) for node in nodes]
    assert mixed == pytest.approx(0.25 * ends[0] + 0.75 * ends[1], abs=1e-5)


@pytest.mark.parametrize('n', [1, 64, 65, 131, 1000])
def test_grids_are_large_enough_and_few(n):
    assert n <= grid_size(n) <= max(2 * n, 32)
    assert grid_size(n) % 16 == 0
