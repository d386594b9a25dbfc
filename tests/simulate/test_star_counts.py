# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest

from vaephot.exceptions import CatalogError
from vaephot.simulate.star_counts import (
    StarField,
    draw_star_magnitudes,
    draw_star_mags,
    star_counts,
    star_density,
)

POLE = StarField(longitude_deg=0.0, latitude_deg=90.0)


def test_saturated_stars_are_as_many_as_at_high_latitudes():
    # 0.2 to 0.5 stars brighter than 17.8 per square arcmin
    for field in (None, POLE):
        assert 0.2 < star_density((8.0, 17.8), field) < 0.5


def test_there_are_more_stars_nearer_the_plane_and_fainter():
    low = StarField(longitude_deg=237.0, latitude_deg=20.0)
    assert star_counts(20.0, low) > 1.5 * star_counts(20.0, POLE)
    mags = np.arange(12.0, 25.0)
    assert (np.diff(star_counts(mags)) > 0).all()


def test_magnitudes_follow_the_counts():
    mags = draw_star_magnitudes(np.random.default_rng(1), 20000,
                                (16.0, 24.0))
    share = star_density((16.0, 20.0)) / star_density((16.0, 24.0))
    assert (mags < 20).mean() == pytest.approx(share, abs=0.01)


def test_faint_stars_are_redder_and_of_two_kinds():
    rng = np.random.default_rng(2)

    def g_minus_i(mag):
        mags = draw_star_mags(rng, np.full(2000, mag), ['g', 'i'])
        return mags[:, 0] - mags[:, 1]

    bright, faint = g_minus_i(16.0), g_minus_i(21.0)
    assert np.median(faint) > np.median(bright) + 0.5
    blue, red = (faint < 1.0).mean(), (faint > 1.8).mean()
    assert blue > 0.2
    assert red > 0.3
    assert 0.3 < np.percentile(faint, 5) < 0.7


def test_the_reference_band_keeps_its_magnitude():
    mags = draw_star_mags(np.random.default_rng(3), [17.0, 22.0],
                          ['H', 'VIS'])
    assert mags[:, 1].tolist() == [17.0, 22.0]
    assert draw_star_mags(np.random.default_rng(3), [], ['H']).shape == (
        0, 1)


def test_directions_in_the_plane_are_refused():
    with pytest.raises(CatalogError, match='latitude'):
        StarField(latitude_deg=5.0)
