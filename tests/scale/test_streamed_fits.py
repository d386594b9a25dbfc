# Licensed under a 3-clause BSD style license - see LICENSE.rst
import io

import numpy as np
import pytest
from astropy.io import fits

from vaephot.exceptions import VaephotError
from vaephot.scale.streamed_fits import BLANK, CompressedImage


def write(path, image, n_rows, header=None):
    content = io.BytesIO()
    fits.PrimaryHDU().writeto(content)
    with path.open('w+b') as file:
        file.write(content.getvalue())
        for name in ('ONE', 'TWO'):
            made = CompressedImage(file, header or fits.Header(), name,
                                   image.shape, n_rows)
            for first in range(0, len(image), n_rows):
                made.write(image[first:first + n_rows])
            made.close()


@pytest.mark.parametrize(('shape', 'n_rows'), [
    ((30, 40), 30), ((530, 700), 128), ((530, 300), 1), ((90, 1000), 77)])
def test_rows_come_back(tmp_path, shape, n_rows):
    image = np.random.default_rng(1).integers(
        -50_000, 2**30, shape).astype(np.int32)
    write(tmp_path / 'image.fits', image, n_rows)
    with fits.open(tmp_path / 'image.fits') as hdus:
        hdus.verify('exception')
        for name in ('ONE', 'TWO'):
            assert (hdus[name].data == image).all()
            assert (hdus[name].section[5:17, 3:20] == image[5:17, 3:20]).all()
    assert (tmp_path / 'image.fits').stat().st_size % 2880 == 0


def test_values_in_steps_come_back_with_blanks(tmp_path):
    image = np.arange(600, dtype=np.int32).reshape(20, 30)
    image[3, 4] = BLANK
    header = fits.Header({'BSCALE': 0.5, 'BZERO': 0.0, 'BLANK': BLANK,
                          'BUNIT': 'uJy'})
    write(tmp_path / 'image.fits', image, 10, header)
    with fits.open(tmp_path / 'image.fits') as hdus:
        assert hdus[1].header['BUNIT'] == 'uJy'
        data = hdus[1].data
    assert np.isnan(data[3, 4])
    assert np.isfinite(data).sum() == 599
    assert np.nanmax(data) == 0.5 * 599


def test_the_bytes_do_not_depend_on_the_day(tmp_path):
    image = np.eye(300, dtype=np.int32)
    for name in ('a', 'b'):
        write(tmp_path / name, image, 100)
    assert (tmp_path / 'a').read_bytes() == (tmp_path / 'b').read_bytes()


def test_an_image_with_rows_missing_is_not_closed(tmp_path):
    with (tmp_path / 'image').open('w+b') as file:
        made = CompressedImage(file, fits.Header(), 'X', (20, 10), 10)
        made.write(np.zeros((10, 10), np.int32))
        with pytest.raises(VaephotError, match='10 of 20 rows'):
            made.close()
