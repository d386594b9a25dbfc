# Licensed under a 3-clause BSD style license - see LICENSE.rst
from concurrent.futures import ThreadPoolExecutor

import astropy.units as u
import numpy as np
import pytest
from astropy.modeling.models import AiryDisk2D, Gaussian2D, Moffat2D
from astropy.nddata import NDData
from numpy.testing import assert_allclose, assert_array_equal
from photutils.psf import (
    AiryDiskPSF,
    CircularGaussianPRF,
    CircularGaussianPSF,
    GaussianPSF,
    GriddedPSFModel,
    ImagePSF,
    MoffatPSF,
)
from scipy.special import erf

from vaephot.deblend.inputs.psf import (
    MAX_PSF_PIXELS,
    centroid,
    make_band_psfs,
    measure_fwhm,
)
from vaephot.exceptions import BandMismatchError, PSFError

SHAPE = (60, 80)


def gaussian(shape, x, y, fwhm):
    yy, xx = np.mgrid[:shape[0], :shape[1]]
    sigma = fwhm / 2.354820045
    return np.exp(-0.5 * ((xx - x)**2 + (yy - y)**2) / sigma**2)


def one(psf):
    (made,) = make_band_psfs(psf, ['r'], SHAPE)
    image, oversampling = made.sample(20.3, 30.7)
    check(image)
    return made, image, oversampling


