# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest

from vaephot.evaluate.observed import clean_image
from vaephot.evaluate.observing_conditions import (
    Conditions,
    apply_conditions,
    stretch_psf,
)
from vaephot.exceptions import BandMismatchError, CatalogError


def apply(observed, **settings):
    return apply_conditions(observed, Conditions(**settings), seed=1)


def moments(psf):
    y, x = np.indices(psf.shape) - psf.shape[0] // 2
    return [(psf * v ** 2).sum() / psf.sum() for v in (x, y)]


def test_no_trouble_changes_nothing(make_observed):
    observed = make_observed(2)
    assert apply(observed) is observed


def test_a_stretched_psf_is_wider_and_keeps_its_flux(make_observed):
    psf = make_observed(1).psf
    wide = stretch_psf(psf, 1.1)
    assert wide.sum((1, 2)) == pytest.approx(psf.sum((1, 2)))
    assert moments(wide[0]) == pytest.approx(
        np.multiply(moments(psf[0]), 1.21), rel=0.01)
    x2, y2 = moments(stretch_psf(psf, 1, 0.1)[0])
    assert np.sqrt(x2 / y2) == pytest.approx(1.1 / 0.9, rel=0.01)


def test_what_is_told_changes_and_the_images_do_not(make_observed):
    observed = make_observed(2)
    told = apply(observed, psf_factor=0.9, noise_factor=2.0,
                 position_offset=0.1)
    assert told.image is observed.image
    assert told.sky_rms == pytest.approx(2 * observed.sky_rms)
    for before, after in zip(observed.positions, told.positions,
                             strict=True):
        assert np.hypot(*(after - before).T) == pytest.approx(1)


def test_a_background_is_in_units_of_the_noise(make_observed):
    observed = make_observed(1)
    difference = apply(observed, background=0.5).image - observed.image
    assert difference == pytest.approx(0.5 * observed.sky_rms[0])


def test_hidden_sources_are_not_told_but_still_there(make_observed):
    observed = make_observed(3)
    told = apply(observed, hidden_share=1.0)
    assert [len(xy) for xy in told.positions] == [1, 1, 1]
    assert [g.tolist() for g in told.given] == [[0], [0], [0]]
    assert told.truth is observed.truth
    half = apply(make_observed(30), hidden_share=0.5)
    n_told = sum(len(xy) for xy in half.positions)
    assert 33 < n_told < 57


def test_correlated_noise_keeps_the_depth_of_large_sums(make_observed):
    observed = make_observed(12, size=60, flux=1e-6, bands=('VIS', 'H'))
    noisy = apply(observed, correlation=3)
    assert noisy.noise_correlation.tolist() == [1, 3]
    noise = np.array([noisy.image[k] - clean_image(noisy, k)
                      for k in range(12)])
    assert noise[:, 0].std() == pytest.approx(0.02, rel=0.05)
    assert noise[:, 1].std() == pytest.approx(0.02 / 3, rel=0.05)
    sums = noise.reshape(12, 2, 5, 12, 5, 12).sum((3, 5))
    assert sums[:, 1].std() == pytest.approx(sums[:, 0].std(), rel=0.25)
    quiet = apply(observed, correlation=3, correlation_told=False)
    assert quiet.noise_correlation.tolist() == [1, 1]


def test_correlated_noise_needs_noiseless_sources(make_observed):
    with pytest.raises(CatalogError, match='noiseless'):
        apply(make_observed(1, with_models=False), correlation=3)


def test_bands_are_selected_everywhere(make_observed):
    observed = apply(make_observed(2), bands=('H',))
    assert observed.image.shape[1] == observed.psf.shape[0] == 1
    assert observed.truth.flux.shape[1] == 1
    assert observed.truth.models[0][1].shape[0] == 1
    with pytest.raises(BandMismatchError, match='VIS, H'):
        apply(make_observed(1), bands=('K',))


@pytest.mark.parametrize('settings', [
    {'psf_factor': 0}, {'noise_factor': -1}, {'hidden_share': 2},
    {'psf_shear': 1}, {'correlation': 0}])
def test_impossible_conditions_are_refused(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        Conditions(**settings)
