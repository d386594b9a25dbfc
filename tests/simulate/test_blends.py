# Licensed under a 3-clause BSD style license - see LICENSE.rst
import dataclasses

import numpy as np
import pytest

from vaephot.exceptions import CatalogError, OutputExistsError, StoreError
from vaephot.simulate.blends import (
    CASES,
    BlendCase,
    draw_blends,
    read_blends,
    write_blends,
)

pytestmark = pytest.mark.galsim


@pytest.fixture(scope='module', params=CASES)
def blends(request):
    return draw_blends(request.param, 3, seed=11)


def pulls(blends):
    truth = blends.models.sum(axis=1, dtype=float)
    return ((blends.image - truth) / blends.error)[~blends.mask]


def test_models_and_noise_make_the_image(blends):
    values = pulls(blends)
    assert values.std() == pytest.approx(1, abs=0.02)
    assert values.mean() == pytest.approx(0, abs=0.02)


def test_the_error_is_that_of_sky_and_photons(blends):
    truth = blends.models.sum(axis=1, dtype=float)
    variance = (blends.sky_rms[:, None, None] ** 2
                + np.maximum(truth, 0) / blends.gain[:, None, None])
    assert blends.error ** 2 == pytest.approx(variance, rel=1e-5)


def test_missing_sources_are_nan_and_draw_nothing(blends):
    for k, n in enumerate(blends.n_sources):
        assert np.isfinite(blends.flux[k, :n]).all()
        assert np.isnan(blends.flux[k, n:]).all()
        assert np.isnan(blends.x[k, n:]).all()
        assert (blends.models[k, n:] == 0).all()


def test_the_first_source_is_a_galaxy_in_the_middle(blends):
    middle = (blends.image.shape[-1] - 1) / 2
    assert not blends.is_star[:, 0].any()
    assert (abs(blends.x[:, 0] - middle) <= 0.5).all()
    assert (abs(blends.y[:, 0] - middle) <= 0.5).all()


def test_most_of_the_central_flux_is_on_the_stamp(blends):
    share = blends.models[:, 0].sum(axis=(2, 3)) / blends.flux[:, 0]
    assert (share > 0.9).all()
    assert (share < 1.002).all()


def test_each_case_has_its_number_of_sources(blends):
    case = CASES[blends.case]
    low, high = case.n_neighbors
    more = case.max_sources - 1 - high
    assert (blends.n_sources >= 1 + low + more).all()
    assert (blends.n_sources <= case.max_sources).all()
    assert blends.is_star.any() == (blends.case == 'star')


def test_a_blend_depends_on_seed_and_number_alone(blends):
    fewer = draw_blends(blends.case, 2, seed=11)
    other = draw_blends(blends.case, 2, seed=12)
    assert (fewer.image == blends.image[:2]).all()
    assert (fewer.flux[:, 0] == blends.flux[:2, 0]).all()
    assert (other.flux[:, 0] != blends.flux[:2, 0]).any()


def test_writing_and_reading_gives_the_same_blends(blends, tmp_path):
    path = tmp_path / 'blends.npz'
    write_blends(path, blends)
    again = read_blends(path)
    for field in dataclasses.fields(blends):
        one, two = getattr(blends, field.name), getattr(again, field.name)
        assert type(one) is type(two), field.name
        np.testing.assert_array_equal(one, two)
    with pytest.raises(OutputExistsError):
        write_blends(path, blends)
    write_blends(path, blends, overwrite=True)


def test_stars_of_the_star_case_saturate_in_vis():
    blends = draw_blends('star', 6, seed=3)
    assert blends.mask[:, 0].any()
    level = blends.image[:, 0][blends.mask[:, 0]]
    assert np.ptp(level) == 0


def test_the_truth_says_what_is_off_the_stamp_and_shared(blends):
    present = np.isfinite(blends.x)
    inside = blends.models.sum(axis=(3, 4), dtype=float)
    assert blends.flux_inside[present] == pytest.approx(inside[present],
                                                        rel=1e-4, abs=1e-9)
    models = blends.models.astype(float)
    total = models.sum(axis=1)
    own = (models ** 2).sum(axis=(3, 4))
    shared = (models * total[:, None]).sum(axis=(3, 4))
    expected = 1 - own[present] / shared[present]
    assert blends.blendedness[present] == pytest.approx(expected, abs=1e-5)
    assert np.isnan(blends.blendedness[~present]).all()


