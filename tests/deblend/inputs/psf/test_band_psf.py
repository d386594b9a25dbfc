# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest

from vaephot.deblend.inputs.psf import band_psf, make_band_psfs
from vaephot.deblend.inputs.psf.band_psf import StarOrigin

SHAPE = (60, 80)


def test_the_cache_is_bounded(monkeypatch):
    monkeypatch.setattr(band_psf, 'MAX_CACHE_BYTES', 100_000)
    (made,) = make_band_psfs(lambda x, y, band: 3.0, ['g'], SHAPE)
    for x in range(60):
        made.sample(x, 0)
    assert 1 <= len(made._cache) < 20


def test_samples_cannot_be_written_to():
    (made,) = make_band_psfs(3.0, ['g'], SHAPE)
    image, _ = made.sample(20, 30)
    with pytest.raises(ValueError, match='read-only'):
        image[0, 0] = 1
    assert 'FWHM 3 ' in repr(made)


def test_a_replaced_psf_has_the_same_samples():
    (made,) = make_band_psfs(3.0, ['g'], SHAPE)
    stars = StarOrigin(x=np.zeros(4), y=np.zeros(4), n_candidates=9)
    other = made.replace(stars=stars)
    assert made.stars is None
    assert other.stars is stars
    assert (other.sample(0, 0)[0] == made.sample(0, 0)[0]).all()
    assert other.describe() == 'FWHM 3 px, built from 4 stars'
