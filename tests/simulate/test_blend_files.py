# Licensed under a 3-clause BSD style license - see LICENSE.rst
import pytest
from astropy.io import fits

from vaephot.exceptions import StoreError
from vaephot.simulate.blend_files import read


def test_a_fits_file_without_the_cubes_is_refused(tmp_path):
    path = tmp_path / 'x.fits'
    fits.PrimaryHDU().writeto(path)
    with pytest.raises(StoreError, match='MODELS'):
        read(path, [])
