# Licensed under a 3-clause BSD style license - see LICENSE.rst
import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import QTable
from photutils.aperture import BoundingBox

from vaephot.evaluate.observed import (
    clean_image,
    has_models,
    paste_models,
    read_observed,
)
from vaephot.exceptions import CatalogError


def test_rows_of_a_blend_are_its_sources(make_observed):
    truth = make_observed(5).truth
    for k in range(5):
        assert (truth.blend[truth.rows(k)] == k).all()
    assert sum(truth.rows(k).stop - truth.rows(k).start
               for k in range(5)) == len(truth)


def test_pasted_models_add_up_with_their_factors():
    models = [(BoundingBox(0, 2, 1, 2), np.ones((1, 1, 2))),
              (BoundingBox(1, 3, 0, 2), np.ones((1, 2, 2)))]
    image = paste_models(models, (1, 2, 3), [[1], [10]])
    assert image.tolist() == [[[0, 10, 10], [1, 11, 10]]]
    assert paste_models([], (1, 2, 2)).sum() == 0


def test_the_clean_image_is_the_image_without_noise(make_observed):
    observed = make_observed(3, noise=0)
    for k in range(3):
        assert clean_image(observed, k) == pytest.approx(observed.image[k])


def field_hdus():
    truth = QTable({'x': [5.0, 12], 'y': [4.0, 9], 'is_star': [False, True],
                    'flux_VIS': [1.0, 2] * u.uJy,
                    'half_light_radius': [0.3, 0] * u.arcsec,
                    'eta1': [0.1, 0], 'eta2': [0.0, 0]})
    image = np.arange(300, dtype=np.float32).reshape(15, 20)
    header = fits.Header({'SKYRMS': 0.1, 'GAIN': 5.0, 'MAGZERO': 23.9,
                          'CDELT1': -0.1 / 3600, 'SATURATE': 299.0,
                          'SEED': 3})
    psf = fits.ImageHDU(np.ones((3, 3)), name='PSF_VIS')
    psf.header['OVERSAMP'] = 3
    table = fits.table_to_hdu(truth)
    table.name = 'TRUTH'
    return fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(
        image, header, name='VIS'), psf, table])


def test_a_field_is_one_blend_with_all_sources_scored(tmp_path):
    field_hdus().writeto(tmp_path / 'field.fits')
    observed = read_observed(tmp_path / 'field.fits')
    assert len(observed) == 1
    assert observed.shape == (15, 20)
    assert observed.bands == ('VIS',)
    assert observed.pixel_scale == pytest.approx(0.1)
    assert observed.truth.is_scored.all()
    assert observed.truth.half_light_radius == pytest.approx([3, 0])
    assert observed.true_mags[:, 0] == pytest.approx(
        [23.9, 23.9 - 2.5 * np.log10(2)])
    assert observed.mask[0, 0].sum() == 1  # the saturated pixel
    shift = observed.positions[0] - observed.truth.xy
    assert 0 < np.abs(shift).max() < 1.2


def test_a_file_without_truth_or_noise_says_what_is_missing(tmp_path):
    hdus = field_hdus()
    del hdus['VIS'].header['SKYRMS']
    hdus.writeto(tmp_path / 'a.fits')
    with pytest.raises(CatalogError, match='SKYRMS'):
        read_observed(tmp_path / 'a.fits')
    hdus[:3].writeto(tmp_path / 'b.fits')
    with pytest.raises(CatalogError, match='TRUTH'):
        read_observed(tmp_path / 'b.fits')


@pytest.mark.galsim
def test_simulated_blends_are_what_methods_see(tmp_path):
    from vaephot.simulate import draw_blends, write_blends

    blends = draw_blends('faint', 2, seed=4)
    write_blends(tmp_path / 'faint.npz', blends)
    observed = read_observed(tmp_path / 'faint.npz')
    assert len(observed.truth) == blends.n_sources.sum()
    assert observed.truth.is_scored.sum() == 2
    assert observed.truth.flux[0] == pytest.approx(blends.flux[0, 0])
    residual = (observed.image[0] - clean_image(observed, 0)
                ) / observed.truth.error[0]
    assert residual.std() == pytest.approx(1, abs=0.05)
    everything = read_observed(tmp_path / 'faint.npz', score='all')
    assert everything.truth.is_scored.all()
    write_blends(tmp_path / 'faint.fits', blends)
    other = read_observed(tmp_path / 'faint.fits')
    assert (other.image == observed.image).all()
    assert (other.truth.flux == observed.truth.flux).all()
    assert (clean_image(other, 1) == clean_image(observed, 1)).all()


@pytest.mark.galsim
def test_models_of_a_field_are_part_of_its_truth(tmp_path):
    from vaephot.simulate import FieldConfig, draw_field, write_field

    simulated = draw_field(FieldConfig(shape=(60, 60), survey='hsc-wide',
                                       psf_pixels=25), seed=2)
    path = tmp_path / 'f.fits'
    write_field(path, simulated)
    assert not has_models(path)
    assert read_observed(path).truth.models is None
    write_field(path, simulated, with_models=True, overwrite=True)
    assert has_models(path)
    observed = read_observed(path)
    assert clean_image(observed, 0) == pytest.approx(
        simulated.noiseless, abs=1e-6 * simulated.noiseless.max())
    assert observed.truth.error[0] == pytest.approx(simulated.error)
