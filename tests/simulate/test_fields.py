# Licensed under a 3-clause BSD style license - see LICENSE.rst
import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import QTable
from astropy.wcs import WCS

from vaephot.exceptions import CatalogError, OutputExistsError
from vaephot.simulate.clusters import Cluster
from vaephot.simulate.fields import (
    FieldConfig,
    draw_field,
    draw_native_field,
    write_field,
)
from vaephot.simulate.instrument import PSFVariation, box_slices
from vaephot.simulate.survey import get_survey, point_depth, survey_psfs

pytestmark = pytest.mark.galsim

CONFIG = FieldConfig(shape=(120, 170), psf_pixels=61, star_density=20.0)
SURVEY = 'hsc-wide'  # its PSFs are quick to make


@pytest.fixture(scope='module')
def simulated():
    return draw_field(CONFIG, seed=5)


def test_the_sources_sum_to_the_noiseless_field(simulated):
    total = np.zeros_like(simulated.noiseless)
    for bbox, model in simulated.models:
        total[:, bbox.iymin:bbox.iymax, bbox.ixmin:bbox.ixmax] += model
    scale = simulated.noiseless.max()
    assert total == pytest.approx(simulated.noiseless, abs=1e-6 * scale)


def test_the_noise_has_the_stated_error(simulated):
    pulls = (simulated.image - simulated.noiseless) / simulated.error
    pulls = pulls[~simulated.mask]
    assert pulls.std() == pytest.approx(1, abs=0.02)
    assert simulated.error.min(axis=(1, 2)) == pytest.approx(
        simulated.sky_rms, rel=0.02)


def test_the_truth_has_one_row_per_source(simulated):
    truth = simulated.truth
    assert isinstance(truth, QTable)
    assert len(truth) == len(simulated.models) > 3
    assert truth['flux_VIS'].unit == u.uJy
    assert truth['mag_H'].unit == u.ABmag
    assert (np.diff(truth['mag_VIS'].value) >= 0).all()
    assert truth['flux_J'].to(u.ABmag).value == pytest.approx(
        truth['mag_J'].value, abs=1e-3)


def test_models_have_the_fluxes_of_the_truth(simulated):
    inside = ((abs(simulated.truth['x'] - 84.5) < 40)
              & (abs(simulated.truth['y'] - 59.5) < 25))
    assert inside.any()
    for k in np.flatnonzero(inside):
        drawn = simulated.models[k][1].sum(axis=(1, 2), dtype=float)
        flux = [simulated.truth[f'flux_{band}'][k].value
                for band in simulated.bands]
        assert drawn == pytest.approx(flux, rel=0.1)


def test_sky_positions_follow_the_wcs(simulated):
    sky = simulated.wcs.pixel_to_world(simulated.truth['x'],
                                       simulated.truth['y'])
    assert sky.ra.deg == pytest.approx(simulated.truth['ra'].value)
    assert sky.dec.deg == pytest.approx(simulated.truth['dec'].value)


def test_a_field_follows_from_its_seed(simulated):
    again = draw_field(CONFIG, seed=5, keep_models=False)
    other = draw_field(CONFIG, seed=6, keep_models=False)
    assert (again.image == simulated.image).all()
    assert again.models is None
    assert (other.image != simulated.image).any()
    assert 'seed 5' in repr(again)


def test_a_field_without_sources_is_noise():
    empty = draw_field(FieldConfig(shape=(20, 30), galaxy_density=0,
                                   star_density=0, psf_pixels=31), seed=1)
    assert len(empty.truth) == 0
    assert (empty.noiseless == 0).all()
    assert empty.image.shape == (4, 20, 30)


def test_the_file_holds_bands_psfs_and_truth(simulated, tmp_path):
    path = tmp_path / 'field.fits'
    write_field(path, simulated)
    with fits.open(path) as hdus:
        for k, band in enumerate(simulated.bands):
            header = hdus[band].header
            assert hdus[band].data == pytest.approx(simulated.image[k],
                                                    rel=1e-6)
            assert header['MAGZERO'] == 23.9
            assert header['BUNIT'] == 'uJy'
            assert header['SKYRMS'] == simulated.sky_rms[k]
            assert header['GAIN'] == simulated.gain[k]
            assert hdus[f'ERROR_{band}'].data.min() > 0
            assert hdus[f'MASK_{band}'].data.max() <= 1
            assert hdus[f'PSF_{band}'].header['OVERSAMP'] == 3
        assert 'SATURATE' in hdus['VIS'].header
        scale = WCS(hdus['VIS'].header).proj_plane_pixel_scales()
        assert scale[0].to_value(u.arcsec) == pytest.approx(0.1)
        assert len(hdus['TRUTH'].data) == len(simulated.truth)
    with pytest.raises(OutputExistsError):
        write_field(path, simulated)


