# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Which sources are fitted with structure.

Most sources are so faint or so smooth that a concentric profile says all that
can be said of them. Amplitudes that nothing asks for would only cost time and
make errors larger, so they are free where the encoder sees structure, and zero
elsewhere.
"""

import torch

from vaephot.deblend.refine import HELD
from vaephot.models.asymmetry import frames
from vaephot.models.encoder import Gaussian

__all__ = ['LEAST_SIGNIFICANCE', 'has_waves', 'held_waves',
           'radii_within', 'without_weak_waves']

# squared distance of all amplitudes from zero, in units of their errors, from
# which on a source has structure
LEAST_SIGNIFICANCE = 100.0


def without_weak_waves(gaussian, config, least=LEAST_SIGNIFICANCE):
    """
    Take away the structure of sources that may as well have none.

    Parameters
    ----------
    gaussian : `~vaephot.models.encoder.Gaussian`
        Posterior of sources.
    config : `~vaephot.models.config.ModelConfig`
        Sizes of the networks.
    least : float, optional
        Squared distance of all amplitudes from zero, in units of their
        errors, of sources that keep them.

    Returns
    -------
    `~vaephot.models.encoder.Gaussian`
        Amplitudes of the others are zero.
    """
    if not config.n_structure:
        return gaussian
    mean = gaussian.mean.clone()
    waves = mean[:, config.n_concentric:]
    strength = (waves ** 2
                * gaussian.precision[:, config.n_concentric:]).sum(1)
    waves[strength < least] = 0
    return gaussian._replace(mean=mean)


def has_waves(gaussian, config):
    """
    Which sources have structure.

    Parameters
    ----------
    gaussian : `~vaephot.models.encoder.Gaussian`
        Shapes of sources.
    config : `~vaephot.models.config.ModelConfig`
        Sizes of the networks.

    Returns
    -------
    `numpy.ndarray` of bool, (n,)
    """
    return (gaussian.mean[:, config.n_concentric:] != 0).any(1).numpy()


def held_waves(prior, free, config):
    """
    Prior that leaves the structure of some sources free alone.

    Parameters
    ----------
    prior : `~vaephot.models.encoder.Gaussian`
        Prior of sources.
    free : `numpy.ndarray` of bool, (n,)
        Sources with structure.
    config : `~vaephot.models.config.ModelConfig`
        Sizes of the networks.

    Returns
    -------
    `~vaephot.models.encoder.Gaussian`
    """
    if not config.n_structure:
        return prior
    precision = prior.precision.clone()
    precision[torch.as_tensor(~free), config.n_concentric:] = HELD
    return Gaussian(prior.mean, precision)


def radii_within(parameters, places):
    """
    Distances from galaxies along their ellipses.

    Parameters
    ----------
    parameters : `numpy.ndarray`, (n, n_parameters)
        Galaxies.
    places : `numpy.ndarray`, (n, m, 2) or (1, m, 2)
        Positions, those of each galaxy or the same for all.

    Returns
    -------
    `numpy.ndarray`, (n, m)
        In units of their half-light radii.
    """
    values = torch.as_tensor(parameters)
    frame, _ = frames(values[:, 2], values[:, 3:5])
    apart = torch.as_tensor(places) - values[:, None, :2]
    return torch.linalg.solve(frame, apart.transpose(1, 2)).norm(
        dim=1).numpy()
