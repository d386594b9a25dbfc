# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Blends of round Gaussians, whose truth is known exactly."""

import numpy as np
import pytest
from photutils.aperture import BoundingBox

from vaephot.evaluate.observed import ObservedBlends, Truth

SIGMA, SKY = 1.5, 0.02
PSF_SIGMA, OVERSAMPLING = 1.2, 3


def gaussian(x, y, sigma, shape, oversampling=1):
    yy, xx = np.indices(shape)
    radius2 = (xx - x) ** 2 + (yy - y) ** 2
    image = np.exp(-radius2 / (2 * (sigma * oversampling) ** 2))
    return image / (2 * np.pi * (sigma * oversampling) ** 2)


def _psf():
    size = 15 * OVERSAMPLING
    middle = size // 2
    image = gaussian(middle, middle, PSF_SIGMA, (size, size), OVERSAMPLING)
    return image / image.sum()


@pytest.fixture(scope='session')
def make_observed():
    """
    Return a function that draws blends of Gaussians.

    Blend k has a central source and k % 3 neighbours.
    """
    def make(n=4, *, size=40, bands=('VIS', 'H'), seed=1, flux=20.0,
             noise=1.0, with_models=True, gap=9.0):
        rng = np.random.default_rng(seed)
        n_bands, box = len(bands), BoundingBox(0, size, 0, size)
        blend, xy, fluxes, models = [], [], [], []
        width = np.hypot(SIGMA, PSF_SIGMA)
        for k in range(n):
            for i in range(1 + k % 3):
                place = (size / 2 + rng.uniform(-0.5, 0.5, 2)
                         + (0, (gap, 0), (0, -gap))[i])
                own = flux * rng.uniform(0.5, 1, n_bands)
                blend.append(k)
                xy.append(place)
                fluxes.append(own)
                models.append((box, own[:, None, None] * gaussian(
                    *place, width, (size, size))))
        blend, xy = np.array(blend), np.array(xy)
        image = np.zeros((n, n_bands, size, size))
        for k, (_, model) in zip(blend, models, strict=True):
            image[k] += model
        gain = np.full(n_bands, 1e4)
        error = np.sqrt(SKY ** 2 + image / 1e4)
        image = image + noise * error * rng.normal(size=image.shape)
        first = np.searchsorted(blend, np.arange(n + 1))
        rows = [slice(*first[k:k + 2]) for k in range(n)]
        m = len(blend)
        truth = Truth(
            blend=blend, xy=xy, flux=np.array(fluxes),
            is_star=np.zeros(m, bool),
            is_scored=np.isin(np.arange(m), first),
            half_light_radius=np.full(m, 1.1774 * SIGMA),
            eta1=np.zeros(m), eta2=np.zeros(m),
            models=tuple(models) if with_models else None,
            error=error if with_models else None)
        return ObservedBlends(
            image=image, mask=np.zeros(image.shape, bool),
            sky_rms=np.full(n_bands, SKY), gain=gain,
            noise_correlation=np.ones(n_bands),
            psf=np.repeat(_psf()[None], n_bands, 0),
            oversampling=OVERSAMPLING, bands=tuple(bands), pixel_scale=0.1,
            zeropoint=23.9, positions=tuple(xy[r] for r in rows),
            given=tuple(np.arange(r.stop - r.start) for r in rows),
            point_source=tuple(np.zeros(r.stop - r.start, bool)
                               for r in rows), truth=truth)
    return make


@pytest.fixture
def small_run(make_observed, monkeypatch):
    """Let every set draw Gaussians instead of calling GalSim."""
    def draw(config, chunk):
        n = min(config.chunk, config.n - chunk * config.chunk)
        observed = make_observed(n, seed=config.seed + chunk)
        return observed, observed.psf

    monkeypatch.setattr('vaephot.evaluate.runner.draw_chunk', draw)
    return {'title': 'Gaussians & co',
            'methods': ['oracle', 'photutils_default'],
            'sets': [{'name': 'one', 'case': 'faint', 'n': 6, 'chunk': 4,
                      'floors': 1}],
            'edges': {'mag': [19, 21, 23]}, 'good_mags': [19, 23]}
