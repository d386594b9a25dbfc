# Licensed under a 3-clause BSD style license - see LICENSE.rst
import gzip
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

import vaephot
from vaephot.simulate.shipped_field import (
    DEMO_SEED,
    draw_demo_field,
    write_demo_field,
)

SHIPPED = Path(vaephot.__file__).parent / 'cli/data/demo_field.fits.gz'


def test_the_shipped_field_is_small_and_whole():
    assert SHIPPED.stat().st_size < 1.5e6
    with fits.open(SHIPPED) as hdus:
        for band in ('VIS', 'Y', 'J', 'H'):
            assert hdus[band].data.shape == (256, 256)
            assert np.isfinite(hdus[band].data).all()
            assert hdus[band].header['SEED'] == DEMO_SEED
            assert hdus[f'PSF_{band}'].data.sum() == pytest.approx(
                1, abs=2e-3)
        assert hdus['TRUTH'].data['is_star'].sum() >= 1


@pytest.mark.galsim
def test_the_shipped_field_is_what_the_function_draws(tmp_path):
    path = tmp_path / 'demo.fits.gz'
    write_demo_field(path)
    drawn = draw_demo_field()
    with fits.open(path) as new, fits.open(SHIPPED) as old:
        for k, band in enumerate(drawn.bands):
            step = drawn.sky_rms[k] / 16
            assert new[band].data == pytest.approx(drawn.image[k],
                                                   abs=step)
            # another version of GalSim may round a pixel differently
            assert new[band].data == pytest.approx(old[band].data,
                                                   abs=2 * step)
    assert gzip.decompress(path.read_bytes())[:6] == b'SIMPLE'
