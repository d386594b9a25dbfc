# Licensed under a 3-clause BSD style license - see LICENSE.rst
import pickle

import numpy as np
import pytest
from photutils.aperture import BoundingBox

from vaephot.exceptions import CatalogError
from vaephot.simulate import FieldConfig, MosaicConfig, PSFVariation
from vaephot.simulate.mosaics import MosaicDrawer
from vaephot.simulate.mosaics.mosaic_cells import BAD, UNCOVERED

pytestmark = pytest.mark.galsim


def config(**settings):
    field = {'shape': (150, 190), 'survey': 'hsc-wide', 'psf_pixels': 25,
             'galaxy_mags': (20.0, 25.0), 'correlated': True,
             'bad_pixel_share': 0.002,
             'psf_variation': PSFVariation(n_nodes=2)}
    return MosaicConfig(field=FieldConfig(**field), cell=64, **settings)


@pytest.fixture(scope='module')
def drawer():
    return MosaicDrawer(config(uncovered=0.1), 3)


@pytest.fixture(scope='module')
def whole(drawer):
    return drawer.draw(BoundingBox(0, 190, 0, 150))


def test_a_part_drawn_alone_is_that_part_of_the_whole(drawer, whole):
    box = BoundingBox(40, 150, 33, 101)
    other = pickle.loads(pickle.dumps(drawer))  # noqa: S301
    part = other.draw(box)
    for name in ('image', 'sky_rms', 'flags'):
        want = getattr(whole, name)[:, 33:101, 40:150]
        assert np.array_equal(getattr(part, name), want, equal_nan=True)


def test_corners_are_not_observed(drawer, whole):
    assert np.isnan(whole.image[:, 0, 0]).all()
    assert (whole.flags[:, 0, 0] & UNCOVERED > 0).all()
    assert (whole.sky_rms[:, -1, -1] == 0).all()
    assert whole.flags[0, 75, 95] & UNCOVERED == 0
    away = np.mean(whole.flags[0] & UNCOVERED > 0)
    assert away == pytest.approx(4 * 0.1**2 / 2, rel=0.1)


def test_the_sky_has_the_noise_that_is_stated(drawer, whole):
    sky = whole.image[0] / whole.sky_rms[0].max()
    sky = sky[np.isfinite(sky)]
    spread = np.median(np.abs(sky - np.median(sky))) / 0.6745
    assert spread == pytest.approx(1, rel=0.25)
    assert (np.isnan(whole.image) == (whole.flags & (BAD | UNCOVERED) > 0)
            ).all()


def test_each_cell_has_sources_of_its_own(drawer):
    places = set()
    for iy in range(drawer.n_cells[0]):
        for ix in range(drawer.n_cells[1]):
            for source in drawer.sources(iy, ix):
                assert 64 * ix - 0.5 <= source.x < 64 * (ix + 1) - 0.5
                assert 64 * iy - 0.5 <= source.y < 64 * (iy + 1) - 0.5
                places.add((source.x, source.y))
    assert len(places) > 10
    assert places != {(s.x, s.y) for s in MosaicDrawer(
        config(), 4).sources(0, 0)}


def test_what_cannot_be_drawn_in_parts_is_refused():
    field = FieldConfig(shape=(99, 99), background=0.1)
    with pytest.raises(CatalogError, match='background'):
        MosaicConfig(field=field)
    with pytest.raises(CatalogError, match='sources reach'):
        MosaicConfig(field=FieldConfig(shape=(99, 99), wing_pixels=401),
                     cell=128)