@pytest.mark.parametrize('change', [
    {'shape': (0, 10)}, {'shape': (10,)}, {'galaxy_density': -1.0},
    {'star_density': -1.0}, {'galaxy_density': np.nan},
    {'pair_share': 1.0}, {'bad_pixel_share': -0.1}, {'background': -1.0},
    {'shape': (40.5, 40)}, {'psf_pixels': 0}, {'wing_pixels': -5},
    {'mask_growth': -1}, {'density_mag': 10.0}, {'star_mags': (25, 16)},
    {'galaxy_mags': (18, np.nan)}, {'pair_distance': (2, 1)},
    {'pair_distance': (-1, 1)}, {'center_deg': (0, 95)}])
def test_bad_settings_are_refused(change):
    with pytest.raises(CatalogError, match='must be|give the'):
        FieldConfig(**{'shape': (10, 10), **change})


def test_a_field_does_not_depend_on_the_workers():
    config = FieldConfig(shape=(60, 70), survey=SURVEY, psf_pixels=25,
                         galaxy_density=200.0)
    one, two = (draw_field(config, seed=3, n_workers=n) for n in (1, 2))
    assert len(one.truth) > 5
    # FFTs round differently where memory is aligned differently
    rounding = 4 * np.finfo(np.float32).eps
    np.testing.assert_allclose(one.image, two.image, rtol=rounding,
                               atol=rounding * one.noiseless.max())
    np.testing.assert_allclose(one.truth['flux_inside_i'].value,
                               two.truth['flux_inside_i'].value,
                               rtol=1e-6)


def test_a_single_source_is_drawn_on_demand(simulated):
    without = draw_field(CONFIG, seed=5, keep_models=False)
    total = sum(without.make_source_image(k)
                for k in without.truth['id'])
    assert total == pytest.approx(simulated.noiseless, abs=1e-6
                                  * simulated.noiseless.max())
    for source_id in (1, len(without.truth)):
        assert (without.make_source_image(source_id)
                == simulated.make_source_image(source_id)).all()
    with pytest.raises(CatalogError, match='no source 0'):
        simulated.make_source_image(0)


def test_the_truth_says_what_is_on_the_image_and_shared(simulated):
    truth = simulated.truth
    for k, band in enumerate(simulated.bands):
        for row, (bbox, model) in zip(truth, simulated.models, strict=True):
            assert row[f'flux_inside_{band}'].value == pytest.approx(
                model[k].sum(), rel=1e-5)
            cut = simulated.noiseless[box_slices(bbox)][k]
            expected = 1 - ((model[k].astype(float) ** 2).sum()
                            / (model[k] * cut).sum())
            assert row[f'blendedness_{band}'] == pytest.approx(
                expected, abs=1e-6)
    assert (truth['blendedness_VIS'] >= -1e-6).all()
    assert (truth['blendedness_VIS'] < 1).all()


def test_the_noise_of_the_sky_has_no_scene_in_it(simulated):
    assert np.ptp(simulated.sky_error, axis=(1, 2)).max() == 0
    assert simulated.sky_error[:, 0, 0] == pytest.approx(simulated.sky_rms)


def measured_depth(simulated, k, n_sigma=5.0):
    """Depth from the scatter of fluxes fitted with the PSF."""
    psf = simulated.psf[k]
    start = psf.shape[0] // 2 % 3
    pixels = psf[start::3, start::3] * 9
    kernel = np.zeros(simulated.image.shape[1:])
    ny, nx = pixels.shape
    kernel[:ny, :nx] = pixels[::-1, ::-1]
    flux = np.fft.irfft2(np.fft.rfft2(simulated.image[k])
                         * np.fft.rfft2(kernel), kernel.shape)
    flux = flux[ny:, nx:] / (pixels ** 2).sum()
    return 23.9 - 2.5 * np.log10(n_sigma * flux.std())


