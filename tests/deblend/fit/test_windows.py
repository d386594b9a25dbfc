# Licensed under a 3-clause BSD style license - see LICENSE.rst
from itertools import pairwise

import numpy as np
import pytest
import torch

from vaephot.deblend.fit.draw import make_drawer
from vaephot.deblend.fit.transfer import BandTransfer
from vaephot.deblend.fit.windows import (
    COARSE,
    FINE,
    MIDDLE,
    REACHES,
    SIDES,
    WindowChooser,
)

SHAPE = (200, 300)
LARGE = 256
SIZES = (0.1, 0.7, 1.6)
BRIGHT = (20.0, 3e3, 1e6)


@pytest.fixture(scope='module', params=['gaussian', 'fine', 'wings'])
def transfer(request, gaussian_band, moffat_psf):
    """Return what PSFs do to light: narrow, oversampled, with wings."""
    return BandTransfer({
        'gaussian': gaussian_band(1.7),
        'fine': gaussian_band(0.9, oversampling=3),
        'wings': moffat_psf}[request.param], SHAPE)


@pytest.fixture(scope='module')
def mixture(tiny_vae):
    """Return galaxies of some sizes and shears, and their parameters."""
    return _mixture(tiny_vae)


@pytest.fixture(scope='module')
def images(transfer, mixture):
    """Return these galaxies on large windows, (n, y, x)."""
    gaussians, values = mixture
    o = transfer.oversampling
    drawer = make_drawer(LARGE, 1, 384, o, o, 'cpu')
    place = torch.full((len(values), 2), LARGE / 2 - 0.5).double()
    found, _ = drawer.template(gaussians, transfer.at(
        (0, 0), drawer.grid)[None], place)
    return found.view(-1, LARGE, LARGE)


def _mixture(vae):
    rows = [[0, 0, size, *eta, 0.3, -0.5] for size in SIZES
            for eta in ((0, 0), (0.8, -0.5))]
    values = torch.tensor(rows)
    return vae.decoder.from_parameters(values), values


def _radius(values):
    return torch.exp(values[:, 2])


def _chosen(transfer, mixture, values, bright, precision):
    """Sides and reaches of galaxies of some brightness, (n,) each."""
    chooser = WindowChooser([transfer])
    bright = torch.full((len(values),), bright)
    band = torch.zeros(len(values), dtype=torch.long)
    number = chooser.sides(mixture, _radius(values), bright, band, precision)
    side = torch.tensor(SIDES)[number]
    reach = chooser.reaches(mixture, bright, band, side, precision)
    return side, torch.tensor(REACHES)[reach].clamp(
        max=transfer.oversampling)


def _outside(image, side):
    """Largest pixel of an image outside of a centred square."""
    middle = image.shape[-1] // 2
    cut = np.s_[middle - side // 2:middle + side // 2]
    rest = image.abs().clone()
    rest[cut, cut] = 0
    return float(rest.max())


@pytest.mark.parametrize('precision', [FINE, MIDDLE, COARSE])
@pytest.mark.parametrize('bright', BRIGHT)
def test_light_outside_of_windows_is_within_the_limit(
        transfer, mixture, images, bright, precision):
    side, _ = _chosen(transfer, *mixture, bright, precision)
    # single precision cannot tell what is below
    floor = 3e-7 * bright * float(images.max())
    for image, width in zip(images, side.tolist(), strict=True):
        if width < LARGE:
            assert (bright * _outside(image, width)
                    <= 1.02 * precision.outside + floor)


@pytest.mark.parametrize('precision', [FINE, COARSE])
@pytest.mark.parametrize('bright', BRIGHT)
def test_amplitude_beyond_the_reach_is_within_the_limit(
        transfer, mixture, bright, precision):
    gaussians, values = mixture
    side, reach = _chosen(transfer, gaussians, values, bright, precision)
    o = transfer.oversampling
    drawer = make_drawer(64, 1, 96, o, o, 'cpu')
    wave = transfer.at((0, 0), drawer.grid).abs()
    k = torch.hypot(drawer.kx, drawer.ky[:, None]) / np.pi
    spectra, _ = drawer.spectrum(gaussians)
    for value, far, width in zip(spectra.view(-1, *drawer.shape),
                                 reach.tolist(), side.tolist(), strict=True):
        left_out = bright * (value * wave)[(k > far) & (k <= o)]
        if len(left_out):
            assert float(left_out.max()) <= 1.02 * precision.spectral * width


def test_brighter_and_larger_sources_get_larger_windows(transfer, mixture):
    gaussians, values = mixture
    sides = torch.stack([_chosen(transfer, gaussians, values, b, FINE)[0]
                         for b in BRIGHT])
    assert (sides.diff(dim=0) >= 0).all()
    assert (sides[-1] > sides[0]).all()
    assert (sides[:, ::2].diff(dim=1) >= 0).all()


def test_coarser_windows_are_no_larger(transfer, mixture):
    gaussians, values = mixture
    chosen = [_chosen(transfer, gaussians, values, 3e3, precision)
              for precision in (FINE, MIDDLE, COARSE)]
    for fine, coarse in pairwise(chosen):
        for a, b in zip(fine, coarse, strict=True):
            assert (a >= b).all()


def test_reach_ends_where_the_samples_do(transfer, mixture):
    gaussians, values = mixture
    _, reach = _chosen(transfer, gaussians, values, 1e9, FINE)
    assert (reach <= transfer.oversampling).all()


@pytest.mark.parametrize('share', [0.1, 0.01])
def test_enclosing_windows_hold_all_but_a_share(transfer, mixture, images,
                                                share):
    gaussians, values = mixture
    band = torch.zeros(len(values), dtype=torch.long)
    number = WindowChooser([transfer]).enclosing(
        gaussians, _radius(values), band, share)
    for image, side in zip(images, torch.tensor(SIDES)[number].tolist(),
                           strict=True):
        cut = np.s_[(LARGE - side) // 2:(LARGE + side) // 2]
        assert float(image[cut, cut].sum()) > 1 - share - 1e-3
