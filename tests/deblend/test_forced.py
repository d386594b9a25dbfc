# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Photometry at given positions, inside and outside of segments."""

import warnings
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from vaephot import decode_flags
from vaephot.exceptions import DeblendWarning

SCENES = SimpleNamespace(**run_path(
    str(Path(__file__).with_name('_scenes.py'))))
SHAPE = (70, 90)
# the last two lie in no segment
GALAXIES = ((20.3, 25.1, 1.5, 1000.0), (26.2, 27.4, 1.2, 600.0),
            (70.0, 50.0, 1.4, 150.0), (36.0, 24.0, 1.0, 120.0))
SKY = (55.0, 15.0)
FORCED = [(70.0, 50.0), (36.0, 24.0), SKY]


def segments():
    segm = np.zeros(SHAPE, np.int32)
    segm[18:35, 13:33] = 5
    return segm


def measure(deblend, data, positions, **options):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', DeblendWarning)
        return deblend(data, segments(), error=1.0, psf=SCENES.FWHM,
                       positions=positions, **options)


@pytest.fixture(name='result', scope='module')
def _result(deblend):
    data = SCENES.noisy(GALAXIES, SHAPE, seed=4)
    positions = [row[:2] for row in GALAXIES] + [SKY]
    return measure(deblend, data, positions)


def test_every_position_has_a_row_in_its_order(result):
    assert len(result) == 5
    assert_allclose(result.table['x_centroid'],
                    [row[0] for row in GALAXIES] + [SKY[0]], atol=1.5)
    assert_array_equal(result.table['parent_label'], [5, 5, 0, 0, 0])
    assert_array_equal(
        ['forced' in flags for flags in decode_flags(
            result.table['flags'])], [False, False, True, True, True])


def test_fluxes_outside_of_segments_are_right(result):
    true = np.array([row[3] for row in GALAXIES] + [0.0])
    flux, error = (np.asarray(result.table[name])
                   for name in ('flux', 'flux_err'))
    assert np.isfinite(flux).all()
    assert (error > 0).all()
    # Gaussians are not what the prior expects
    assert (np.abs(flux - true) < 4 * error + 0.12 * true).all()


def test_blank_sky_is_zero_within_its_error(deblend):
    rng = np.random.default_rng(8)
    y, x = np.mgrid[10:60:16, 10:80:16]
    positions = np.column_stack([x.ravel(), y.ravel()]).astype(float)
    noise = rng.standard_normal((70, 90))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', DeblendWarning)
        result = deblend(noise, np.zeros((70, 90), int), error=1.0,
                         psf=SCENES.FWHM, positions=positions)
    pull = np.asarray(result.table['flux'] / result.table['flux_err'])
    assert np.isfinite(pull).all()
    assert (pull < 0).any()
    assert np.abs(pull).max() < 5
    assert (np.asarray(result.table['flux_err']) > 3).all()


def test_fixed_positions_stay(deblend):
    from astropy.table import Table

    data = SCENES.noisy(GALAXIES, SHAPE, seed=5)
    x, y = np.transpose(FORCED)
    table = Table({'x': x, 'y': y, 'fixed': [True] * 3})
    result = measure(deblend, data, table)
    assert_allclose(result.table['x_centroid'], x, atol=0.01)
    assert_allclose(result.table['y_centroid'], y, atol=0.01)


def test_positions_in_holes_of_the_data_are_flagged(deblend):
    data = SCENES.noisy(GALAXIES, SHAPE, seed=6)
    mask = np.zeros(SHAPE, bool)
    mask[40:62, 58:82] = True
    result = measure(deblend, data, FORCED, mask=mask)
    assert np.isnan(result.table['flux'][0])
    assert 'no_data' in decode_flags(int(result.table['flags'][0]))
    assert np.isfinite(result.table['flux'][1:]).all()


def test_images_of_forced_sources_are_their_share_of_the_sky(result):
    loose = [source for source in result if source.parent_label == 0]
    assert len(loose) == 3
    data = result.data
    bright = loose[0]
    core = np.s_[48:53, 68:73]
    image = result.make_source_image(bright.label)
    assert_allclose(image[core], data[core], atol=1e-4)
    # pixels of a parent belong to its children
    near = result.make_source_image(loose[1].label)
    assert not near[segments() > 0].any()


def test_forced_sources_are_in_catalogue_and_apertures(result):
    assert set(result.to_catalog().labels) >= {
        source.label for source in result if source.flux > 50}
    table = result.aperture_table([4.0])
    assert table['aperture_flux_0'][2] == pytest.approx(150, abs=40)
