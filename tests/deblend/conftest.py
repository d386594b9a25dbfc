# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Small seeded networks and observations with Gaussian PSFs."""

import warnings
from dataclasses import replace
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from photutils.segmentation import SegmentationImage

from vaephot.deblend.deblender import VAEDeblender
from vaephot.deblend.fit.engine import Engine
from vaephot.deblend.fit.problem import FitSettings
from vaephot.deblend.inputs.observation import Observation
from vaephot.deblend.scene import Sources
from vaephot.exceptions import DeblendWarning
from vaephot.models.bundle import build_vaes, fit_decoder
from vaephot.models.classifier import build_classifier
from vaephot.models.config import ModelConfig
from vaephot.models.render import Renderer, make_transfer, padded_size
from vaephot.models.vae import VAE
from vaephot.weights import load_weights

SCENES = SimpleNamespace(**run_path(
    str(Path(__file__).with_name('_scenes.py'))))


class GaussianBand:
    """PSF of a band: a round Gaussian, wider to the right if it varies."""

    def __init__(self, sigma, *, slope=0.0, oversampling=1, half=10):
        self.sigma = sigma
        self.slope = slope
        self.oversampling = oversampling
        self.half = half
        self.varies = slope != 0
        self.fwhm = 2.3548 * sigma

    def sample(self, x, y):
        """Return the image at a position and its oversampling."""
        radius = self.half * self.oversampling
        grid = np.arange(-radius, radius + 1) / self.oversampling
        row = np.exp(-0.5 * (grid / (self.sigma + self.slope * x)) ** 2)
        image = row[:, None] * row
        image /= image.sum()
        image.flags.writeable = False
        return image, self.oversampling


@pytest.fixture(scope='session')
def gaussian_band():
    """Return the class of the PSFs."""
    return GaussianBand


@pytest.fixture(scope='session')
def tiny_vae():
    """Return an untrained autoencoder with a marked effect of the latent."""
    config = ModelConfig(n_latent=2, n_components=6, decoder_width=8,
                         prior_width=8, head_width=16,
                         encoder_channels=(4, 8), stamp_size=16,
                         sigma_min=0.1, sigma_max=3.0)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        vae = VAE(config).eval().requires_grad_(False)
    # corrections that hardly change the guess: the fit has to do it all
    vae.encoder.head[-1].weight.mul_(0.3)
    vae.encoder.direct.weight[2:].zero_()
    vae.decoder.network[-1].weight.mul_(15)
    return vae


@pytest.fixture(scope='session')
def structured_vae(tiny_vae):
    """Return one with the same decoder, and asymmetry of orders 1 and 2."""
    config = replace(tiny_vae.config, structure_orders=(1, 2),
                     structure_sigma=(0.5, 1.0))
    with torch.random.fork_rng():
        torch.manual_seed(1)
        vae = VAE(config).eval().requires_grad_(False)
    vae.encoder.head[-1].weight.mul_(0.3)
    vae.encoder.direct.weight[2:].zero_()
    for part in ('decoder', 'prior'):
        getattr(vae, part).network.load_state_dict(
            getattr(tiny_vae, part).network.state_dict())
    vae.decoder.structure.radial.copy_(torch.tensor([[0.1, 0.2],
                                                     [0.0, 0.25]]))
    return vae


@pytest.fixture(scope='session')
def tiny_decoder(tiny_vae):
    """Return its decoder in float64."""
    return fit_decoder(tiny_vae)


@pytest.fixture(scope='session')
def structured_decoder(structured_vae):
    """Return its decoder in float64."""
    return fit_decoder(structured_vae)


@pytest.fixture(scope='session')
def shipped_vae():
    """Return the autoencoder of blends that comes with the package."""
    return build_vaes(load_weights(None))['blended']


@pytest.fixture(scope='session')
def shipped_classifier():
    """Return the classifier that comes with the package."""
    return build_classifier(load_weights(None))


