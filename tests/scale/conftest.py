# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Small mosaics of round Gaussian sources, and a Dask client in a thread."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

SHAPE, FWHM, NOISE = (150, 190), 3.0, 1.0


def make_wcs(x0=0.0, y0=0.0):
    """Coordinates of pixels that begin at a place of the mosaic."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ['RA---TAN', 'DEC--TAN']
    wcs.wcs.crval = [150.0, 2.0]
    wcs.wcs.crpix = [95.5 - x0, 75.5 - y0]
    wcs.wcs.cdelt = [-0.1 / 3600, 0.1 / 3600]
    return wcs


def draw(shape=SHAPE, seed=1, step=24, noise=NOISE):
    """Image of stars on a jittered grid, all over the seams."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[step // 2:shape[0]:step, step // 2:shape[1]:step]
    x = x.ravel() + rng.uniform(-6, 6, x.size)
    y = y.ravel() + rng.uniform(-6, 6, y.size)
    flux = rng.uniform(150, 900, x.size)
    sigma = FWHM / 2.3548
    iy, ix = np.indices(shape)
    image = rng.normal(scale=noise, size=shape)
    for k in range(x.size):
        image += flux[k] / (2 * np.pi * sigma**2) * np.exp(
            -0.5 * ((ix - x[k])**2 + (iy - y[k])**2) / sigma**2)
    return image.astype(np.float32), x, y, flux


@pytest.fixture(scope='session')
def sky():
    """Return an image, and x, y and flux of its sources."""
    return draw()


@pytest.fixture(scope='session')
def image_file(sky, tmp_path_factory):
    """Return a file with the image and its coordinates."""
    path = tmp_path_factory.mktemp('mosaic') / 'image.fits'
    header = make_wcs().to_header()
    header['BUNIT'] = 'uJy'
    fits.writeto(path, sky[0], header)
    return path


@pytest.fixture(scope='session')
def weights(make_untrained, tmp_path_factory):
    """Return the path of weights of small, untrained networks."""
    return str(make_untrained(
        tmp_path_factory.mktemp('weights') / 'tiny.safetensors'))


@pytest.fixture(scope='session')
def client():
    """Return a Dask client whose worker is a thread of this process."""
    distributed = pytest.importorskip('distributed')
    pytest.importorskip('pyarrow')
    with distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, processes=False,
            dashboard_address=':0') as cluster, distributed.Client(
                cluster) as made:
        yield made


@pytest.fixture(scope='session')
def call(weights):
    """Return the arguments of a quick run, but for the input."""
    return {'error': NOISE, 'psf': FWHM, 'refine': False,
            'weights': weights, 'quiet': True}


@pytest.fixture(scope='session')
def whole(image_file, client, call, tmp_path_factory):
    """Return the result of the mosaic as one tile."""
    from vaephot.scale import deblend_mosaic

    return deblend_mosaic(image_file, tmp_path_factory.mktemp('run') / 'whole',
                          tile=256, client=client,
                          write_images=('model', 'residual'), **call)


@pytest.fixture(scope='session')
def tiled(image_file, client, call, tmp_path_factory):
    """Return the result of the same in tiles of 80 pixels."""
    from vaephot.scale import deblend_mosaic

    return deblend_mosaic(image_file, tmp_path_factory.mktemp('run') / 'tiled',
                          tile=80, client=client,
                          write_images=('model', 'residual'), **call)
