# Licensed under a 3-clause BSD style license - see LICENSE.rst
from dataclasses import replace
from pathlib import Path
from runpy import run_path

import astropy.units as u
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from vaephot.exceptions import BandMismatchError
from vaephot.photometry import posterior_mean_flux

make_result = run_path(
    str(Path(__file__).parents[1] / '_blends.py'))['make_result']


@pytest.fixture(name='result', scope='module')
def _result():
    return make_result()


def test_colors_are_differences_of_magnitudes(result):
    table = result.colors('VIS', 'Y', 'H')
    assert table.colnames == ['label', 'VIS-Y', 'VIS-Y_err', 'Y-H',
                              'Y-H_err']
    assert table['Y-H'].unit == u.mag
    assert_allclose(table['Y-H'].value, result.table['mag_Y'].value
                    - result.table['mag_H'].value)


def test_error_of_a_color_counts_what_the_bands_share(result):
    drawn = result.sample(40_000, 3, rng=1).flux.value[:, 0]
    got = result.colors('VIS', 'H')['VIS-H_err'].value[
        result.labels.tolist().index(3)]
    want = np.std(-2.5 * np.log10(drawn[:, 0] / drawn[:, 2]))
    assert got == pytest.approx(want, rel=0.03)


def test_colors_need_two_bands_and_magnitudes(result):
    for bands in ((), ('VIS',)):
        with pytest.raises(BandMismatchError, match='two'):
            result.colors(*bands)
    with pytest.raises(BandMismatchError, match='K'):
        result.colors('VIS', 'K')
    table = result.table.copy()
    table.remove_columns([f'mag_{band}' for band in result.bands])
    with pytest.raises(ValueError, match='zeropoint'):
        replace(result, table=table).colors('VIS', 'H')


def test_posterior_means_of_all_bands(result):
    table = result.posterior_mean_fluxes(slope=0.3)
    assert table.colnames == ['label', *(
        f'{name}_{band}' for name in ('flux', 'flux_err')
        for band in result.bands)]
    want, _ = posterior_mean_flux(result.table['flux_H'].value,
                                  result.table['flux_err_H'].value,
                                  slope=0.3)
    assert_allclose(table['flux_H'].value, want)
    assert table['flux_H'].unit == u.uJy


def test_no_negative_flux_on_request(result):
    def lowered(source):
        flux = source.flux.value.copy()
        if source.label in (1, 3):
            flux[1] = -source.flux_err[1].value
        return replace(source, flux=flux)
    low = replace(result, sources=[lowered(s) for s in result])
    table = low.non_negative_fluxes()
    assert table.colnames == ['label', 'flux_VIS', 'flux_Y', 'flux_H']
    rows = [low.labels.tolist().index(label) for label in (1, 3)]
    assert_allclose(table['flux_Y'].value[rows], 0, atol=1e-9)
    for row, source in enumerate(low):
        got = [table[f'flux_{b}'][row].value for b in low.bands]
        together = low.group_of(source.label)
        touched = together is not None and together[0] in {
            low.group_of(1)[0], low.group_of(3)[0]}
        assert touched != np.array_equal(got, source.flux.value)


def test_2d_names_have_no_band():
    result = make_result(1, is_2d=True)
    assert result.posterior_mean_fluxes().colnames == ['label', 'flux',
                                                       'flux_err']
    table = result.non_negative_fluxes()
    assert table.colnames == ['label', 'flux']
    assert_array_equal(table['flux'], result.table['flux'])
