# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Structure of galaxies: what no concentric profile has.

Lopsidedness, bars, arms and clumps are waves around the centre: light that
is added on some sides and taken away on others, in the frame in which the
galaxy is round and its half-light radius is one. A wave of angular order
``m`` is a sum of rings, ``(r / sigma)^m exp(-r^2 / 2 sigma^2)`` times the
cosine or the sine of ``m`` times the angle: harmonic polynomials times
Gaussians, whose Fourier transforms are of the same kind (polar shapelets;
Massey & Refregier 2005). Waves have no flux of their own, so that the flux
of the galaxy stays one. How its rings make up a wave is learned.
"""

import math
from typing import NamedTuple

import torch
from torch import nn

__all__ = ['Structure', 'StructureBasis', 'frames', 'turn_signs',
           'wave_columns']


def frames(log_size, eta):
    """
    Maps from the frame of galaxies to pixels, with derivatives.

    Parameters
    ----------
    log_size : `torch.Tensor`, (n,)
        Logarithm of the half-light radius in pixels.
    eta : `torch.Tensor`, (n, 2)
        Conformal shear.

    Returns
    -------
    frame : `torch.Tensor`, (n, 2, 2)
        Symmetric matrices, the square roots of the covariance of a
        Gaussian of unit width with this size and shear.
    slope : `torch.Tensor`, (n, 3, 2, 2)
        Derivatives by size and shear.
    """
    # the small constant keeps the derivative finite at zero shear
    length = torch.sqrt((eta ** 2).sum(-1) + 1e-8)
    half_cosh = torch.cosh(length / 2)
    stretch = torch.sinh(length / 2) / length
    bend = (half_cosh / 2 - stretch) / length ** 2
    size = torch.exp(log_size)
    one = torch.eye(2, dtype=eta.dtype, device=eta.device)
    turns = torch.tensor([[[1.0, 0.0], [0.0, -1.0]], [[0.0, 1.0], [1.0, 0.0]]],
                         dtype=eta.dtype, device=eta.device)
    turned = torch.einsum('ni,iab->nab', eta, turns)

    def wide(value):
        return value[:, None, None]
    frame = wide(size) * (wide(half_cosh) * one + wide(stretch) * turned)
    slope = [frame] + [
        wide(size) * (wide(stretch * eta[:, i] / 2) * one
                      + wide(bend * eta[:, i]) * turned
                      + wide(stretch) * turns[i]) for i in (0, 1)]
    return frame, torch.stack(slope, 1)


def wave_columns(orders):
    """
    Which amplitudes belong to each wave.

    Parameters
    ----------
    orders : sequence of int
        Angular order of each wave.

    Returns
    -------
    list of list of int
        Numbers of the amplitudes of the cosine and the sine; order 0 has
        one alone.
    """
    columns, first = [], 0
    for order in orders:
        count = 2 if order else 1
        columns.append(list(range(first, first + count)))
        first += count
    return columns


def turn_signs(config):
    """
    What a turn by 180 degrees about the origin does to parameters.

    Parameters
    ----------
    config : `~vaephot.models.config.ModelConfig`
        Sizes of the networks.

    Returns
    -------
    list of float, (n_parameters,)
        Positions and waves of odd order change their sign.
    """
    orders = config.structure_orders
    waves = [(-1.0) ** order for order, columns
             in zip(orders, wave_columns(orders), strict=True)
             for _ in columns]
    return [-1.0, -1.0, *[1.0] * (config.n_concentric - 2), *waves]


class Structure(NamedTuple):
    """
    Structure of a batch of sources.

    ``frame`` ``(n, 2, 2)``, or its derivatives ``(n, 3, 2, 2)``;
    ``amplitude`` ``(n, n_structure)``; ``basis``: the `StructureBasis`.
    """

    frame: torch.Tensor
    amplitude: torch.Tensor
    basis: object

    def take(self, rows):
        """Structure of some of the sources."""
        return Structure(self.frame[rows], self.amplitude[rows], self.basis)

    def to(self, dtype):
        """The same numbers in another precision."""
        return Structure(self.frame.to(dtype), self.amplitude.to(dtype),
                         self.basis)

    def transformed(self, matrix):
        """Structure after an affine map ``(n, 2, 2)`` of the plane."""
        extra = (1,) * (self.frame.ndim - 3)
        matrix = matrix.reshape(len(matrix), *extra, 2, 2)
        return self._replace(frame=matrix @ self.frame)


class _Waves(NamedTuple):
    """Frequencies in the frame of sources, and rings of all waves."""

    a: torch.Tensor
    b: torch.Tensor
    powers: list
    ring: torch.Tensor
    curved: torch.Tensor


class StructureBasis(nn.Module):
    """
    Waves that the structure of a galaxy is made of.

    Parameters
    ----------
    orders : tuple of int
        Angular order of each wave; it has two amplitudes, of the cosine
        and of the sine, but for order 0.
    sigma : tuple of float
        Widths of the Gaussians in half-light radii. A ring of order ``m``
        is brightest at ``sqrt(m)`` times its width.
    """

    def __init__(self, orders, sigma):
        super().__init__()
        self.orders = tuple(orders)
        self._columns = wave_columns(orders)
        self.register_buffer('sigma', torch.tensor(sigma,
                                                   dtype=torch.float64))
        self.register_buffer('radial', torch.zeros(
            len(self.orders), len(sigma), dtype=torch.float64))

    def _rings(self):
        """Weights of the Gaussians of each wave, peaks of rings being one."""
        heights = [self.sigma ** order / (order / math.e) ** (order / 2)
                   if order else self.sigma ** 2 / 2 for order in self.orders]
        return self.radial * torch.stack(heights)

    def _waves(self, frame, kx, ky):
        """Frequencies and rings of sources on a grid of frequencies."""
        a, b = (frame[:, 0, i, None] * kx + frame[:, 1, i, None] * ky
                for i in (0, 1))
        square = (a ** 2 + b ** 2)[:, None]
        variance = (self.sigma ** 2).to(a)
        wave = torch.exp(-0.5 * square * variance[:, None])
        rings = self._rings().to(a)
        ring, curved = rings @ wave, (rings * variance) @ wave
        central = [i for i, order in enumerate(self.orders) if not order]
        curved[:, central] = (square * curved[:, central]
                              - 2 * ring[:, central])
        ring[:, central] = square * ring[:, central]
        powers = [(torch.ones_like(a), torch.zeros_like(a))]
        for _ in range(max(self.orders)):
            re, im = powers[-1]
            powers.append((a * re - b * im, a * im + b * re))
        return _Waves(a, b, powers, ring, curved)

    @staticmethod
    def _parts(order):
        """Real (0) or imaginary (1) part of ``(-i)^m``, and its sign."""
        return order % 2, -1.0 if order % 4 in (1, 2) else 1.0

    def _amplitudes(self, structure, i):
        """Amplitudes of the cosine and the sine of a wave, (n, 1)."""
        own = [structure.amplitude[:, k, None] for k in self._columns[i]]
        return own if len(own) == 2 else (own[0], torch.zeros_like(own[0]))

    def centroid(self, structure):
        """
        How far waves of order 1 move the centre of the light.

        Parameters
        ----------
        structure : Structure
            Of sources of unit flux.

        Returns
        -------
        `torch.Tensor`, (n, 2)
            In pixels.
        """
        moment = self._rings().sum(1)
        moved = torch.zeros_like(structure.frame[..., 0])
        for i, order in enumerate(self.orders):
            if order == 1:
                own = torch.cat(self._amplitudes(structure, i), 1)
                moved = moved + moment[i].to(own) * own
        return (structure.frame @ moved[..., None])[..., 0]

    def spectrum(self, structure, kx, ky):
        """
        Fourier transform of the structure of sources of unit flux.

        Parameters
        ----------
        structure : Structure
            Of the sources.
        kx, ky : `torch.Tensor`, (k,)
            Angular frequencies per pixel.

        Returns
        -------
        `torch.Tensor`, (n, 2, k)
            Real and imaginary part, without the shift.
        """
        waves = self._waves(structure.frame, kx, ky)
        out = torch.stack([torch.zeros_like(waves.a)] * 2, 1)
        for i, order in enumerate(self.orders):
            part, sign = self._parts(order)
            re, im = waves.powers[order]
            cosine, sine = self._amplitudes(structure, i)
            out[:, part] += (sign * (cosine * re + sine * im)
                             * waves.ring[:, i])
        return out

    def slopes(self, structure, steep, kx, ky):
        """
        Fourier transform of the structure, and its derivatives.

        Parameters
        ----------
        structure, steep : Structure
            Of the sources, and with the derivatives of the frame.
        kx, ky : `torch.Tensor`, (k,)
            Angular frequencies per pixel.

        Returns
        -------
        `torch.Tensor`, (n, 2, 4 + n_structure, k)
            Real and imaginary part of the structure, and of its
            derivatives by size, shear and amplitudes.
        """
        waves = self._waves(structure.frame, kx, ky)
        n, k = waves.a.shape
        out = waves.a.new_zeros(n, 2, 4 + structure.amplitude.shape[1], k)
        push = waves.a.new_zeros(n, 2, 2, k)
        for i, order in enumerate(self.orders):
            part, sign = self._parts(order)
            (re, im), (low_re, low_im) = (waves.powers[order],
                                          waves.powers[order - 1])
            ring, curved = sign * waves.ring[:, i], sign * waves.curved[:, i]
            cosine, sine = self._amplitudes(structure, i)
            total = cosine * re + sine * im
            for column, own in zip(self._columns[i], (re, im), strict=False):
                out[:, part, 4 + column] = own * ring
            out[:, part, 0] += total * ring
            push[:, part, 0] += (order * (cosine * low_re + sine * low_im)
                                 * ring - total * waves.a * curved)
            push[:, part, 1] += (order * (sine * low_re - cosine * low_im)
                                 * ring - total * waves.b * curved)
        for i in range(3):
            for j in (0, 1):
                moved = (steep.frame[:, i, 0, j, None] * kx
                         + steep.frame[:, i, 1, j, None] * ky)
                out[:, :, 1 + i] += push[:, :, j] * moved[:, None]
        return out
