# Licensed under a 3-clause BSD style license - see LICENSE.rst
import pickle

import numpy as np
import pytest

from vaephot import PeakFinder
from vaephot.deblend.settings import MIN_SNR, SearchSettings, validate_settings


@pytest.mark.parametrize(('name', 'value', 'error'), [
    ('min_probability', -0.1, ValueError),
    ('min_probability', 1.1, ValueError),
    ('min_probability', np.nan, ValueError),
    ('min_probability', 'high', TypeError),
    ('min_probability', True, TypeError), ('n_rounds', -1, ValueError),
    ('n_rounds', 1.5, TypeError)])
def test_settings_out_of_range_are_refused(name, value, error):
    with pytest.raises(error, match=name):
        PeakFinder(**{name: value})


def test_settings_survive_pickling():
    finder = PeakFinder(min_probability=0.9, n_rounds=0)
    assert pickle.loads(pickle.dumps(finder)) == finder  # noqa: S301


def _image():
    y, x = np.mgrid[:40, :60]
    image = np.random.default_rng(3).standard_normal((40, 60))
    for x0, y0 in ((20, 15), (28, 15), (45, 30)):
        image += 80 * np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / 8)
    return image


def test_peaks_are_found_as_photutils_finders_give_them():
    image = _image()
    kept = image.copy()
    table = PeakFinder()(image)
    for xy in ((20, 15), (28, 15), (45, 30)):
        away = np.hypot(table['x_centroid'] - xy[0],
                        table['y_centroid'] - xy[1])
        assert away.min() < 1
    assert list(table['id']) == list(range(1, len(table) + 1))
    np.testing.assert_array_equal(image, kept)


def test_masked_peaks_are_not_found():
    image, mask = _image(), np.zeros((40, 60), bool)
    mask[22:38, 37:53] = True
    image[30, 45] = np.nan
    table = PeakFinder()(image, mask=mask)
    assert (table['x_centroid'] < 37).all()


def test_nothing_is_found_where_nothing_is():
    assert PeakFinder()(np.zeros((20, 20))) is None


@pytest.mark.parametrize(('name', 'value', 'match'), [
    ('n_pixels', 0, 'n_pixels must be a positive integer, got 0'),
    ('n_pixels', 2.5, 'n_pixels must be a positive integer'),
    ('n_pixels', 'x', 'n_pixels must be a positive integer'),
    ('contrast', -1, 'contrast must be >= 0 and <= 1'),
    ('contrast', 1.1, 'contrast must be >= 0 and <= 1'),
    ('contrast', np.nan, 'contrast must be >= 0 and <= 1'),
    ('n_levels', 0, 'n_levels must be >= 1'),
    ('mode', 'log', "mode must be 'exponential', 'linear', or 'sinh'"),
    ('connectivity', 'invalid', 'Invalid connectivity'),
    ('connectivity', 6, 'Invalid connectivity')])
def test_settings_out_of_range_raise_as_in_photutils(name, value, match):
    settings = {'n_pixels': 5, 'contrast': 0.001, 'n_levels': 32,
                'mode': 'linear', 'connectivity': 8}
    validate_settings(**settings)
    with pytest.raises(ValueError, match=match):
        validate_settings(**{**settings, name: value})


def _search(finder):
    return SearchSettings(n_pixels=5, contrast=0.001, n_levels=32,
                          mode='linear', connectivity=8, finder=finder)


def test_a_finder_of_the_callers_decides_what_is_a_source():
    search = _search(lambda image, mask: None)
    assert not search.is_own
    assert not search.find_stars
    assert search.n_rounds == search.min_probability == 0
    assert search.min_snr == MIN_SNR


def test_our_search_asks_for_what_it_was_told():
    assert _search(None).is_own
    assert _search(None).find_stars
    search = _search(PeakFinder(min_probability=0.9, n_rounds=1,
                                find_stars=False))
    assert search.is_own
    assert not search.find_stars
    assert (search.min_probability, search.n_rounds) == (0.9, 1)
    assert search.min_snr == 0


def test_what_cannot_be_called_is_no_finder():
    with pytest.raises(TypeError, match='finder is of type int'):
        _search(3)
