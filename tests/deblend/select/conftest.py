# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Scenes that candidates are judged in: fitted ones, and plain arrays."""

from types import SimpleNamespace

import numpy as np
import pytest
from photutils.aperture import BoundingBox
from photutils.segmentation import SegmentationImage

from vaephot.deblend.detect.pixels import Pixels

SHAPE = (64, 96)
# a galaxy with two in it, and two alone
PLACES = np.array([[30.2, 31.0], [37.1, 33.4], [33.3, 40.0], [70.0, 10.2],
                   [13.0, 50.0]])
PARENTS = np.array([1, 1, 1, 2, 3])
GROUPS = [((0, 1), (2,)), ((2,), (0, 1)), ((3,), ()), ((4,), ())]
BRIGHT = np.array([[9e3, 4e3], [2e3, 900], [700, -40], [3e3, 3e3], [80, 5]])
FWHM = np.array([2.2, 3.5])


@pytest.fixture
def make(gaussian_band, draw_frame, make_observation, make_sources,
         make_engine):
    """Return a function that gives an engine and its fit to positions."""
    psfs = [gaussian_band(1.3)]
    segm = np.zeros(SHAPE, int)
    segm[20:43, 12:40] = 4

    def make_scene(parameters, flux, hot=None):
        data = draw_frame(parameters, flux, psfs, SHAPE)
        data = data + np.random.default_rng(2).standard_normal(data.shape)
        if hot is not None:
            data[:, hot[1], hot[0]] += 500
        engine = make_engine(make_observation(data, psfs),
                             SegmentationImage(segm))

        def fit(xy):
            return engine.fit(make_sources(xy, 4))
        return engine, fit
    return make_scene


class PlainScene(SimpleNamespace):
    """What the features ask a scene for, as arrays."""

    def __len__(self):
        return len(self.sources.parent)

    def in_bands(self, rows):
        """The same: all bands are on the reference grid."""
        return self


class Sized(SimpleNamespace):
    """Parents of sources, as many as there are."""

    def __len__(self):
        return len(self.parent)


def _profile(grid, x, y, log_size, fwhm):
    """Round Gaussian of a size under the PSF of a band, of sum 1."""
    yy, xx = grid
    variance = np.exp(2 * log_size) / np.log(4) + (fwhm / 2.3548) ** 2
    image = np.exp(-0.5 * ((xx - x) ** 2 + (yy - y) ** 2) / variance)
    return image / (2 * np.pi * variance)


def _points(fwhm):
    """Function that draws points of unit flux on stamps."""
    def draw(xy, size, corner):
        out = np.zeros((len(xy), len(fwhm), size, size))
        for k, ((x, y), (x0, y0)) in enumerate(zip(xy, corner, strict=True)):
            grid = np.mgrid[y0:y0 + size, x0:x0 + size]
            out[k] = [_profile(grid, x, y, -9, width) for width in fwhm]
        return out
    return draw


def _frames(parameters, shape, fwhm, flux):
    """Models of sources on the frame, (n, n_bands, ny, nx)."""
    grid = np.mgrid[:shape[0], :shape[1]]
    return np.array([
        [f * _profile(grid, x, y, log_size, width)
         for f, width in zip(fluxes, fwhm, strict=True)]
        for (x, y, log_size, *_), fluxes in zip(parameters, flux,
                                                strict=True)])


def _boxes(parameters, shape, half):
    """Boxes of sources inside the frame, of several sizes."""
    ny, nx = shape
    return [BoundingBox(max(int(x) - half - k % 3, 0),
                        min(int(x) + half + k % 3, nx),
                        max(int(y) - half - k % 3, 0),
                        min(int(y) + half + k % 3, ny))
            for k, (x, y) in enumerate(parameters[:, :2])]


@pytest.fixture
def plain():
    """
    Return a function that makes an engine and a scene without networks.

    ``zoom``: pixels per pixel; ``unit``: what one stands for; ``bands``:
    which, in what order; ``wrong``: light that the model leaves over;
    ``bad``: share of bad pixels; ``is_point``: of the sources. The scene has
    models on the whole frame, ``frames``, too.
    """
    def make_plain(*, zoom=1, unit=1.0, bands=(0, 1), wrong=0.02, bad=0.05,
                   is_point=False):
        rng, bands, n = np.random.default_rng(5), list(bands), len(BRIGHT)
        fwhm, shape = zoom * FWHM, tuple(zoom * v for v in SHAPE)
        parameters = np.column_stack([
            zoom * (PLACES + 0.5) - 0.5,
            np.log(zoom) + rng.normal(0.8, 0.2, n),
            rng.normal(0, 0.3, (n, 2))])
        boxes = _boxes(parameters, shape, 14 * zoom)
        frames = np.zeros((n, 2, *shape))
        whole = _frames(parameters, shape, fwhm, BRIGHT)
        models = []
        for k, box in enumerate(boxes):
            inside = np.s_[:, box.iymin:box.iymax, box.ixmin:box.ixmax]
            frames[k][inside] = whole[k][inside]
            models.append(unit * whole[k][inside][bands])
        image = frames.sum(0)
        # each pixel of sky makes its share of the noise
        variance = rng.uniform(0.5, 2, image.shape) / zoom ** 2
        noise = np.sqrt(variance) * rng.normal(size=image.shape)
        pixels = Pixels(
            data=unit * ((1 + wrong) * image + noise)[bands],
            mask=(rng.random(image.shape) < bad)[bands],
            variance=unit ** 2 * variance[bands],
            gain=np.array([3.0, 1.0])[bands] / unit, fwhm=fwhm[bands])
        engine = SimpleNamespace(pixels=pixels, image_bands=slice(None),
                                 draw_points=_points(fwhm[bands]))
        return engine, PlainScene(
            sources=Sized(parent=PARENTS),
            is_point=np.broadcast_to(is_point, n).copy(),
            fit=SimpleNamespace(
                parameters=parameters, flux=unit * BRIGHT[:, bands],
                flux_err=unit * np.full((n, len(bands)), 20.0)),
            groups=[SimpleNamespace(core=core, halo=halo,
                                    members=core + halo)
                    for core, halo in GROUPS],
            boxes=boxes, models=models, model_image=unit * image[bands],
            frames=unit * frames[:, bands])
    return make_plain