@pytest.mark.parametrize('correlated', [False, True])
def test_the_depth_is_that_of_the_survey(correlated):
    empty = draw_field(FieldConfig(
        shape=(500, 500), galaxy_density=0, star_density=0, psf_pixels=61,
        correlated=correlated), seed=2)
    survey = get_survey('euclid-wide')
    for k, band in enumerate(survey.bands):
        measured = measured_depth(empty, k)
        if band.depth.aperture is None:
            assert measured == pytest.approx(band.depth.mag, abs=0.05)
        expected = point_depth(band, survey_psfs(survey, 61)[k])
        assert measured == pytest.approx(expected, abs=0.05)
    if correlated:
        assert empty.noise_correlation.round(3).tolist() == [1, 3, 3, 3]
        assert (empty.sky_rms[1:] < survey.sky_rms[1:] / 2).all()


def test_sums_have_the_stated_noise_correlation():
    empty = draw_field(FieldConfig(
        shape=(800, 800), survey='euclid-wide', galaxy_density=0,
        star_density=0, psf_pixels=61, correlated=True), seed=4)
    blocks = empty.image.reshape(4, 32, 25, 32, 25)
    sums = blocks.sum(axis=(2, 4)).std(axis=(1, 2))
    factor = sums / 25 / empty.sky_rms
    assert factor == pytest.approx(empty.noise_correlation, rel=0.12)


def test_each_band_can_have_pixels_of_its_own():
    config = FieldConfig(shape=(90, 120), survey='euclid-wide+lsst',
                         psf_pixels=61)
    native = draw_native_field(config, seed=5)
    common = draw_field(config, seed=5)
    assert native['VIS'].image.shape == (1, 90, 120)
    assert native['H'].image.shape == (1, 30, 40)
    assert native['i'].image.shape == (1, 45, 60)
    assert native['H'].pixel_scale == 0.3
    assert native['i'].pixel_scale == 0.2
    truth = common.truth
    for band in ('VIS', 'H', 'i'):
        part = native[band]
        assert part.truth[f'flux_{band}'].value == pytest.approx(
            truth[f'flux_{band}'].value)
        sky = part.wcs.all_pix2world(part.truth['x'], part.truth['y'], 0)
        assert sky[0] == pytest.approx(truth['ra'].value, abs=1e-9)
        assert sky[1] == pytest.approx(truth['dec'].value, abs=1e-9)
    # the same light falls on pixels of any size
    k = common.bands.index('H')
    middle = np.flatnonzero((abs(truth['x'] - 60) < 25)
                            & (abs(truth['y'] - 45) < 15))[0]
    assert native['H'].truth['flux_inside_H'][middle].value == pytest.approx(
        truth['flux_inside_H'][middle].value, rel=0.03)
    assert native['H'].noiseless.sum() == pytest.approx(
        common.noiseless[k].sum(), rel=0.05)


def test_native_fields_are_written_in_one_file(tmp_path):
    config = FieldConfig(shape=(60, 60), psf_pixels=31)
    native = draw_native_field(config, seed=5)
    path = tmp_path / 'native.fits'
    write_field(path, native)
    with fits.open(path) as hdus:
        assert hdus['VIS'].data.shape == (60, 60)
        assert hdus['H'].data.shape == (20, 20)
        names = hdus['TRUTH'].columns.names
        assert {'x', 'x_H', 'flux_H', 'blendedness_VIS'} <= set(names)


def test_clusters_are_crowded_and_named():
    cluster = Cluster(x=60.0, y=50.0, n_members=12, member_radius=4.0,
                      bcg_mag=18.5, icl_radius=5.0, bcg_radius=1.5)
    config = FieldConfig(shape=(100, 120), survey=SURVEY, psf_pixels=25,
                         galaxy_density=0, star_density=0,
                         clusters=(cluster,))
    truth = draw_field(config, seed=1).truth
    kinds = list(truth['kind'])
    assert kinds.count('bcg') == kinds.count('icl') == 1
    assert kinds.count('member') >= 8
    bcg = truth[kinds.index('bcg')]
    assert (bcg['x'], bcg['y']) == (60.0, 50.0)
    icl = truth[kinds.index('icl')]
    ratio = float(icl['flux_i'] / bcg['flux_i'])
    assert ratio == pytest.approx(0.3, rel=1e-6)


