# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Draw templates on windows of one side, and transpose the drawing.

A template is the product of the transform of a source and that of the PSF,
taken on the frequencies that matter and brought to the pixels by two small
matrix products, a truncated discrete Fourier transform. The transpose takes
images back to frequencies, where the derivatives of templates are products
of a few numbers: slopes cost no drawing.
"""

import math
from functools import lru_cache

import torch

__all__ = ['PERIODS', 'FrequencyGrid', 'WindowDrawer', 'make_drawer']

# lengths of transforms, in binned pixels
PERIODS = (8, 10, 12, 16, 20, 24, 30, 32, 40, 48, 60, 64, 80, 96, 120, 128,
           160, 192, 240, 256, 320, 384, 480, 512, 640, 768, 1024, 1280)
# exponents below this give slow denormal numbers
LEAST_POWER = -60.0


class FrequencyGrid:
    """
    Frequencies of a window, in radians per pixel.

    ``ky`` ``(n_ky,)`` from negative to positive, ``kx`` ``(n_kx,)`` from
    0, float64 on the CPU; ``weight_y`` and ``weight_x``: how often each
    counts in the sum that makes the pixels.
    """

    def __init__(self, period, reach, oversampling, binning):
        self.key = (period, reach, oversampling, binning)
        self.binning = binning
        last = oversampling * period // 2
        n = min(math.ceil(reach * period / 2), last)
        step = 2 * math.pi / period
        self.ky = torch.arange(-n, n + 1, dtype=torch.float64) * step
        self.kx = torch.arange(0, n + 1, dtype=torch.float64) * step
        self.weight_y = torch.ones_like(self.ky)
        self.weight_x = torch.full_like(self.kx, 2.0)
        self.weight_x[0] = 1.0
        if n == last:  # Nyquist's frequency of the samples stands there twice
            self.weight_y[[0, -1]] = 0.5
            self.weight_x[-1] = 1.0


class WindowDrawer:
    """
    Draw windows of one side on one grid of frequencies.

    Spectra are real and imaginary parts ``(m, n_ky, 2, n_kx)``, images
    ``(m, side * side)`` in binned pixels, single precision.
    """

    def __init__(self, side, grid, period, device):
        self.grid = grid
        self.side = side // grid.binning
        pixel = (torch.arange(self.side, dtype=torch.float64) * grid.binning
                 + (grid.binning - 1) / 2)
        self._to_x, self._to_y = self._matrices(pixel, period, device)
        self.ky, self.kx = (k.to(device) for k in (grid.ky, grid.kx))
        kx, ky = self.kx.float(), self.ky.float()[:, None]
        self.shape = (len(self.ky), len(self.kx))
        self.slope_x = kx.expand(self.shape).contiguous()
        self.slope_y = ky.expand(self.shape).contiguous()
        self.quadratic = -0.5 * torch.stack([
            (kx ** 2 + ky ** 2).ravel(), (kx ** 2 - ky ** 2).ravel(),
            (2 * kx * ky).ravel()])

    def _matrices(self, pixel, period, device):
        """From frequencies to columns (2 n_kx, 2 w), and rows (w, 2 n_ky)."""
        grid = self.grid
        cos, sin = (f(grid.kx[:, None] * pixel) for f in (torch.cos,
                                                          torch.sin))
        weight = torch.cat([grid.weight_x, grid.weight_x]) / period ** 2
        to_x = torch.cat([torch.cat([cos, sin], 1),
                          torch.cat([-sin, cos], 1)]) * weight[:, None]
        cos, sin = (f(pixel[:, None] * grid.ky) * grid.weight_y
                    for f in (torch.cos, torch.sin))
        to_y = torch.stack([cos, -sin], 2).reshape(self.side, -1)
        return [m.to(device=device, dtype=torch.float32).contiguous()
                for m in (to_x, to_y)]

    # ------------------------------------------------------------ transforms
    def shifted(self, transfer, place):
        """Transfer functions (m, n_ky, n_kx) of sources at places (m, 2)."""
        row = torch.exp(-1j * place[:, 1:] * self.ky).to(transfer.dtype)
        column = torch.exp(-1j * place[:, :1] * self.kx).to(transfer.dtype)
        value = transfer * row[:, :, None] * column[:, None, :]
        return torch.stack([value.real, value.imag], 2)

    def gaussians(self, mixture):
        """Transforms of the Gaussians, (m, j, n_k)."""
        shape = torch.stack([mixture.mean, mixture.plus, mixture.cross], -1)
        power = shape @ self.quadratic
        return torch.exp_(power.clamp_(min=LEAST_POWER))

    def to_pixels(self, field):
        """Spectra (m, c, n_ky, 2, n_kx) to images (m, c, w * w)."""
        m, c = field.shape[:2]
        half = field.flatten(3).reshape(-1, len(self._to_x)) @ self._to_x
        half = half.view(m * c, 2 * self.shape[0], self.side)
        return torch.matmul(self._to_y, half).view(m, c, -1)

    def to_frequencies(self, image):
        """Transpose of `to_pixels` for one image each."""
        m = len(image)
        half = torch.matmul(self._to_y.T,
                            image.view(m, self.side, self.side))
        return (half.view(-1, 2 * self.side) @ self._to_x.T).view(
            m, self.shape[0], 2, self.shape[1])

    def moved(self, field, matrix):
        """Spectra of the derivatives of templates by x and y."""
        for i in (0, 1):
            slope = (self.slope_x, self.slope_y)[i]
            if matrix is not None:
                slope = (matrix[:, 0, i, None, None] * self.slope_x
                         + matrix[:, 1, i, None, None] * self.slope_y)
            yield torch.stack([field[:, :, 1] * slope,
                               -field[:, :, 0] * slope], 2)

    # ------------------------------------------------------------ templates
    def spectrum(self, mixture):
        """
        Spectrum of sources without PSF and place, and their Gaussians.

        The spectrum is real ``(m, 1, n_k)``, or of complex parts
        ``(m, 2, n_k)`` where sources have asymmetry.
        """
        if mixture is None:
            return None, None
        waves = self.gaussians(mixture)
        value = mixture.weight[:, None] @ waves
        if mixture.structure is None:
            return value, waves
        more = mixture.structure.basis.spectrum(
            mixture.structure, self.slope_x.ravel(), self.slope_y.ravel())
        more[:, :1] += value
        return more, waves

    def times(self, value, base):
        """Product of a spectrum of `spectrum` and shifted transfers."""
        if value is None:
            return base
        value = value.unflatten(2, self.shape).transpose(1, 2)
        if value.shape[2] == 1:
            return value * base
        re = value[:, :, 0] * base[:, :, 0] - value[:, :, 1] * base[:, :, 1]
        im = value[:, :, 0] * base[:, :, 1] + value[:, :, 1] * base[:, :, 0]
        return torch.stack([re, im], 2)

    def template(self, mixture, transfer, place):
        """Images (m, w * w), and what `slope` needs of their making."""
        base = self.shifted(transfer, place)
        value, waves = self.spectrum(mixture)
        field = self.times(value, base)
        return self.to_pixels(field[:, None])[:, 0], (waves, field, base)

    def columns(self, mixture, slope, transfer, place, matrix=None):
        """Templates and their derivatives, (m, 1 + p, w * w)."""
        field = self._fields(mixture, slope, self.shifted(transfer, place),
                             matrix)
        return self.to_pixels(field)

    def _fields(self, mixture, slope, base, matrix):
        """Spectra of `columns`, (m, 1 + p, n_ky, 2, n_kx)."""
        if mixture is None:
            return torch.stack([base, *self.moved(base, matrix)], 1)
        value = self._shape_spectra(mixture, slope)
        n = value.shape[2]
        field = base.new_empty(len(base), n + 2, *base.shape[1:])
        value = value.unflatten(3, self.shape)
        if len(value[0]) == 1:
            value = value[:, 0, :, :, None]
            torch.mul(value[:, :1], base[:, None], out=field[:, :1])
            torch.mul(value[:, 1:], base[:, None], out=field[:, 3:])
        else:
            rows = torch.tensor([0, *range(3, n + 2)], device=base.device)
            (re, im), (c, s) = value.unbind(1), base[:, None].unbind(3)
            field[:, rows] = torch.stack([re * c - im * s,
                                          re * s + im * c], 3)
        for i, moved in enumerate(self.moved(field[:, 0], matrix)):
            field[:, 1 + i] = moved
        return field

    def _shape_spectra(self, mixture, slope):
        """Spectra and derivatives by size, shear and so on, (m, r, c, k)."""
        waves = self.gaussians(mixture)
        weight = mixture.weight[..., None]
        parts = torch.cat([weight, slope.weight, weight * slope.mean,
                           weight * slope.plus, weight * slope.cross], -1)
        mixed = parts.transpose(1, 2) @ waves
        n = slope.weight.shape[-1]
        value = mixed[:, :1 + n]
        for q in range(3):
            first = 1 + n * (q + 1)
            value[:, 1:].addcmul_(self.quadratic[q],
                                  mixed[:, first:first + n])
        if mixture.structure is None:
            return value[:, None]
        more = mixture.structure.basis.slopes(
            mixture.structure, slope.structure, self.slope_x.ravel(),
            self.slope_y.ravel())
        more[:, 0, :4] += value[:, :4]
        n_own = mixture.structure.amplitude.shape[1]
        rest = torch.zeros_like(more[:, :, :n - 3])
        rest[:, 0] = value[:, 4:]
        return torch.cat([more[:, :, :4], rest, more[:, :, -n_own:]], 2)

    # --------------------------------------------------------------- slopes
    def slope(self, kept, mixture, slope, image, matrix=None):
        """Products of images with the derivatives of templates, (m, p)."""
        waves, field, base = kept
        back = self.to_frequencies(image)
        place = self._slope_of_place(back, field, matrix)
        if mixture is None:
            return place
        if mixture.structure is not None:
            fields = self._fields(mixture, slope, base, matrix)[:, 3:]
            shape = (fields.flatten(2) @ back.flatten(1)[..., None])[..., 0]
        else:
            real = (back * base).sum(2).flatten(1)
            shape = self._slope_of_mixture(real, waves, mixture, slope)
        return torch.cat([place, shape], 1)

    def _slope_of_place(self, back, field, matrix):
        """Products with the derivatives by x and y, (m, 2)."""
        turn = back[:, :, 0] * field[:, :, 1] - back[:, :, 1] * field[:, :, 0]
        place = torch.stack([turn.sum(1) @ self.kx.float(),
                             turn.sum(2) @ self.ky.float()], 1)
        if matrix is None:
            return place
        return (matrix.transpose(1, 2) @ place[..., None])[..., 0]

    def _slope_of_mixture(self, real, waves, mixture, slope):
        """Products with the derivatives by size, shear, latent, (m, p)."""
        moments = torch.cat([real[:, None], real[:, None] * self.quadratic],
                            1) @ waves.transpose(1, 2)
        total = moments[:, :1] @ slope.weight
        for q, part in enumerate((slope.mean, slope.plus, slope.cross), 1):
            total = total + (moments[:, q] * mixture.weight)[:, None] @ part
        return total[:, 0]


@lru_cache(maxsize=512)
def make_drawer(side, binning, period, reach, oversampling, device):
    """Drawer of windows of a side with transforms of a period, in pixels."""
    grid = FrequencyGrid(period, reach, oversampling, binning)
    return WindowDrawer(side, grid, period, device)
