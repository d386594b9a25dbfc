# Licensed under a 3-clause BSD style license - see LICENSE.rst
import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import QTable
from astropy.wcs import WCS

from vaephot.exceptions import CatalogError, OutputExistsError
from vaephot.simulate.fields import (
    FieldConfig,
    _draw_sources,
    draw_field,
    write_field,
)
from vaephot.simulate.survey import get_survey

pytestmark = pytest.mark.galsim

CONFIG = FieldConfig(shape=(120, 170), psf_pixels=61, star_density=20.0)


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


def test_the_density_is_that_of_the_configuration():
    config = FieldConfig(shape=(2400, 2400), pair_share=0.0)
    survey = get_survey(config.survey)
    sources = _draw_sources(np.random.default_rng(1), config, survey)
    galaxies = [s for s in sources if not s.is_star and s.mags[0] < 26]
    assert len(galaxies) / 16 == pytest.approx(130, rel=0.1)
    assert sum(s.is_star for s in sources) / 16 == pytest.approx(5, rel=0.3)


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
    {'star_density': -1.0}])
def test_bad_settings_are_refused(change):
    with pytest.raises(CatalogError, match='must be|negative'):
        FieldConfig(**{'shape': (10, 10), **change})