def test_bad_pixels_are_masked_and_hold_no_number():
    config = FieldConfig(shape=(80, 90), survey=SURVEY, psf_pixels=25,
                         bad_pixel_share=0.05)
    simulated = draw_field(config, seed=1)
    share = simulated.mask.mean()
    assert 0.02 < share < 0.1
    assert np.isnan(simulated.image[simulated.mask]).all()
    assert np.isfinite(simulated.image[~simulated.mask]).all()


def test_a_residual_background_is_known():
    config = FieldConfig(shape=(80, 90), survey=SURVEY, psf_pixels=25,
                         background=0.5)
    plain = FieldConfig(shape=(80, 90), survey=SURVEY, psf_pixels=25)
    one, two = draw_field(config, seed=1), draw_field(plain, seed=1)
    assert two.background is None
    assert one.image - two.image == pytest.approx(one.background)
    ratio = np.sqrt((one.background ** 2).mean(axis=(1, 2))) / one.sky_rms
    assert ratio.mean() == pytest.approx(0.5, rel=0.6)


def test_a_varying_psf_is_that_of_the_gridded_model():
    config = FieldConfig(
        shape=(90, 110), survey=SURVEY, psf_pixels=31, galaxy_density=0,
        star_density=40.0, star_mags=(18.0, 20.0),
        psf_variation=PSFVariation(widening=0.2, ellipticity=0.1))
    simulated = draw_field(config, seed=2)
    assert simulated.psf_nodes.shape[:2] == (5, 9)
    model = simulated.psf_model('r')
    k = simulated.bands.index('r')
    y, x = np.mgrid[:90, :110]
    for source_id in simulated.truth['id'][:3]:
        row = simulated.truth[source_id - 1]
        drawn = simulated.make_source_image(source_id)[k]
        flux = row['flux_r'].value
        expected = model.evaluate(x, y, flux, row['x'], row['y'])
        assert drawn == pytest.approx(expected, abs=3e-3 * expected.max())


@pytest.mark.parametrize('variation', [
    None, PSFVariation(widening=0.2, ellipticity=0.1)])
def test_bright_stars_have_wings_beyond_the_box(variation):
    config = FieldConfig(shape=(140, 140), survey=SURVEY, psf_pixels=31,
                         wing_pixels=121, galaxy_density=0,
                         star_density=60.0, star_mags=(15.0, 16.0),
                         psf_variation=variation)
    simulated = draw_field(config, seed=3)
    bbox, model = simulated.models[0]
    assert max(bbox.shape) > 60
    flux = simulated.truth['flux_i'][0].value
    star = simulated.sources[0]
    iy, ix = np.indices(model.shape[1:])
    far = np.maximum(abs(iy + bbox.iymin - star.y),
                     abs(ix + bbox.ixmin - star.x)) > 16
    wings = model[0][far].sum() / flux
    assert 1e-4 < wings < 0.1
    assert model[0][~far].sum() / flux == pytest.approx(1, abs=5e-3)
    psf = simulated.psf_model('i').evaluate(
        ix + bbox.ixmin, iy + bbox.iymin, flux, star.x, star.y)
    assert model[0][~far] == pytest.approx(psf[~far], abs=3e-3 * psf.max())


def test_models_come_back_from_the_file(simulated, tmp_path):
    from vaephot.simulate.field_files import read_models

    path = tmp_path / 'field.fits'
    write_field(path, simulated, with_models=True, with_noiseless=True)
    found = read_models(path)
    assert list(found) == list(simulated.truth['id'])
    for (box, model), (bbox, original) in zip(
            found.values(), simulated.models, strict=True):
        assert box == bbox
        assert (model == original).all()
    with fits.open(path) as hdus:
        total = np.zeros(simulated.noiseless.shape)
        for box, model in found.values():
            total[box_slices(box)] += model
        for k, band in enumerate(simulated.bands):
            assert total[k] == pytest.approx(
                hdus[f'NOISELESS_{band}'].data, rel=1e-6,
                abs=1e-6 * total[k].max())
