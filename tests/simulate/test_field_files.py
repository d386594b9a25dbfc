# Licensed under a 3-clause BSD style license - see LICENSE.rst
import pytest
from astropy.io import fits

from vaephot.exceptions import StoreError
from vaephot.simulate.field_files import (
    BAD,
    SATURATED,
    field_hdus,
    read_models,
)
from vaephot.simulate.fields import FieldConfig, draw_field
from vaephot.simulate.instrument import PSFVariation

pytestmark = pytest.mark.galsim

SMALL = {'shape': (50, 60), 'survey': 'hsc-wide', 'psf_pixels': 25}


def test_masks_tell_bad_from_saturated_pixels():
    simulated = draw_field(FieldConfig(**SMALL, bad_pixel_share=0.05),
                           seed=1)
    simulated.saturated[:, 3, 4] = True
    simulated.mask[:, 3, 4] = True
    bits = field_hdus(simulated)['MASK_i'].data
    assert bits[3, 4] & SATURATED
    assert ((bits & BAD) > 0).sum() > 5


def test_noise_of_the_sky_is_written_beside_the_total():
    hdus = field_hdus(draw_field(FieldConfig(**SMALL), seed=1))
    sky = hdus['SKYERR_i'].data
    assert (sky == sky[0, 0]).all()
    assert (hdus['ERROR_i'].data >= sky - 1e-9).all()
    assert hdus['i'].header['NCORR'] == 1


def test_a_varying_psf_is_a_cube_with_places():
    config = FieldConfig(**SMALL, psf_variation=PSFVariation(n_nodes=2))
    hdu = field_hdus(draw_field(config, seed=1))['PSF_g']
    assert hdu.data.shape == (4, 75, 75)
    assert (hdu.header['NODEX3'], hdu.header['NODEY3']) == (59, 49)


def test_models_that_were_not_kept_cannot_be_written(tmp_path):
    simulated = draw_field(FieldConfig(**SMALL), seed=1, keep_models=False)
    with pytest.raises(StoreError, match='keep_models'):
        field_hdus(simulated, with_models=True)
    fits.PrimaryHDU().writeto(tmp_path / 'x.fits')
    with pytest.raises(StoreError, match='no extension MODELS'):
        read_models(tmp_path / 'x.fits')
