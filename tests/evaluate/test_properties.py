# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest

from vaephot.evaluate.properties import (
    colour_errors,
    difficulty,
    shape_errors,
)


def test_colours_ignore_a_common_factor_and_need_positive_fluxes():
    true = np.array([[1.0, 2, 4], [1, 1, 1], [3, 1, 1]])
    errors = colour_errors(true * [[2], [1], [1]], true)
    assert errors == pytest.approx(np.zeros((3, 2)))
    measured = true.copy()
    measured[1, 2], measured[2, 0] = -1, np.nan
    errors = colour_errors(measured, true)
    assert np.isnan(errors[1, 1])
    assert np.isnan(errors[2]).all()
    assert errors[1, 0] == 0


def test_shape_errors_are_in_arcsec_and_logarithms():
    true = {'xy': np.array([[1.0, 2], [3, 4]]), 'eta1': np.zeros(2),
            'eta2': np.zeros(2), 'half_light_radius': np.array([2.0, 0])}
    measured = {'xy': true['xy'] + [1, -2], 'eta1': np.full(2, 0.1),
                'eta2': np.zeros(2),
                'half_light_radius': np.array([2 * np.e, 1])}
    errors = shape_errors(measured, true, 0.1)
    assert errors['x'] == pytest.approx([0.1, 0.1])
    assert errors['y'] == pytest.approx([-0.2, -0.2])
    assert errors['log_radius'][0] == pytest.approx(1)
    assert errors['eta1'][0] == pytest.approx(0.1)
    # a star has no shape
    assert np.isnan([errors['log_radius'][1], errors['eta1'][1]]).all()


def test_a_lonely_source_is_not_blended(make_observed):
    observed = make_observed(3)
    hard = difficulty(observed)
    alone = observed.truth.rows(0).start
    assert hard['separation'][alone] == np.inf
    assert np.isnan(hard['delta_mag'][alone])
    assert hard['blendedness'][alone] == pytest.approx(0, abs=1e-9)
    pair = observed.truth.rows(1)
    distance = np.hypot(*np.diff(observed.truth.xy[pair], axis=0)[0]) * 0.1
    assert hard['separation'][pair] == pytest.approx(distance)
    assert hard['delta_mag'][pair].sum() == pytest.approx(0)
    assert (hard['blendedness'][pair] > 0).all()


def test_signal_to_noise_is_that_of_the_best_filter(make_observed):
    observed = make_observed(1)
    _, model = observed.truth.models[0]
    expected = np.sqrt((model[0] ** 2 / observed.truth.error[0, 0] ** 2
                        ).sum())
    assert difficulty(observed)['snr'][0] == pytest.approx(expected)
    unknown = difficulty(make_observed(1, with_models=False))
    assert np.isnan(unknown['snr']).all()
