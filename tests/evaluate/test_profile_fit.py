# Licensed under a 3-clause BSD style license - see LICENSE.rst
from dataclasses import replace

import numpy as np
import pytest

from vaephot.evaluate.profile_fit import fit_blend, profile_fit
from vaephot.evaluate.profiles import ProfileRenderer


def columns(observed, rows, name):
    return np.concatenate([row[name] for row in rows])


def test_fluxes_and_errors_of_blends_are_right(make_observed):
    observed = make_observed(9, seed=3)
    rows = profile_fit(observed)
    flux = columns(observed, rows, 'flux')
    pull = (flux - observed.truth.flux) / columns(observed, rows,
                                                  'flux_err')
    assert np.abs(flux / observed.truth.flux - 1).max() < 0.1
    assert 0.4 < pull.std() < 1.8
    assert np.abs(columns(observed, rows, 'xy')
                  - observed.truth.xy).max() < 0.2


def test_the_model_of_a_source_has_its_flux(make_observed):
    observed = make_observed(1)
    row = profile_fit(observed)[0]
    assert row['models'].shape == (1, 2, 40, 40)
    assert row['models'][0].sum((1, 2)) == pytest.approx(row['flux'][0],
                                                         rel=0.05)


def test_a_wrong_start_and_masked_pixels_do_not_matter(make_observed):
    observed = make_observed(1)
    mask = observed.mask.copy()
    image = observed.image.copy()
    x, y = observed.truth.xy[0].astype(int)
    mask[0, :, y, x + 1], image[0, :, y, x + 1] = True, 1e6
    told = replace(observed, mask=mask, image=image,
                   positions=(observed.positions[0] + 0.3,))
    flux = profile_fit(told)[0]['flux']
    assert flux == pytest.approx(observed.truth.flux, rel=0.1)


def test_a_star_is_fitted_as_a_point(make_observed):
    observed = make_observed(1)
    row = profile_fit(replace(observed,
                              point_source=(np.array([True]),)))[0]
    assert row['half_light_radius'][0] == 0
    # a point is narrower than the galaxy and cannot hold its light
    assert row['flux'][0, 0] < 0.9 * observed.truth.flux[0, 0]


def test_the_noise_correlation_is_in_the_errors(make_observed):
    observed = make_observed(1)
    plain, wide = (profile_fit(replace(
        observed, noise_correlation=np.array([1.0, f])))[0]['flux_err'][0]
        for f in (1.0, 3.0))
    assert wide == pytest.approx(plain * [1, 3])


def test_the_noise_may_be_that_of_pixels(make_observed):
    observed = make_observed(1)
    renderer = ProfileRenderer(observed.psf, observed.oversampling,
                               observed.shape)
    told = (observed.gain * np.inf, observed.positions[0],
            observed.point_source[0])
    of_pixels = np.broadcast_to(observed.sky_rms[:, None, None],
                                observed.image[0].shape)
    plain, same, less = (
        fit_blend(renderer, observed.image[0], observed.mask[0], noise,
                  *told, pixel_scale=observed.pixel_scale)
        for noise in (observed.sky_rms, of_pixels, of_pixels / 2))
    assert same['flux'] == pytest.approx(plain['flux'], rel=1e-6)
    assert same['flux_err'] == pytest.approx(plain['flux_err'], rel=1e-6)
    assert (less['flux_err'] < 0.7 * plain['flux_err']).all()
