# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Pixels of the groups of a batch, all bands in one flat row.

A group has a region in each band, the rows of which follow each other;
windows of sources are rows of pixels that start somewhere on the canvas.
"""

from dataclasses import dataclass

import numpy as np
import torch

__all__ = ['Canvas', 'Plane', 'make_canvas']

# regions are padded to multiples of this, and sums taken over as many pixels
RUN = 64


@dataclass(frozen=True, kw_only=True)
class Plane:
    """
    Image of a band in units of its noise, single precision.

    ``data`` and ``good`` ``(ny, nx)``, bad pixels 0; ``variance``
    ``(ny, nx)`` or ``(1, 1)``; ``inverse_gain``: variance of the photons
    per light, 0 if it is in the variance already; ``unit``: what one
    stands for in the unit of the data; ``binning``: pixels on the side of
    one of the canvas.
    """

    data: np.ndarray
    good: np.ndarray
    variance: np.ndarray
    inverse_gain: float
    unit: float
    binning: int

    def seen(self, low, high):
        """The part with good pixels of a rectangle, from (x, y) to (x, y)."""
        start = np.maximum(low, 0)
        rows, columns = (np.s_[a:max(b, a)] for a, b in zip(
            start[::-1], high[::-1], strict=True))
        good = self.good[rows, columns]
        y, x = (np.flatnonzero(good.any(axis)) for axis in (1, 0))
        if not len(x):
            return low, high
        return (start + (x[0], y[0]),
                start + (x[-1] + 1, y[-1] + 1))

    def rms(self, x, y):
        """Noise of the sky near positions (n,), in units of ``unit``."""
        if self.variance.size == 1:
            return np.full(len(x), np.sqrt(self.variance[0, 0]))
        ny, nx = self.variance.shape
        ix, iy = (np.clip(np.rint(c).astype(int), 0, n - 1)
                  for c, n in ((x, nx), (y, ny)))
        return np.sqrt(self.variance[iy, ix])


def _binned(block, factor):
    """Sums of square blocks of a 2D array."""
    if factor == 1:
        return block
    rows = sum(block[i::factor] for i in range(factor))
    return sum(rows[:, i::factor] for i in range(factor))


class _Region:
    """A rectangle of a plane, which may lie partly outside of it."""

    def __init__(self, plane, corner, size):
        self.plane = plane
        f = plane.binning
        ny, nx = plane.data.shape
        (x, y), (width, height) = corner, (n * f for n in size)
        self.shape = height, width
        x0, x1 = max(x, 0), min(x + width, nx)
        y0, y1 = max(y, 0), min(y + height, ny)
        self.inside = np.s_[y0:max(y1, y0), x0:max(x1, x0)]
        self.whole = (y1 - y0, x1 - x0) == self.shape
        self.place = np.s_[y0 - y:max(y1, y0) - y, x0 - x:max(x1, x0) - x]

    def cut(self, image, fill=0.0):
        """Pixels of the region, binned and flat."""
        if image.size == 1:
            size = self.shape[0] * self.shape[1] // self.plane.binning ** 2
            return np.full(size, image[0, 0] * self.plane.binning ** 2)
        part = image[self.inside]
        if not self.whole:
            part, inner = np.full(self.shape, fill, image.dtype), part
            part[self.place] = inner
        return _binned(part, self.plane.binning).ravel()


def make_canvas(planes, corner, size, *, light=None, ramps=0, device='cpu'):
    """
    Cut the regions of groups from the planes of all bands.

    Parameters
    ----------
    planes : list of Plane
        One for each band.
    corner, size : `numpy.ndarray` of int, (n_groups, n_bands, 2)
        First column and row of each region in pixels of its band, and how
        many binned columns and rows it has; none if the band is left out.
    light : callable, optional
        Called with a group, a band, first column and row and the shape of
        a region, returns the light of other sources there.
    ramps : int, optional
        Images of the background: none, a constant, or with two slopes.
    """
    count = size.prod(2)
    padded = -(-count // RUN) * RUN
    offset = np.concatenate([[0], np.cumsum(padded)])
    data, good = (np.zeros(offset[-1], np.float32) for _ in range(2))
    variance = np.ones(offset[-1], np.float32)
    extra = np.zeros((ramps, offset[-1]), np.float32)
    for number, (g, b) in enumerate(np.ndindex(count.shape)):
        if not count[g, b]:
            continue
        here = slice(offset[number], offset[number] + count[g, b])
        plane = planes[b]
        region = _Region(plane, corner[g, b].tolist(), size[g, b].tolist())
        data[here] = region.cut(plane.data)
        if light is not None:
            data[here] -= _binned(light(g, b, *corner[g, b].tolist(),
                                        region.shape), plane.binning).ravel()
        good[here] = region.cut(plane.good) == plane.binning ** 2
        variance[here] = region.cut(plane.variance, 1.0)
        if ramps:
            extra[:, here] = _ramps(size[g, b], ramps) * good[here]
    tensors = (torch.as_tensor(a, device=device)
               for a in (data, good, variance, extra))
    return Canvas(planes, corner, size, offset, *tensors)


def _ramps(size, count):
    """Images of the background on a region, (count, n_pixels)."""
    width, height = size
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width),
                       indexing='ij')
    return np.stack([np.ones_like(x), x, y])[:count].reshape(count, -1)


class Canvas:
    """
    Pixels of groups on a flat row.

    ``corner``, ``size`` ``(n_groups, n_bands, 2)``; ``start``
    ``(n_groups, n_bands)``: where each region begins; ``data``, ``weight``
    ``(n_pixels,)``: the latter the inverse variance, 0 for bad pixels;
    ``extra`` ``(m, n_pixels)``: images of the background.
    """

    def __init__(self, planes, corner, size, offset, data, good, variance,
                 extra):
        self.planes = planes
        self.corner, self.size = corner, size
        self.shape = size.shape[:2]
        self.device = data.device
        self.start = offset[:-1].reshape(self.shape)
        self._offset = offset
        self.data, self.good, self.variance = data, good, variance
        self.extra = extra
        runs = np.diff(offset) // RUN
        self._run_of = torch.as_tensor(
            np.repeat(np.arange(runs.size), runs), device=self.device)
        gains = [plane.inverse_gain for plane in planes]
        self.inverse_gain = None
        if any(gains):
            self.inverse_gain = torch.as_tensor(np.repeat(
                np.tile(np.float32(gains), len(size)), runs * RUN),
                device=self.device)
        self.weight = good / variance

    def set_weight(self, model):
        """Renew the inverse variances from a model of the sources."""
        if self.inverse_gain is not None:
            self.weight = self.good / (
                self.variance + model.clamp(min=0) * self.inverse_gain)

    def sums(self, values):
        """Sums (..., n_groups, n_bands) over the regions, float64."""
        runs = values.unflatten(-1, (-1, RUN)).sum(-1).double()
        out = runs.new_zeros(*runs.shape[:-1], self.shape[0] * self.shape[1])
        return out.index_add_(-1, self._run_of, runs).unflatten(
            -1, self.shape)

    def spread(self, levels):
        """Backgrounds (m, n_groups * n_bands) as an image (n_pixels,)."""
        runs = levels[:, self._run_of]
        return (self.extra.unflatten(1, (-1, RUN))
                * runs[..., None]).sum(0).flatten()

    def take(self, groups):
        """The same of some groups."""
        first = self._offset[groups * self.shape[1]]
        last = self._offset[(groups + 1) * self.shape[1]]
        rows = torch.as_tensor(np.concatenate([
            np.arange(a, b) for a, b in zip(first, last, strict=True)]),
            device=self.device)
        padded = np.diff(self._offset).reshape(self.shape)[groups]
        offset = np.concatenate([[0], np.cumsum(padded)])
        other = Canvas(self.planes, self.corner[groups], self.size[groups],
                       offset, self.data[rows], self.good[rows],
                       self.variance[rows], self.extra[:, rows])
        other.weight = self.weight[rows]
        return other
