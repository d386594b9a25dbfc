# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Small images and what must hold for every observation of them."""

import numpy as np
from astropy.wcs import WCS
from scipy.ndimage import gaussian_filter

from vaephot.deblend.inputs.read import prepare_observation

NY, NX = 40, 50


def make_data(n_bands=None, seed=0):
    shape = (NY, NX) if n_bands is None else (n_bands, NY, NX)
    return np.random.default_rng(seed).normal(0, 2, shape)


def make_wcs(x0=10.0, scale=1e-4):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = 'RA---TAN', 'DEC--TAN'
    wcs.wcs.crval = 30, 10
    wcs.wcs.crpix = x0, 10
    wcs.wcs.cdelt = -scale, scale
    return wcs


def crowded(n, size=300, *, seed=0, smoothing=0.0):
    """Noise of 1 with n round galaxies, and the light of these, (ny, nx)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    light = np.zeros((size, size))
    flux = 30 + 30 * rng.pareto(1.0, n).clip(0, 300)
    for x0, y0, total, sigma in zip(*rng.uniform(0, size, (2, n)), flux,
                                    rng.uniform(1.3, 4, n), strict=True):
        part = np.s_[max(int(y0 - 6 * sigma), 0):int(y0 + 6 * sigma) + 1,
                     max(int(x0 - 6 * sigma), 0):int(x0 + 6 * sigma) + 1]
        light[part] += total / (2 * np.pi * sigma**2) * np.exp(
            -0.5 * ((x[part] - x0)**2 + (y[part] - y0)**2) / sigma**2)
    noise = rng.standard_normal(light.shape)
    if smoothing:
        noise = gaussian_filter(noise, smoothing)
    return light + noise / noise.std(), light


def prepare(data, **options):
    options = {'error': 2.0, 'psf': 3.0, **options}
    obs = prepare_observation(data, **options)
    n_bands, ny, nx = obs.data.shape
    for name in ('data', 'variance'):
        array = getattr(obs, name)
        assert array.dtype == np.float64
        assert array.dtype.isnative
    assert obs.data.flags.c_contiguous
    assert np.isfinite(obs.data).all()
    assert obs.mask.shape == obs.data.shape
    assert obs.mask.dtype == bool
    assert (obs.data[obs.mask] == 0).all()
    assert (obs.variance > 0).all()
    assert obs.variance.shape in ((n_bands, ny, nx), (n_bands, 1, 1))
    assert len(obs.bands) == len(obs.psfs) == n_bands
    assert obs.noise_correlation.shape == (n_bands,)
    return obs
