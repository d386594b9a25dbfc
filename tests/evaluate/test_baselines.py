# Licensed under a 3-clause BSD style license - see LICENSE.rst
import sys

import numpy as np
import pytest

from vaephot.evaluate.baselines import SepSettings, sep_photometry
from vaephot.exceptions import (
    BandMismatchError,
    MissingDependencyError,
    ShapeMismatchError,
)

CAUTIOUS = SepSettings(threshold=3.0)
SOURCES = [(30.2, 20.7, 900.0), (44.0, 22.5, 500.0), (70.0, 50.3, 700.0)]


def scene(scale=1.0, shape=(70, 100), seed=0):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:shape[0], :shape[1]]
    image = rng.normal(0, 1, shape)
    for x0, y0, flux in SOURCES:
        radius2 = (x - x0) ** 2 + (y - y0) ** 2
        image += scale * flux * np.exp(-radius2 / 8) / (8 * np.pi)
    return image


@pytest.fixture
def _needs_sep():
    pytest.importorskip('sep')


@pytest.mark.usefixtures('_needs_sep')
def test_positions_and_fluxes_are_found_in_all_bands():
    data = np.stack([scene(), scene(2.0, seed=1)])
    table, segm = sep_photometry(data, [1.0, 1.0], bands=('g', 'r'),
                                 settings=CAUTIOUS)
    assert len(table) == 3
    table.sort('x_centroid')
    for row, (x, y, flux) in zip(table, SOURCES, strict=True):
        assert row['x_centroid'] == pytest.approx(x, abs=0.3)
        assert row['y_centroid'] == pytest.approx(y, abs=0.3)
        assert row['flux_g'] == pytest.approx(flux, rel=0.15)
        assert row['flux_r'] == pytest.approx(2 * flux, rel=0.1)
        assert row['flux_err_g'] > 0
    assert segm.shape == data.shape[1:]
    assert set(np.unique(segm)) == {0, 1, 2, 3}


@pytest.mark.usefixtures('_needs_sep')
def test_a_2d_image_a_mask_and_a_gain_are_accepted():
    image = scene()
    mask = np.zeros(image.shape, bool)
    mask[:, 60:] = True
    plain, _ = sep_photometry(image, 1.0, bands=('r',), mask=mask,
                              settings=CAUTIOUS)
    noisy, _ = sep_photometry(image, np.ones((1, *image.shape)),
                              bands=('r',), mask=mask, gain=[1.0],
                              settings=CAUTIOUS)
    assert len(plain) == len(noisy) == 2
    assert np.array_equal(plain['flux_r'], noisy['flux_r'])
    assert (noisy['flux_err_r'] > plain['flux_err_r']).all()


@pytest.mark.usefixtures('_needs_sep')
def test_an_empty_image_gives_an_empty_table():
    table, segm = sep_photometry(np.zeros((40, 50)), 1.0, bands=('r',))
    assert len(table) == 0
    assert 'flux_r' in table.colnames
    assert not segm.any()


@pytest.mark.usefixtures('_needs_sep')
def test_the_input_is_not_changed_and_may_be_big_endian():
    image = scene().astype('>f4')
    image.flags.writeable = False
    before = image.copy()
    table, _ = sep_photometry(image, 1.0, bands=('r',),
                              settings=CAUTIOUS)
    assert len(table) == 3
    assert np.array_equal(image, before)


@pytest.mark.usefixtures('_needs_sep')
def test_mismatches_are_refused():
    with pytest.raises(BandMismatchError, match='2 bands'):
        sep_photometry(np.zeros((2, 8, 8)), 1.0, bands=('r',))
    with pytest.raises(ShapeMismatchError):
        sep_photometry(np.zeros(8), 1.0, bands=('r',))


@pytest.mark.parametrize(('name', 'value'), [
    ('threshold', 0), ('n_pixels', -1), ('contrast', 2)])
def test_settings_check_themselves(name, value):
    with pytest.raises(ValueError, match=name):
        SepSettings(**{name: value})


def test_without_sep_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, 'sep', None)
    with pytest.raises(MissingDependencyError, match=r'vaephot\[evaluate\]'):
        sep_photometry(np.zeros((8, 8)), 1.0, bands=('r',))


@pytest.mark.usefixtures('_needs_sep')
def test_neighbours_are_replaced_by_the_light_opposite_of_them():
    y, x = np.mgrid[:80, :80]

    def source(x0, y0, flux):
        radius2 = (x - x0) ** 2 + (y - y0) ** 2
        return flux * np.exp(-radius2 / 8) / (8 * np.pi)

    noise = np.random.default_rng(1).normal(0, 1, (80, 80))
    alone = source(40, 40, 1000.0) + noise
    fluxes = []
    for image in (alone, alone + source(49, 40, 3000.0)):
        table, _ = sep_photometry(image, 1.0, bands=('r',),
                                  settings=CAUTIOUS)
        nearest = np.argmin(np.hypot(table['x_centroid'] - 40,
                                     table['y_centroid'] - 40))
        fluxes.append(table['flux_r'][nearest])
    assert fluxes[1] == pytest.approx(fluxes[0], rel=0.12)