def test_blendedness_can_be_chosen():
    case = BlendCase(stamp_size=48, mag=(22.0, 24.0), n_neighbors=(1, 2),
                     neighbor_distance=(0.5, 2.0), blendedness=(0.3, 0.5))
    blends = draw_blends(case, 4, survey='hsc-wide', seed=2)
    assert (blends.blendedness[:, 0, 0] >= 0.3).all()
    assert (blends.blendedness[:, 0, 0] <= 0.5).all()
    assert blends.case == 'custom'


def test_a_share_of_the_sources_are_stars():
    case = BlendCase(stamp_size=32, n_neighbors=(1, 1), star_share=0.5)
    stars = draw_blends(case, 40, survey='hsc-wide', seed=2).is_star
    assert 25 < stars.sum() < 55  # 40 +- 4.5 of 80
    assert not draw_blends(BlendCase(stamp_size=32), 4, survey='hsc-wide',
                           seed=2).is_star.any()


def test_a_blendedness_that_never_happens_is_an_error(monkeypatch):
    monkeypatch.setattr('vaephot.simulate.blends.MAX_TRIES', 3)
    case = BlendCase(stamp_size=32, blendedness=(0.5, 0.6))
    with pytest.raises(CatalogError, match='widen the range'):
        draw_blends(case, 1, survey='hsc-wide', seed=2)


@pytest.mark.parametrize('change', [
    {'stamp_size': 4}, {'n_neighbors': (2, 1)}, {'blendedness': (0.5, 0.2)},
    {'blendedness': (0.5, 1.2)}, {'mag': (26, 20)}, {'mag': (np.nan, 25)},
    {'bright_radius': (-1.0, -0.5)}, {'neighbor_distance': (-3.0, -1.0)},
    {'star_share': 1.2}])
def test_impossible_cases_are_refused(change):
    with pytest.raises(CatalogError):
        BlendCase(**{'stamp_size': 32, **change})


@pytest.mark.parametrize('change', [
    {'n_blends': 0}, {'background': -1.0}, {'background': np.nan}])
def test_impossible_sets_are_refused(change):
    with pytest.raises(CatalogError, match='at least'):
        draw_blends('isolated', **{'n_blends': 1, 'seed': 1, **change})


def test_blends_do_not_depend_on_the_workers():
    one, two = (draw_blends('faint', 3, survey='hsc-wide', seed=5,
                            n_workers=n) for n in (1, 2))
    assert (one.image == two.image).all()


def test_correlated_noise_and_backgrounds_can_be_added():
    plain = draw_blends('isolated', 3, seed=6)
    hard = draw_blends('isolated', 3, seed=6, correlated=True,
                       background=0.3)
    assert hard.noise_correlation.round(3).tolist() == [1, 3, 3, 3]
    assert (hard.sky_rms[1:] < plain.sky_rms[1:] / 2).all()
    assert (hard.models == plain.models).all()


@pytest.mark.parametrize('suffix', ['.fits', '.fits.gz'])
def test_fits_files_give_the_same_blends(suffix, tmp_path):
    blends = draw_blends('star', 2, survey='hsc-wide', seed=4)
    path = tmp_path / f'blends{suffix}'
    write_blends(path, blends)
    again = read_blends(path)
    for field in dataclasses.fields(blends):
        one, two = getattr(blends, field.name), getattr(again, field.name)
        np.testing.assert_array_equal(one, two, err_msg=field.name)
    from astropy.io import fits

    with fits.open(path) as hdus:
        assert len(hdus['TRUTH'].data) == blends.n_sources.sum()
        assert 'blendedness_i' in hdus['TRUTH'].columns.names


def test_other_surveys_bring_their_bands():
    blends = draw_blends('isolated', 2, survey='hsc-wide', seed=1)
    assert blends.bands == ('i', 'g', 'r', 'z', 'y')
    assert blends.image.shape == (2, 5, 96, 96)
    assert blends.pixel_scale == 0.168
    assert 'seed 1' in repr(blends)


def test_an_unknown_case_is_named():
    with pytest.raises(CatalogError, match='isolated') as info:
        draw_blends('mob', 1, seed=1)
    assert info.value.case == 'mob'


def test_an_archive_without_the_arrays_is_refused(tmp_path):
    path = tmp_path / 'other.npz'
    np.savez(path, image=np.zeros(3))
    with pytest.raises(StoreError, match='models'):
        read_blends(path)


def test_files_of_other_names_are_refused(blends, tmp_path):
    with pytest.raises(StoreError, match=r'must end in .npz'):
        write_blends(tmp_path / 'b.txt', blends)
    assert not list(tmp_path.iterdir())
