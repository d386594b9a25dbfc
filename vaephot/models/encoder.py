# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The encoder: what one band's stamp says about the source at its centre.

It returns not a posterior but the evidence of that band alone: for each
parameter a value and a precision. Evidence of several bands adds up, and
the prior is one more term, so one network serves any number of bands and
another band can only sharpen the answer.

The network is shown a guess and what its model leaves, and says how to
correct it. So it can look again at what it said: errors of a bright source
that no network would see in the image stand out in what is left of it
(iterative amortized inference; Marino et al. 2018, sec. 3).
"""

from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from vaephot.models.normalization import N_CHANNELS, N_CONDITIONS

__all__ = ['Encoder', 'Evidence', 'Gaussian', 'combine', 'limit_guess']

# least logarithm of a precision: evidence this weak is as good as none
MIN_LOG_PRECISION = -5.0
# largest logarithm of a precision over the signal-to-noise ratio
RAW_LIMIT = 12.0
# corrections that a moment asks for: parameter, place of the moment among
# the conditions, and slope
MOMENT_SLOPES = ((0, 7, 1.2), (1, 8, 1.2), (2, 9, 2.0), (3, 10, 5.0),
                 (4, 11, 5.0))
# range of the guess's logarithmic size over the FWHM, as the head sees it
GUESS_SIZE_RANGE = (-3.0, 3.0)


# limits of guesses: logarithm of the size in FWHM, shear and latent
LIMIT_SIZE = (-4.0, 3.0)
LIMIT_SHEAR, LIMIT_LATENT = 2.5, 5.0


class Gaussian(NamedTuple):
    """Independent normal distributions: ``mean`` and ``precision``."""

    mean: torch.Tensor
    precision: torch.Tensor


class Evidence(NamedTuple):
    """Gaussian factor of a likelihood: ``mean`` and ``precision``."""

    mean: torch.Tensor
    precision: torch.Tensor


def combine(prior, evidence, axis=None):
    """
    Multiply a prior by the evidence.

    Parameters
    ----------
    prior : Gaussian
        Prior, each entry ``(n, n_parameters)``.
    evidence : Evidence
        Evidence, each entry ``(n, n_parameters)``, or with one axis more
        for the bands.
    axis : int, optional
        Axis of the bands; `None` for a single band.

    Returns
    -------
    Gaussian
        The posterior, each entry ``(n, n_parameters)``.
    """
    precision = evidence.precision
    weighted = precision * evidence.mean
    if axis is not None:
        precision, weighted = precision.sum(axis), weighted.sum(axis)
    total = prior.precision + precision
    return Gaussian((prior.precision * prior.mean + weighted) / total, total)


def limit_guess(guess, place, log_fwhm, reach):
    """
    Keep guesses where models can be drawn.

    Parameters
    ----------
    guess : `torch.Tensor`, (n, n_parameters)
        Parameters.
    place : `torch.Tensor`, (n, 2)
        Middle of the stamps in the pixels of the parameters.
    log_fwhm : `torch.Tensor`, (n,)
        Logarithm of the FWHM of the PSF in these pixels.
    reach : `torch.Tensor`, (n,)
        Half the side of the stamps, likewise.

    Returns
    -------
    `torch.Tensor`, (n, n_parameters)
    """
    low, high = LIMIT_SIZE
    size = torch.minimum(torch.maximum(guess[:, 2], log_fwhm + low),
                         log_fwhm + high)
    away = torch.minimum(torch.maximum(guess[:, :2] - place,
                                       -reach[:, None]), reach[:, None])
    return torch.cat([place + away, size[:, None],
                      guess[:, 3:5].clamp(-LIMIT_SHEAR, LIMIT_SHEAR),
                      guess[:, 5:].clamp(-LIMIT_LATENT, LIMIT_LATENT)], 1)


class _Stage(nn.Module):
    """Halve the stamp, then one residual convolution."""

    def __init__(self, n_in, n_out, kernel):
        super().__init__()
        self.down = nn.Conv2d(n_in, n_out, kernel, stride=2,
                              padding=kernel // 2)
        self.norm = nn.GroupNorm(4, n_out)
        self.same = nn.Conv2d(n_out, n_out, 3, padding=1)

    def forward(self, x):
        x = functional.silu(self.norm(self.down(x)))
        return x + functional.silu(self.same(x))


class Encoder(nn.Module):
    """
    Turn stamps of one band into evidence on the parameters.

    Parameters
    ----------
    config : `~vaephot.models.config.ModelConfig`
        Sizes of the network.
    """

    def __init__(self, config):
        super().__init__()
        self.config = config
        channels = (N_CHANNELS, *config.encoder_channels)
        kernels = (5, *[3] * len(config.encoder_channels))
        self.stages = nn.Sequential(*[
            _Stage(n_in, n_out, kernel) for n_in, n_out, kernel
            in zip(channels[:-1], channels[1:], kernels, strict=False)])
        side = config.stamp_size // 2 ** len(config.encoder_channels)
        n_in = channels[-1] * side ** 2 + N_CONDITIONS + config.n_parameters
        self.head = nn.Sequential(
            nn.Linear(n_in, config.head_width),
            nn.SiLU(), nn.Linear(config.head_width, config.head_width),
            nn.SiLU(), nn.Linear(config.head_width, 2 * config.n_parameters))
        self.direct = nn.Linear(N_CONDITIONS + config.n_parameters,
                                2 * config.n_parameters)
        self._start_at_moments()

    def _start_at_moments(self):
        """Let the first corrections be those of moments."""
        with torch.no_grad():
            self.head[-1].weight.mul_(0.1)
            self.direct.weight.zero_()
            self.direct.bias.zero_()
            for row, column, slope in MOMENT_SLOPES:
                self.direct.weight[row, column] = slope

    @staticmethod
    def _relative(guess, target, log_fwhm):
        """A guess as the head sees it: from the place told, in FWHM."""
        size = (guess[:, 2:3] - log_fwhm[:, None]).clamp(*GUESS_SIZE_RANGE)
        return torch.cat([guess[:, :2] - target, size, guess[:, 3:]], 1)

    def forward(self, inputs, stamps, misfit, width, moments):
        """
        Evidence of stamps.

        Parameters
        ----------
        inputs : `torch.Tensor`, (n, N_CHANNELS, size, size)
            What `~vaephot.models.normalization.encoder_inputs` returned.
        stamps : `~vaephot.models.vae.StampBatch`
            Conditions and guess.
        misfit : `torch.Tensor`, (n,)
            What `~vaephot.models.normalization.model_misfit` returned.
        width, moments : `torch.Tensor`, (n,) and (n, 6)
            What `~vaephot.models.normalization.left_moments` returned.

        Returns
        -------
        Evidence
            Each entry ``(n, n_parameters)``. Positions are relative to
            the central pixel ``size // 2``; the logarithm of the size is
            in pixels.

        Raises
        ------
        ValueError
            If the stamps have not the size of the configuration.
        """
        expected = (N_CHANNELS,) + (self.config.stamp_size,) * 2
        if tuple(inputs.shape[1:]) != expected:
            msg = (f'encoder inputs have shape {tuple(inputs.shape)}; '
                   f'expected (n, {", ".join(map(str, expected))})')
            raise ValueError(msg)
        inputs = inputs.contiguous(memory_format=torch.channels_last)
        features = self.stages(inputs).flatten(1)
        log_snr = stamps.log_snr
        numbers = torch.stack([stamps.log_fwhm - 0.7, 0.3 * log_snr - 1,
                               0.5 * torch.log(misfit) + 1], 1)
        guess = self._relative(stamps.guess, stamps.target, stamps.log_fwhm)
        conditions = torch.cat([numbers, 5 * stamps.psf_shape, 2 * moments,
                                guess], 1)
        conditions = conditions.to(features)
        out = (self.head(torch.cat([features, conditions], 1))
               + self.direct(conditions))
        step, raw = out.chunk(2, dim=1)
        # precisions are learned relative to the signal-to-noise ratio; the
        # soft limits leave a gradient beyond them
        raw = RAW_LIMIT * torch.tanh(raw / RAW_LIMIT)
        low = MIN_LOG_PRECISION
        raw = low + functional.softplus(raw + log_snr[:, None] - low)
        # corrections are learned in units of the misfit, those of positions
        # in units of the width too
        unit = misfit[:, None].expand(step.shape).clone()
        unit[:, :2] *= width[:, None]
        return Evidence(stamps.guess + unit * step, torch.exp(raw))