def check(image):
    """What holds for every sample."""
    assert image.dtype == np.float64
    assert image.shape[0] == image.shape[1]
    assert image.shape[0] % 2 == 1
    assert_allclose(image.sum(), 1, rtol=1e-12)
    assert_allclose(centroid(image), image.shape[0] // 2, atol=0.01)


@pytest.mark.parametrize('fwhm', [0.9, 1.6, 3.0, 5.5, np.float32(4), 3,
                                  2.5 * u.pix, np.array(2.5)])
def test_a_number_is_the_fwhm_of_a_gaussian(fwhm):
    made, _, oversampling = one(fwhm)
    value = float(getattr(fwhm, 'value', fwhm))
    assert_allclose(made.fwhm, value, rtol=0.01)
    assert value * oversampling >= 4 - 1e-6
    assert not made.varies


@pytest.mark.parametrize('size', [20, 21, 25, 26])
@pytest.mark.parametrize('fwhm', [2.5, 3.5])
def test_arrays_are_centred_whatever_their_parity(size, fwhm):
    data = 7 * gaussian((size, size), (size - 1) / 2, (size - 1) / 2, fwhm)
    made, image, oversampling = one(data)
    assert oversampling == 1
    assert_allclose(made.fwhm, fwhm, rtol=0.03)
    half = image.shape[0] // 2
    want = gaussian(image.shape, half, half, fwhm)
    # a narrow PSF shifted by half a pixel rings
    atol = 1e-2 if size % 2 == 0 else 1e-12
    assert_allclose(image, want / want.sum(), atol=atol)


@pytest.mark.parametrize(('x', 'y'), [(10, 10), (10, 9), (10.3, 9.8),
                                      (9.5, 9.5), (7, 12.4)])
def test_an_array_off_its_middle_is_recentred(x, y):
    _, image, _ = one(gaussian((20, 20), x, y, 3.0))
    half = image.shape[0] // 2
    want = gaussian(image.shape, half, half, 3.0)
    assert_allclose(image, want / want.sum(), atol=1e-3)


def test_a_centred_odd_array_is_not_resampled():
    data = gaussian((21, 21), 10, 10, 2.4)
    data[3, 15] = 0.1  # structure is kept
    _, image, _ = one(data)
    assert_array_equal(image, data / data.sum())


@pytest.mark.parametrize('fwhm', [1.4, 1.7, 2.0])
def test_a_sharp_array_has_no_ripples_between_its_samples(fwhm):
    # what pixels see of a Gaussian, at their centres and a step from them
    sigma = fwhm / 2.3548200450309493

    def pixels(offset):
        edges = np.arange(-10.5, 11) - offset
        one = np.diff(0.5 * erf(edges / sigma / np.sqrt(2)))
        return one[:, None] * one
    _, image, oversampling = one(pixels(0.0))
    assert oversampling == 4
    middle = image.shape[0] // 2
    for step in range(1, 3):
        index = middle + 4 * np.arange(-9, 10) - step
        here = 16 * image[np.ix_(index, index)]
        there = pixels(step / 4)[1:-1, 1:-1]
        # a Fourier series is 0.049, 0.019 and 0.006 off
        most = {1.4: 0.025, 1.7: 0.005, 2.0: 0.005}[fwhm]
        assert abs(here - there).max() < most * there.max()


def test_an_array_need_not_be_square():
    _, image, _ = one(gaussian((15, 31), 15, 7, 3.0))
    assert image.shape == (31, 31)


@pytest.mark.parametrize('dtype', ['>f4', 'i4', 'u2'])
def test_arrays_of_any_real_dtype(dtype):
    data = np.round(1000 * gaussian((21, 21), 10, 10, 3.0)).astype(dtype)
    before = data.copy()
    one(data)
    assert_array_equal(data, before)
    one(data.tolist())
    one(NDData(data))
    one(data << u.Jy)


def test_a_single_pixel_is_a_psf():
    made, image, _ = one(np.ones((1, 1)))
    assert image.shape == (1, 1)
    assert 0.5 < made.fwhm < 2


@pytest.mark.parametrize('oversampling', [1, 3, 4])
def test_an_image_psf_keeps_its_data(oversampling):
    data = gaussian((31, 31), 15, 15, 6.0)
    made, image, got = one(ImagePSF(data, oversampling=oversampling))
    assert got == oversampling
    assert_array_equal(image, data / data.sum())
    assert_allclose(made.fwhm, 6 / oversampling, rtol=0.02)


@pytest.mark.parametrize(('shape', 'origin', 'oversampling'), [
    ((40, 40), None, 3), ((31, 41), None, (2, 4)), ((41, 31), None, (4, 2)),
    ((31, 31), (14.0, 17.0), 3), ((31, 31), (14.3, 16.6), 3)])
def test_an_image_psf_is_what_photutils_evaluates(shape, origin,
                                                  oversampling):
    oy, ox = np.broadcast_to(oversampling, 2)
    x, y = origin or ((shape[1] - 1) / 2, (shape[0] - 1) / 2)
    yy, xx = np.mgrid[:shape[0], :shape[1]]
    data = np.exp(-0.5 * (((xx - x) / ox)**2 + ((yy - y) / oy)**2) / 0.9**2)
    model = ImagePSF(data, origin=origin, oversampling=oversampling)
    _, image, got = one(model)
    assert got == max(oy, ox)
    half = image.shape[0] // 2
    yy, xx = (np.mgrid[:2 * half + 1, :2 * half + 1] - half) / got
    want = model(xx, yy)
    assert_allclose(image, want / want.sum(), atol=1e-10)


@pytest.mark.parametrize(('model', 'fwhm'), [
    (CircularGaussianPSF(fwhm=3.0, x_0=20, y_0=30, flux=9), 3.0),
    (GaussianPSF(x_fwhm=2.0, y_fwhm=3.0, theta=40), 6**0.5),
    (CircularGaussianPRF(fwhm=1.3), None),
    (MoffatPSF(alpha=2.0, beta=2.5), 2 * 2 * (2**0.4 - 1)**0.5),
    (AiryDiskPSF(radius=3.0), None),
    (Gaussian2D(5, 10, 12, 1.5, 1.5), 1.5 * 2.35482),
    (Moffat2D(5, 10, 12, 2.0, 3.0), 2 * 2 * (2**(1 / 3) - 1)**0.5),
    (AiryDisk2D(1, 4, 5, 3.0), None),
    (Gaussian2D(5, 1, 2, 1.5, 1.5) + Gaussian2D(1, 1, 2, 3, 3), None)])
def test_models_are_sampled_finely_and_hold_their_light(model, fwhm):
    made, image, oversampling = one(model)
    if fwhm is not None:
        assert_allclose(made.fwhm, fwhm, rtol=0.01)
    assert made.fwhm * oversampling > 3.4
    if hasattr(model, 'flux') and 'Airy' not in type(model).__name__:
        half = image.shape[0] // 2
        steps = np.arange(-half, half + 1) / oversampling
        xx, yy = np.meshgrid(steps + model.x_0, steps + model.y_0)
        light = model(xx, yy).sum() / oversampling**2 / model.flux
        assert light > 0.998


def test_the_pixel_is_part_of_an_integrated_model():
    narrow, *_ = one(CircularGaussianPRF(fwhm=1.0))
    assert narrow.fwhm > 1.15


def grid_model(oversampling=4, size=41):
    positions = [(x, y) for x in (0, 40, 80) for y in (0, 60)]
    half = (size - 1) / 2
    images = [gaussian((size, size), half, half, 8 + x / 10 + y / 20)
              for x, y in positions]
    images = [image / image.sum() * oversampling**2 for image in images]
    return GriddedPSFModel(NDData(np.array(images), meta={
        'grid_xypos': positions, 'oversampling': oversampling}))


@pytest.mark.parametrize('size', [41, 42])
@pytest.mark.parametrize(('x', 'y'), [(0, 0), (20, 30), (75, 10), (99, -5)])
def test_a_grid_is_what_photutils_evaluates(size, x, y):
    model = grid_model(size=size)
    (made,) = make_band_psfs(model, ['r'], SHAPE)
    assert made.varies
    image, oversampling = made.sample(x, y)
    check(image)
    half = image.shape[0] // 2
    yy, xx = (np.mgrid[:2 * half + 1, :2 * half + 1] - half) / oversampling
    want = model.evaluate(x + xx, y + yy, 1, x, y)
    assert_allclose(image, want / want.sum(), atol=1e-9)


def test_a_function_may_return_anything_and_is_cached():
    calls = []

    def psf(x, y, band):
        calls.append((x, y, band))
        if x < 20:
            return 2.0 + 0.01 * y
        return CircularGaussianPSF(fwhm=3.0)

    (made,) = make_band_psfs(psf, ['g'], SHAPE)
    assert made.varies
    assert_allclose(made.fwhm, 3.0, rtol=0.02)
    assert calls == [(40.0, 30.0, 'g')]
    for _ in range(3):
        check(made.sample(10.2, 50.4)[0])
    assert calls[1:] == [(10.0, 50.0, 'g')]
    assert_allclose(measure_fwhm(*made.sample(10, 50)), 2.5, rtol=0.01)


def test_the_oversampling_of_a_function_is_one():
    (made,) = make_band_psfs(lambda x, y, band: 0.5 + x / 10, ['g'], SHAPE)
    for x in (15, 20, 79):
        image, oversampling = made.sample(x, 30)
        check(image)
        assert oversampling == 1
        assert_allclose(measure_fwhm(image), 0.5 + x / 10, rtol=0.35)

    def psf(x, y, band):
        return ImagePSF(gaussian((31, 31), 15, 15, 6.0),
                        oversampling=2 if x < 50 else 3)

    (made,) = make_band_psfs(psf, ['g'], SHAPE)
    with pytest.raises(PSFError, match='3 at'):
        made.sample(70, 30)


def test_threads_get_the_same_samples():
    (made,) = make_band_psfs(grid_model(), ['r'], SHAPE)
    with ThreadPoolExecutor(4) as pool:
        images = list(pool.map(lambda x: made.sample(x % 7, 0)[0],
                               range(100)))
    for x, image in enumerate(images):
        assert_array_equal(image, images[x % 7])


@pytest.mark.parametrize('psf', [
    {'r': 2.0, 'g': 3.0}, [3.0, 2.0], (3.0, 2.0), np.array([3.0, 2.0]),
    [gaussian((21, 21), 10, 10, 3.0), gaussian((15, 15), 7, 7, 2.0)],
    np.array([gaussian((21, 21), 10, 10, f) for f in (3.0, 2.0)]),
    [3.0, CircularGaussianPSF(fwhm=2.0)]])
def test_one_psf_per_band(psf):
    made = make_band_psfs(psf, ('g', 'r'), SHAPE)
    assert [item.band for item in made] == ['g', 'r']
    assert_allclose([item.fwhm for item in made], [3, 2], rtol=0.03)


@pytest.mark.parametrize('psf', [2.5, CircularGaussianPSF(fwhm=2.5),
                                 lambda x, y, band: 2.5,
                                 gaussian((21, 21), 10, 10, 2.5)])
def test_one_psf_serves_all_bands(psf):
    made = make_band_psfs(psf, ('g', 'r'), SHAPE)
    assert_allclose([item.fwhm for item in made], 2.5, rtol=0.03)


@pytest.mark.parametrize('psf', [{'g': 2.0}, {'g': 2.0, 'r': 2, 'i': 3},
                                 [2.0], [2.0, 2.0, 2.0], np.ones((3, 5, 5))])
def test_another_number_of_bands_raises(psf):
    with pytest.raises(BandMismatchError, match='psf'):
        make_band_psfs(psf, ('g', 'r'), SHAPE)


@pytest.mark.parametrize(('psf', 'match'), [
    (np.zeros((0, 5)), 'empty'), (np.zeros((5, 5)), 'zero'),
    (-np.ones((5, 5)), 'sum -25'), (np.full((5, 5), np.nan), '25 values'),
    (0, 'FWHM of 0'), (-1.0, '-1.0'), (np.nan, 'nan'), (np.inf, 'inf'),
    (2 * u.arcsec, 'pixels'), ('gauss', 'str'), (None, 'NoneType'),
    (True, 'bool'), (np.ones((600, 600)), 'Crop'),
    (np.ones((2, 2, 2, 2)), '4 dimensions'),
    (ImagePSF(np.ones((9, 9)), origin=(30, 4)), 'origin'),
    (ImagePSF(np.zeros((9, 9))), 'zero'),
    (200.0, 'Crop'), (Gaussian2D(-1), 'positive'),
    (lambda x, y, band: np.zeros((3, 3)), 'zero'),
    (lambda x, y, band: (lambda a: a), 'function')])
def test_a_psf_that_cannot_be_used_raises(psf, match):
    with pytest.raises(PSFError, match=match):
        make_band_psfs(psf, ['r'], SHAPE)


def test_the_limit_counts_image_pixels():
    size = 3 * MAX_PSF_PIXELS - 1
    data = np.zeros((size, size))
    data[size // 2 - 3:size // 2 + 4, size // 2 - 3:size // 2 + 4] = 1
    make_band_psfs(ImagePSF(data, oversampling=3), ['r'], SHAPE)
    with pytest.raises(PSFError, match='Crop'):
        make_band_psfs(ImagePSF(data), ['r'], SHAPE)


@pytest.mark.parametrize('convert', [np.array, NDData, np.ndarray.tolist,
                                     lambda data: data << u.Jy])
def test_what_was_normalised_and_centred_is_recorded(convert):
    data = gaussian((21, 21), 10.11, 9.95, 3.0)
    made, *_ = one(convert(0.95 * data / data.sum()))
    assert_allclose(made.stamp.total, 0.95)
    assert_allclose(made.stamp.offset, (0.11, -0.05), atol=2e-3)


@pytest.mark.parametrize('psf', [3.0, CircularGaussianPSF(fwhm=3.0),
                                 ImagePSF(gaussian((21, 21), 10, 10, 3.0)),
                                 lambda x, y, band: 3.0])
def test_nothing_is_recorded_of_what_is_no_stamp(psf):
    assert one(psf)[0].stamp is None
