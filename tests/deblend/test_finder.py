# Licensed under a 3-clause BSD style license - see LICENSE.rst
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import numpy as np
import pytest

from vaephot.deblend.finder import PeakFinder

scenes = SimpleNamespace(**run_path(
    str(Path(__file__).with_name('_scenes.py'))))


@pytest.mark.parametrize(('changes', 'error'), [
    ({'min_probability': '0.5'}, TypeError),
    ({'min_probability': True}, TypeError),
    ({'min_probability': 1.01}, ValueError),
    ({'min_probability': float('nan')}, ValueError),
    ({'n_rounds': 1.0}, TypeError),
    ({'n_rounds': True}, TypeError),
    ({'n_rounds': -1}, ValueError)])
def test_settings_out_of_range_are_named(changes, error):
    with pytest.raises(error, match=next(iter(changes))):
        PeakFinder(**changes)


def test_called_like_a_finder_of_photutils_it_finds_peaks():
    found = PeakFinder()(scenes.noisy(scenes.GALAXIES))
    assert found.colnames == ['id', 'x_centroid', 'y_centroid']
    for x, y, *_ in scenes.GALAXIES:
        assert np.hypot(found['x_centroid'] - x,
                        found['y_centroid'] - y).min() < 1


def test_bad_pixels_are_no_peaks():
    data = scenes.noisy(scenes.GALAXIES)
    data[5:8, 60:63] = np.nan
    mask = np.zeros(data.shape, bool)
    mask[20:40, 40:60] = True
    found = PeakFinder()(data, mask=mask)
    ix, iy = (np.asarray(found[f'{c}_centroid'], int) for c in 'xy')
    assert np.isfinite(data[iy, ix]).all()
    assert not mask[iy, ix].any()


def test_an_empty_image_has_no_peaks():
    assert PeakFinder()(np.zeros((30, 30))) is None
