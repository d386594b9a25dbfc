# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Small scenes, and groups of them at known shapes."""

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from vaephot.deblend.fit.batches import GroupFitter
from vaephot.deblend.fit.groups import Group
from vaephot.deblend.fit.problem import FitSettings
from vaephot.deblend.fit.windows import FINE

SHAPE = (70, 120)


@dataclass
class SampledPSF:
    """Any image as the PSF of a band."""

    image: np.ndarray
    oversampling: int = 1
    fwhm: float = 2.5
    varies: bool = field(default=False, init=False)

    def sample(self, x, y):
        """Return the image, whatever the position, and its oversampling."""
        return self.image, self.oversampling


@pytest.fixture(scope='session')
def sampled_psf():
    """Return the class of PSFs that are any image."""
    return SampledPSF


@pytest.fixture(scope='session')
def moffat_psf():
    """Return a PSF with wings, twice oversampled."""
    y, x = (np.mgrid[-80:81, -80:81]) / 2
    image = (1 + (x ** 2 + 1.2 * y ** 2 + 0.2 * x * y) / 4) ** -2.5
    return SampledPSF(image / image.sum(), 2, 2.3)


class Trial:
    """Groups with pixels, windows and shapes to evaluate."""

    def __init__(self, fitter, problem, local, flux, precision=FINE):
        self.fitter, self.problem, self.local = fitter, problem, local
        self.used = torch.ones(flux.shape[:2], dtype=torch.bool)
        noise = problem.noise(local[:, 0, :, :2])
        self.canvas = problem.canvas(self.used)
        self.plan = problem.plan(self.canvas, self.used, local, flux, noise,
                                 precision)

    def evaluate(self, local=None, **how):
        """Evaluate the groups at shapes (g, b, k, p)."""
        local = self.local if local is None else local
        with torch.inference_mode():
            return self.problem.evaluate(self.plan, local, **how)


@pytest.fixture(scope='session')
def make_fitter(tiny_vae, make_observation):
    """Return a function that makes the fitter of an image."""
    def make(data, psfs, *, vae=tiny_vae, grid_maps=None, batch_size=None,
             settings=None, **given):
        observation = make_observation(data, psfs, **given)
        layers = [(observation, np.arange(len(psfs)), None)]
        if grid_maps is not None:
            one = [make_observation(data[[b]], psfs[b:b + 1], **given)
                   for b in range(len(psfs))]
            layers = [(own, [b], grid_map) for b, (own, grid_map) in
                      enumerate(zip(one, grid_maps, strict=True))]
        return GroupFitter(layers, vae, FitSettings(**(settings or {})),
                           batch_size=batch_size)
    return make


@pytest.fixture(scope='session')
def make_groups_of():
    """Return a function that makes groups with a box around the sources."""
    def make(sources, members, margin=4.0):
        return [Group(core=tuple(rows), halo=(), span=(
            sources.x[rows].min() - margin, sources.x[rows].max() + margin,
            sources.y[rows].min() - margin, sources.y[rows].max() + margin))
            for rows in map(list, members)]
    return make


@pytest.fixture(scope='session')
def make_trial(make_fitter, make_sources, make_groups_of):
    """Return a function that makes groups of sources at given shapes."""
    def make(parameters, flux, members, psfs, *, noise=1.0, seed=1,
             asymmetric=None, is_point=False, data=None, scatter=0.0,
             **given):
        parameters, flux = np.array(parameters, float), np.array(flux, float)
        rng = np.random.default_rng(seed)
        if data is None:
            data = np.zeros((len(psfs), *SHAPE))
        data = data + noise * rng.standard_normal(data.shape)
        fitter = make_fitter(data, psfs, **given)
        sources = make_sources(parameters[:, :2], is_point=is_point)
        problem = fitter.problem(make_groups_of(sources, members), sources,
                                 asymmetric)
        rows = problem.batch.members
        n = problem.batch.free.shape[-1]
        wide = np.repeat(parameters[rows, None, :n], len(psfs), 2)
        local = torch.as_tensor(wide.transpose(0, 2, 1, 3)).clone()
        local += scatter * torch.as_tensor(rng.uniform(-1, 1, local.shape))
        real = problem.batch.real[:, None]
        bright = torch.where(real, torch.as_tensor(
            flux[rows].transpose(0, 2, 1)), 0.0)
        return Trial(fitter, problem, local, bright)
    return make
