# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest

from vaephot.evaluate.profiles import (
    N_PARAMETERS,
    ProfileRenderer,
    half_light_scale,
)

SIZE = 48


def psf(sigma, oversampling=3, size=45):
    steps = np.arange(size) - size // 2
    line = np.exp(-0.5 * (steps / sigma / oversampling) ** 2)
    return np.outer(line, line) / line.sum() ** 2


@pytest.fixture(scope='module')
def renderer():
    # the first PSF is undersampled, the second is not
    return ProfileRenderer(np.stack([psf(0.45), psf(1.6)]), 3,
                           (SIZE, SIZE + 5))


@pytest.fixture
def parameters():
    return np.array([24.3, 23.1, np.log(2.5), 0.3, -0.2, 0.4])


def test_only_an_undersampled_psf_is_folded(renderer):
    folds = [fold for fold, _ in renderer.bands]
    assert folds[0] > 1
    assert folds[1] == 1


def test_a_source_has_unit_flux_and_is_where_it_should_be(renderer,
                                                          parameters):
    images = renderer.render(parameters)
    assert images.shape == (2, SIZE, SIZE + 5)
    assert images.sum((1, 2)) == pytest.approx([1, 1], abs=0.02)
    y, x = np.indices(images.shape[1:])
    for image in images:
        total = image.sum()
        assert (image * x).sum() / total == pytest.approx(24.3, abs=0.03)
        assert (image * y).sum() / total == pytest.approx(23.1, abs=0.03)


def test_a_point_is_the_psf(renderer):
    image = renderer.render([24, 20, 0, 0, 0, 0], point=True)
    # an odd PSF of 15 pixels, sampled at its middle
    expected = psf(1.6)[1::3, 1::3] * 9
    assert image[1, 13:28, 17:32] == pytest.approx(expected, abs=1e-4)


def test_half_of_the_light_is_within_the_half_light_radius():
    narrow = ProfileRenderer(psf(0.3)[None], 3, (121, 121))
    y, x = np.indices((121, 121)) - 60
    for nu in (-0.4, 0.5, 1.5):
        image = narrow.render([60, 60, np.log(10), 0, 0, nu])[0]
        inside = image[np.hypot(x, y) <= 10].sum()
        assert inside == pytest.approx(0.5, abs=0.02)


def test_an_exponential_profile_is_nearly_that_of_nu_one_half():
    # Spergel 2010: nu = 0.5 is the exponential, 1.678 scale lengths
    assert half_light_scale(0.5) == pytest.approx(1.678, abs=0.002)


def test_eta_stretches_along_its_direction(renderer):
    y, x = np.indices((SIZE, SIZE + 5)) - 24

    def widths(eta1):
        image = renderer.render([24, 24, np.log(4), eta1, 0, 0.5])[1]
        return (image * x ** 2).sum(), (image * y ** 2).sum()

    wide, flat = widths(0.6)
    assert wide > 1.5 * flat
    assert widths(-0.6)[1] > 1.5 * widths(-0.6)[0]


@pytest.mark.parametrize('k', range(N_PARAMETERS))
def test_derivatives_are_those_of_the_images(renderer, parameters, k):
    stack = renderer.render(parameters, derivatives=True)
    step = np.zeros(N_PARAMETERS)
    step[k] = 1e-3
    numerical = (renderer.render(parameters + step)
                 - renderer.render(parameters - step)) / 2e-3
    scale = np.abs(numerical).max()
    assert stack[1 + k] == pytest.approx(numerical, abs=1e-4 * scale)
    assert stack[0] == pytest.approx(renderer.render(parameters))


def test_derivatives_of_a_point_are_those_by_its_position(renderer,
                                                          parameters):
    stack = renderer.render(parameters, point=True, derivatives=True)
    assert len(stack) == 3
    step = np.zeros(N_PARAMETERS)
    step[0] = 1e-3
    up, down = (renderer.render(parameters + s * step, point=True)
                for s in (1, -1))
    assert stack[1] == pytest.approx((up - down) / 2e-3, abs=1e-5)
