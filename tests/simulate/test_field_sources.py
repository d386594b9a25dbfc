# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest

from vaephot.exceptions import CatalogError
from vaephot.simulate.field_sources import draw_sources, make_wcs, on_grid
from vaephot.simulate.fields import FieldConfig
from vaephot.simulate.survey import get_survey


def draw(**settings):
    config = FieldConfig(**{'shape': (2400, 2400), 'pair_share': 0.0,
                            **settings})
    return draw_sources(np.random.default_rng(1), config,
                        get_survey(config.survey))


def test_the_density_is_that_of_the_configuration():
    sources = draw(star_density=5.0)
    galaxies = [s for s in sources if not s.is_star and s.mags[0] < 26]
    assert len(galaxies) / 16 == pytest.approx(130, rel=0.1)
    assert sum(s.is_star for s in sources) / 16 == pytest.approx(5, rel=0.3)
    mags = [s.mags[0] for s in sources]
    assert mags == sorted(mags)


def test_impossible_densities_are_refused():
    with pytest.raises(CatalogError, match='at most 10000'):
        draw(galaxy_density=1e6)
    with pytest.raises(CatalogError, match='star_density is 1e'):
        draw(star_density=1e9)


def test_pairs_are_nearer_than_chance():
    def nearest(**settings):
        xy = np.array([(s.x, s.y) for s in draw(
            star_density=0.0, galaxy_density=40.0, **settings)])
        distance = np.hypot(*(xy[:, None] - xy).transpose(2, 0, 1))
        np.fill_diagonal(distance, np.inf)
        return (distance.min(axis=1) < 25).mean()

    assert nearest(pair_share=0.4) > nearest(pair_share=0.0) + 0.2


def test_places_on_other_pixels_have_the_same_edges():
    source = draw(galaxy_density=5.0)[0].moved(-0.5, 11.5)
    moved = on_grid(source, 1 / 3, 2)
    assert (moved.x, moved.y) == pytest.approx((-0.5, 3.5))
    assert moved.mags == pytest.approx(source.mags[2:3])


def test_the_middle_of_the_field_is_the_tangent_point():
    wcs = make_wcs((41, 61), (150.0, 2.0), 0.1)
    sky = wcs.all_pix2world(30.0, 20.0, 0)
    assert [float(v) for v in sky] == pytest.approx([150.0, 2.0])
