# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The decoder: from a latent to a unit-flux, positive, PSF-free galaxy.

A galaxy is a sum of concentric elliptical Gaussians whose weights add up
to one, so that its flux is one and nothing is negative, whatever the
network says. Its half-light radius is the explicit size, to the last
digit, because the widths are divided by the half-light radius of the sum.
The network chooses the weights, which make the radial profile, and how
much of the explicit shear each Gaussian takes, so that a round bulge may
sit in an inclined disk. The Fourier transform is analytic: nothing is
resampled and nothing aliases.
"""

from typing import NamedTuple

import torch
from torch import nn

from vaephot.models.asymmetry import Structure, StructureBasis, frames

__all__ = ['Decoder', 'Mixture', 'half_light_radius']

# largest factor by which a Gaussian may exceed the explicit shear
MAX_SHEAR_FACTOR = 1.5
N_BISECTIONS = 12
N_NEWTON = 2


class Mixture(NamedTuple):
    """
    Concentric Gaussians of a batch of sources, each ``(..., j)``.

    The covariance matrix of a Gaussian, in square pixels, is
    ``[[mean + plus, cross], [cross, mean - plus]]``. ``structure``: what
    is added to them, a `~vaephot.models.asymmetry.Structure` or `None`.
    """

    weight: torch.Tensor
    mean: torch.Tensor
    plus: torch.Tensor
    cross: torch.Tensor
    structure: Structure | None = None

    def take(self, rows):
        """Gaussians of some of the sources."""
        return Mixture(*[part[rows] for part in self[:4]],
                       self.structure and self.structure.take(rows))

    def to(self, dtype):
        """The same numbers in another precision."""
        return Mixture(*[part.to(dtype) for part in self[:4]],
                       self.structure and self.structure.to(dtype))

    def transformed(self, matrix):
        """Covariances ``A C A^T`` after affine maps (n, 2, 2) of the plane."""
        extra = (1,) * (self.mean.ndim - 1)
        a, b, c, d = (v.reshape(-1, *extra) for v in matrix.flatten(1).T)
        xx, yy, xy = self.mean + self.plus, self.mean - self.plus, self.cross
        new_xx = a * a * xx + 2 * a * b * xy + b * b * yy
        new_yy = c * c * xx + 2 * c * d * xy + d * d * yy
        new_xy = a * c * xx + (a * d + b * c) * xy + b * d * yy
        return Mixture(self.weight, (new_xx + new_yy) / 2,
                       (new_xx - new_yy) / 2, new_xy,
                       self.structure and self.structure.transformed(matrix))


def half_light_radius(weight, sigma):
    """
    Half-light radius of round concentric Gaussians.

    Parameters
    ----------
    weight : `torch.Tensor`, (..., j)
        Flux of each, adding up to one.
    sigma : `torch.Tensor`, (j,)
        Their widths.

    Returns
    -------
    `torch.Tensor`, (...)
        Radius of half the flux, in the unit of ``sigma``; differentiable
        with respect to ``weight``.
    """
    inverse = 0.5 / sigma ** 2
    fixed = weight.detach()
    low = torch.full_like(fixed[..., :1], float(sigma.min()) ** 2)
    high = torch.full_like(low, 4 * float(sigma.max()) ** 2)
    for _ in range(N_BISECTIONS):
        middle = torch.sqrt(low * high)
        outside = (fixed * torch.exp(-middle * inverse)).sum(-1, True)
        low = torch.where(outside > 0.5, middle, low)
        high = torch.where(outside > 0.5, high, middle)
    squared = torch.sqrt(low * high)
    for _ in range(N_NEWTON):
        squared = _newton(squared, fixed, inverse)
    # the last step carries the derivative with respect to the weights
    return torch.sqrt(_newton(squared.detach(), weight, inverse)[..., 0])


def _newton(squared, weight, inverse):
    """Newton step towards the squared radius of half the flux."""
    outside = weight * torch.exp(-squared * inverse)
    slope = (outside * inverse).sum(-1, True).detach()
    return squared + (outside.sum(-1, True) - 0.5) / slope


class Decoder(nn.Module):
    """
    Turn size, shear and latent into a sum of Gaussians.

    Parameters
    ----------
    config : `~vaephot.models.config.ModelConfig`
        Sizes of the network.
    """

    def __init__(self, config):
        super().__init__()
        self.config = config
        n_out = 2 * config.n_components
        self.network = nn.Sequential(
            nn.Linear(config.n_latent, config.decoder_width), nn.SiLU(),
            nn.Linear(config.decoder_width, config.decoder_width), nn.SiLU(),
            nn.Linear(config.decoder_width, n_out))
        log_sigma = torch.linspace(0, 1, config.n_components,
                                   dtype=torch.float64)
        span = torch.log(torch.tensor(config.sigma_max / config.sigma_min,
                                      dtype=torch.float64))
        self.register_buffer('sigma',
                             config.sigma_min * torch.exp(span * log_sigma))
        self.structure = None
        if config.structure_orders:
            self.structure = StructureBasis(config.structure_orders,
                                            config.structure_sigma)
        self._start_at_exponential()

    def _start_at_exponential(self):
        """Set the last layer so that z = 0 resembles an exponential."""
        last = self.network[-1]
        with torch.no_grad():
            last.weight.mul_(0.3)
            # weights of an exponential disk peak near its half-light radius
            distance = torch.log(self.sigma / 0.8)
            last.bias[:self.config.n_components] = -0.9 * distance ** 2
            last.bias[self.config.n_components:] = 0.7

    def profile(self, latent):
        """
        Radial profile and shear response of a latent.

        Parameters
        ----------
        latent : `torch.Tensor`, (..., n_latent)
            Latent.

        Returns
        -------
        weight, sigma, shear_factor : `torch.Tensor`, (..., j)
            Flux and width (half-light radius of the sum = 1) of each
            Gaussian, and the factor on the explicit shear.
        """
        out = self.network(latent.to(self.network[0].weight.dtype))
        logits, response = out.to(latent.dtype).chunk(2, dim=-1)
        weight = torch.softmax(logits, dim=-1)
        grid = self.sigma.to(latent.dtype)
        sigma = grid / half_light_radius(weight, grid)[..., None]
        return weight, sigma, MAX_SHEAR_FACTOR * torch.sigmoid(response)

    def forward(self, log_size, eta, latent):
        """
        Gaussians of a batch of sources.

        Parameters
        ----------
        log_size : `torch.Tensor`, (...)
            Natural logarithm of the half-light radius in pixels.
        eta : `torch.Tensor`, (..., 2)
            Conformal shear (Bernstein & Jarvis 2002, eq. 2.8): its
            length is minus the logarithm of the axis ratio of a Gaussian
            with shear factor 1, its direction twice the position angle.
        latent : `torch.Tensor`, (..., n_latent)
            Latent.

        Returns
        -------
        Mixture
            Each entry ``(..., j)``.
        """
        weight, sigma, factor = self.profile(latent)
        variance = (torch.exp(log_size)[..., None] * sigma) ** 2
        # the small constant keeps the derivative finite at zero shear
        length = factor * torch.sqrt((eta ** 2).sum(-1, True) + 1e-12)
        elongation = variance * factor * torch.sinh(length) / length
        return Mixture(weight, variance * torch.cosh(length),
                       elongation * eta[..., :1], elongation * eta[..., 1:])

    def from_parameters(self, parameters):
        """
        Gaussians of sources given by their parameter vectors.

        Parameters
        ----------
        parameters : `torch.Tensor`, (..., n_parameters)
            Parameters in the order of
            `~vaephot.models.config.PARAMETER_NAMES`, then the latent and
            the amplitudes of the structure, which may be missing.

        Returns
        -------
        Mixture
        """
        n = self.config.n_concentric
        mixture = self(parameters[..., 2], parameters[..., 3:5],
                       parameters[..., 5:n])
        if not parameters[..., n:].any():
            return mixture
        return mixture._replace(structure=self._structure(parameters)[0])

    def _structure(self, parameters):
        """Structure of sources, and the same with slopes of its frame."""
        amplitude = parameters[:, self.config.n_concentric:]
        return [Structure(frame, amplitude, self.structure) for frame
                in frames(parameters[:, 2], parameters[:, 3:5])]

    def centroids(self, parameters):
        """
        Where the centre of the light of sources is.

        Parameters
        ----------
        parameters : `torch.Tensor`, (n, n_parameters)
            Parameters, as for `from_parameters`.

        Returns
        -------
        `torch.Tensor`, (n, 2)
            In the pixels of the positions.
        """
        if parameters.shape[1] == self.config.n_concentric:
            return parameters[:, :2]
        structure, _ = self._structure(parameters)
        return parameters[:, :2] + self.structure.centroid(structure)

    def _network_jacobian(self, latent):
        """Output of the network and its derivative by the latent."""
        value = latent.to(self.network[0].weight.dtype)
        slope = torch.eye(value.shape[-1], dtype=value.dtype,
                          device=value.device).expand(len(value), -1, -1)
        for layer in self.network:
            if isinstance(layer, nn.Linear):
                slope = layer.weight @ slope
            else:
                gate = torch.sigmoid(value)
                slope = (gate * (1 + value * (1 - gate)))[..., None] * slope
            value = layer(value)
        return value.to(latent.dtype), slope.to(latent.dtype)

    def _profile_jacobian(self, latent):
        """Profile as `profile` returns it, each with its derivative."""
        out, slope = self._network_jacobian(latent)
        (logits, response), (d_logits, d_response) = (
            out.chunk(2, dim=-1), slope.chunk(2, dim=-2))
        weight = torch.softmax(logits, dim=-1)
        mean = (weight[..., None] * d_logits).sum(-2, True)
        d_weight = weight[..., None] * (d_logits - mean)
        grid = self.sigma.to(latent.dtype)
        radius = half_light_radius(weight, grid)[..., None]
        # derivative of the radius from that of the flux within it
        wave = torch.exp(-0.5 * (radius / grid) ** 2)
        steep = (weight * wave * (radius / grid) ** 2).sum(-1, True)
        d_log_radius = (wave[..., None] * d_weight).sum(-2) / steep
        gate = torch.sigmoid(response)
        factor = MAX_SHEAR_FACTOR * gate
        d_factor = (factor * (1 - gate))[..., None] * d_response
        return (weight, grid / radius, factor), (d_weight, -d_log_radius,
                                                 d_factor)

    def jacobian(self, parameters):
        """
        Gaussians and their derivatives.

        Parameters
        ----------
        parameters : `torch.Tensor`, (n, n_parameters)
            Parameters of the sources, as for `from_parameters`.

        Returns
        -------
        mixture : Mixture
            Each entry ``(n, j)``.
        derivative : Mixture
            Each entry ``(n, j, 3 + n_latent)``: with respect to size,
            shear and latent; the structure has the derivatives of its
            frame.
        """
        n = self.config.n_concentric
        mixture, derivative = self._concentric_jacobian(parameters[:, :n])
        if parameters.shape[1] == n:
            return mixture, derivative
        structure, steep = self._structure(parameters)
        return (mixture._replace(structure=structure),
                derivative._replace(structure=steep))

    def _concentric_jacobian(self, parameters):
        """What `jacobian` returns, without structure."""
        eta = parameters[:, 3:5, None]
        (weight, sigma, factor), (d_weight, d_log_sigma, d_factor) = (
            self._profile_jacobian(parameters[:, 5:]))
        variance = (torch.exp(parameters[:, 2, None]) * sigma) ** 2
        size = torch.sqrt((eta ** 2).sum(1) + 1e-12)
        length = factor * size
        cosh, sinh = torch.cosh(length), torch.sinh(length)
        mean, stretch = variance * cosh, variance * factor * sinh / length
        bend = variance * factor * (cosh - sinh / length) / length
        mixture = Mixture(weight, mean, stretch * eta[:, 0],
                          stretch * eta[:, 1])
        # by size, by both components of the shear, by the latent
        along = (eta / size[:, None]).transpose(1, 2) * factor[..., None]
        d_length = torch.cat([0 * along[..., :1], along,
                              size[..., None] * d_factor], -1)
        d_size = torch.cat([
            torch.full_like(along[..., :1], 2), 0 * along,
            (2 * d_log_sigma)[:, None].expand_as(d_factor)], -1)
        d_scale = torch.cat([0 * along[..., :1], 0 * along,
                             d_factor / factor[..., None]], -1)
        d_mean = (mean[..., None] * d_size
                  + (variance * sinh)[..., None] * d_length)
        d_stretch = (stretch[..., None] * (d_size + d_scale)
                     + bend[..., None] * d_length)
        turned = [d_stretch * eta[:, i, :, None] for i in (0, 1)]
        for i in (0, 1):
            turned[i][..., 1 + i] += stretch
        zeros = torch.zeros_like(d_weight[..., :1]).expand(-1, -1, 3)
        return mixture, Mixture(torch.cat([zeros, d_weight], -1), d_mean,
                                *turned)
