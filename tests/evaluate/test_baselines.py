# Licensed under a 3-clause BSD style license - see LICENSE.rst
import sys
from dataclasses import replace

import numpy as np
import pytest
from photutils.aperture import BoundingBox

from vaephot.evaluate.baselines import (
    MASK_TYPES,
    SepSettings,
    aperture,
    oracle,
    photutils_kron,
    sep_kron,
    sep_photometry,
    solve_templates,
)
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
    ('threshold', 0), ('n_pixels', -1), ('contrast', 2),
    ('mask_type', 'half')])
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


def matched(observed, rows):
    """Flux of the source that is nearest to each true one."""
    out = []
    for k, row in enumerate(rows):
        for xy in observed.truth.xy[observed.truth.rows(k)]:
            nearest = np.hypot(*(row['xy'] - xy).T).argmin()
            out.append(row['flux'][nearest])
    return np.array(out)


@pytest.mark.parametrize('method', [sep_kron, photutils_kron])
def test_kron_fluxes_of_blends_apart_are_right(make_observed, method):
    pytest.importorskip('sep')
    observed = make_observed(5, gap=14)
    rows = method(observed)
    assert [len(row['xy']) for row in rows] == [1, 2, 3, 1, 2]
    flux = matched(observed, rows)
    assert flux == pytest.approx(observed.truth.flux, rel=0.25)
    for row in rows:
        for k, (x, y) in enumerate(np.round(row['xy']).astype(int)):
            assert row['segmentation'][y, x] == k + 1


@pytest.mark.parametrize('method', [sep_kron, photutils_kron])
def test_where_nothing_is_nothing_is_found(make_observed, method):
    pytest.importorskip('sep')
    observed = make_observed(2, flux=1e-9, noise=0)
    for row in method(observed):
        assert row['flux'].shape == (0, 2)


@pytest.mark.usefixtures('_needs_sep')
def test_mask_types_order_the_flux_of_a_blend(make_observed):
    observed = make_observed(2, gap=7)
    flux = {name: sum(row['flux'][:, 0].sum() for row in sep_kron(
        observed, mask_type=name)) for name in MASK_TYPES}
    assert flux['blank'] < flux['correct'] < flux['none']


def test_an_aperture_is_right_for_a_point(make_observed):
    observed = make_observed(1, noise=0)
    image = np.zeros((1, 2, 40, 40))
    y, x = np.mgrid[-20:20, -20:20]
    image[0] = np.exp(-(x ** 2 + y ** 2) / (2 * 1.2 ** 2)) / (
        2 * np.pi * 1.2 ** 2)
    told = replace(observed, image=image,
                   positions=(np.array([[20.0, 20]]),))
    row = aperture(told)[0]
    assert row['flux'][0] == pytest.approx([1, 1], rel=0.02)
    assert (row['flux_err'] > 0).all()


def test_the_oracle_is_exact_without_noise(make_observed):
    observed = make_observed(3, noise=0)
    for k, row in enumerate(oracle(observed)):
        true = observed.truth.flux[observed.truth.rows(k)]
        assert row['flux'] == pytest.approx(true, rel=1e-9)


def test_the_errors_of_the_oracle_are_right(make_observed):
    observed = make_observed(60, size=30, gap=6)
    rows = oracle(observed)
    flux, error = (np.concatenate([row[name] for row in rows])
                   for name in ('flux', 'flux_err'))
    pull = (flux - observed.truth.flux) / error
    assert pull.std() == pytest.approx(1, abs=0.15)
    assert abs(pull.mean()) < 0.25


def test_the_oracle_does_not_mind_boxes_and_hidden_sources(make_observed):
    observed = make_observed(3)
    x, y = observed.truth.xy[-1].astype(int)
    box = BoundingBox(x - 12, x + 10, max(y - 10, 0), y + 11)
    models = [*observed.truth.models[:-1], (box, observed.truth.models[-1][
        1][:, box.iymin:box.iymax, box.ixmin:box.ixmax])]
    cut = replace(observed, truth=replace(observed.truth,
                                          models=tuple(models)))
    whole, small = solve_templates(observed, 2), solve_templates(cut, 2)
    assert small[0] == pytest.approx(whole[0], rel=1e-2)
    hidden = replace(observed, given=(*observed.given[:2], np.array([1])))
    assert oracle(hidden)[2]['flux'][0] == pytest.approx(whole[0][1])