@pytest.fixture(scope='session')
def make_observation():
    """Return a function that makes what `prepare_observation` would."""
    def make(data, psfs, *, rms=1.0, mask=None, gain=None, correlation=1.0):
        data = np.asarray(data, float)
        n_bands = len(data)
        rms = np.broadcast_to(np.asarray(rms, float).reshape(-1, 1, 1),
                              (n_bands, 1, 1))
        mask = np.zeros(data.shape, bool) if mask is None else mask
        return Observation(
            data=np.where(mask, 0.0, data), variance=rms ** 2, mask=mask,
            gain=None if gain is None else np.full(n_bands, float(gain)),
            noise_correlation=np.full(n_bands, correlation),
            psfs=tuple(psfs),
            bands=tuple(f'band{i + 1}' for i in range(n_bands)), unit=None,
            zeropoint=None, wcs=None, is_2d=n_bands == 1,
            error_estimated=False, psf_estimated=False,
            smoothing=np.zeros(n_bands))
    return make


@pytest.fixture(scope='session')
def make_engine(tiny_vae):
    """Return a function that makes the engine of an observation."""
    def make(observation, segm=None, *, vae=tiny_vae, batch_size=None,
             device='cpu', **settings):
        if segm is None:
            segm = SegmentationImage(np.zeros(
                observation.reference.data.shape[1:], int))
        return Engine(observation, segm, vae, FitSettings(**settings),
                      device=device, batch_size=batch_size)
    return make


@pytest.fixture(scope='session')
def draw_frame(tiny_decoder):
    """Return a function that draws sources on a frame, (band, y, x)."""
    def draw(parameters, flux, psfs, shape, decoder=tiny_decoder):
        values = torch.as_tensor(np.asarray(parameters, float))
        size = max(shape)
        # one stamp of the whole frame for each source, with its own PSF
        renderer = Renderer(size, [make_transfer(
            [psf.sample(*p)[0] for p in values[:, :2].numpy()],
            psf.oversampling, padded_size(size), fine=True)
            for psf in psfs])
        images = renderer.templates(decoder.from_parameters(values),
                                    values[:, :2]).numpy()
        frame = np.einsum('kb,kbyx->byx', np.asarray(flux, float), images)
        return frame[:, :shape[0], :shape[1]]
    return draw


@pytest.fixture(scope='session')
def make_sources():
    """Return a function that makes sources."""
    def make(places, parents=0, sigma=0.5, radius=3.0, is_point=False):
        x, y = np.array(places, float).reshape(-1, 2).T.copy()

        def column(values, kind):
            return np.broadcast_to(np.asarray(values, kind), len(x)).copy()
        return Sources(x=x, y=y, parent=column(parents, int),
                       position_sigma=column(sigma, float),
                       radius=column(radius, float),
                       is_point=column(is_point, bool),
                       is_known=column(is_point, bool))
    return make


# ------------------------------------------- the whole deblender on a scene
@pytest.fixture(scope='session')
def deblend():
    """Return a deblender with the default settings."""
    return VAEDeblender(device='cpu')


@pytest.fixture(scope='session')
def fast():
    """Return a deblender without refinement."""
    return VAEDeblender(device='cpu', refine=False)


@pytest.fixture
def data():
    """Return an image of a blend and a single source."""
    return SCENES.noisy(SCENES.GALAXIES)


@pytest.fixture
def segm():
    """Return the parents of that image."""
    return SCENES.parents()


@pytest.fixture(scope='session')
def reference(deblend):
    """Return the result of the plainest call."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', DeblendWarning)
        return deblend(SCENES.noisy(SCENES.GALAXIES), SCENES.parents(),
                       error=1.0, psf=SCENES.FWHM)


@pytest.fixture
def errors_of_noise(monkeypatch):
    """Leave out of the errors what models do not describe."""
    errors = 'vaephot.deblend.outputs.errors'
    monkeypatch.setattr(f'{errors}.COHERENT_AREA', 0.0)
    monkeypatch.setattr(f'{errors}.MISFIT_SIGMA', np.inf)
