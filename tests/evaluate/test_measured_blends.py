# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest

from vaephot.evaluate.evaluation_config import MatchSettings
from vaephot.evaluate.measured_blends import describe_truth, measure_blends
from vaephot.evaluate.methods import find_method
from vaephot.exceptions import EvaluationError


class Shifted:
    """Give the true sources in reverse, with known errors."""

    name, uses_positions = 'shifted', False

    def __init__(self, **settings):
        self.settings = settings

    def __call__(self, observed):
        rows = []
        for k in range(len(observed)):
            own = observed.truth.rows(k)
            flux = 1.1 * observed.truth.flux[own][::-1]
            n = len(flux)
            rows.append({
                'xy': observed.truth.xy[own][::-1] + 0.5, 'flux': flux,
                'flux_err': flux / 20, 'models': None,
                'half_light_radius': np.full(n, 2.0),
                'eta1': np.zeros(n), 'eta2': np.zeros(n),
                'segmentation': None, **self.settings})
        return rows


def test_measurements_come_in_the_order_of_the_truth(make_observed):
    observed = make_observed(3)
    out = measure_blends(observed, Shifted(), MatchSettings())
    assert out['flux'] == pytest.approx(1.1 * observed.truth.flux)
    assert out['xy'] == pytest.approx(observed.truth.xy + 0.5)
    assert out['detected'].all()
    assert out['found_real'].all()
    assert out['found_blend'].tolist() == observed.truth.blend.tolist()
    assert out['seconds'] >= 0


def test_what_is_too_far_away_is_missed(make_observed):
    observed = make_observed(3)
    settings = MatchSettings(max_distance=0.05, detection_distance=0.05)
    out = measure_blends(observed, Shifted(), settings)
    assert np.isnan(out['flux']).all()
    assert not out['detected'].any()
    assert out['merged'].sum() == 0  # nothing real is there to merge with


def test_told_methods_are_paired_by_order(make_observed):
    observed = make_observed(3)
    out = measure_blends(observed, find_method('oracle'), MatchSettings())
    assert out['flux'] == pytest.approx(observed.truth.flux, rel=0.1)
    scored = observed.truth.is_scored
    assert (out['cosine'][scored] > 0.999).all()
    assert np.isnan(out['cosine'][~scored]).all()
    assert out['picture'].shape[:2] == (2, 3)
    assert out['picture_error'][0] <= out['picture_error'][1]


def test_sources_are_matched_by_their_pixels(make_observed):
    pytest.importorskip('sep')
    observed = make_observed(3, gap=12)
    method = find_method('sep_default')
    by_place, by_pixels = (measure_blends(
        observed, method, MatchSettings(by=by))['flux']
        for by in ('position', 'segments'))
    assert by_pixels == pytest.approx(by_place)
    with pytest.raises(EvaluationError, match='segments'):
        measure_blends(observed, Shifted(), MatchSettings(by='segments'))


def test_the_truth_has_floors_where_they_are_wanted(make_observed):
    observed = make_observed(3)
    truth = describe_truth(observed, 2)
    wanted = observed.truth.blend < 2
    assert np.isfinite(truth['floor'][wanted]).all()
    assert np.isnan(truth['floor'][~wanted]).all()
    assert truth['oracle'] == pytest.approx(observed.truth.flux, rel=0.1)
    unknown = describe_truth(make_observed(1, with_models=False), 1)
    assert np.isnan(unknown['oracle']).all()
