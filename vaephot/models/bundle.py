# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Both autoencoders as one set of tensors, and back."""

from dataclasses import replace

import torch

from vaephot.exceptions import WeightsError
from vaephot.models.config import ModelConfig
from vaephot.models.vae import VAE

__all__ = ['SHARED_SIZES', 'build_vaes', 'fit_decoder', 'load_shared',
           'pack_vaes', 'with_structure']

# sizes of decoder and prior
SHARED_SIZES = ('n_latent', 'n_components', 'sigma_min', 'sigma_max',
                'decoder_width', 'prior_width', 'position_sigma',
                'structure_orders', 'structure_sigma')
# layers whose outputs are values and precisions of all parameters
OUTPUTS = ('encoder.head.4.', 'encoder.direct.')
# evidence on amplitudes that an encoder has not learned of yet: logarithm of
# its precision over the signal-to-noise ratio
UNLEARNED = -8.0
_SHARED = ('decoder', 'prior')
_STAGES = ('isolated', 'blended')


def pack_vaes(vaes):
    """
    Tensors of both autoencoders, the shared parts once.

    Parameters
    ----------
    vaes : dict
        `~vaephot.models.vae.VAE` by ``'isolated'`` and ``'blended'``.

    Returns
    -------
    dict
        Tensors by name, on the CPU.
    """
    tensors = {}
    for stage in _STAGES:
        for name, tensor in vaes[stage].state_dict().items():
            part, _, rest = name.partition('.')
            key = name if part in _SHARED else f'{stage}.{part}.{rest}'
            tensors[key] = tensor.detach().cpu().contiguous()
    return tensors


def load_shared(vae, weights):
    """
    Give an autoencoder the decoder and the prior of weights.

    Parameters
    ----------
    vae : `~vaephot.models.vae.VAE`
        Changed in place; of the same `SHARED_SIZES`.
    weights : `~vaephot.weights.loading.Weights`
        Tensors and their record.
    """
    for part in _SHARED:
        getattr(vae, part).load_state_dict({
            name.partition('.')[2]: tensor for name, tensor
            in weights.tensors.items() if name.startswith(f'{part}.')})


def with_structure(vae, orders, sigma):
    """
    An autoencoder that has further waves of structure.

    Parameters
    ----------
    vae : `~vaephot.models.vae.VAE`
        One without structure, or with the first of the waves.
    orders : tuple of int
        Angular order of each wave.
    sigma : tuple of float
        Widths of their Gaussians in half-light radii.

    Returns
    -------
    `~vaephot.models.vae.VAE`
        It says the same of all that the other one knows, and next to
        nothing of the new amplitudes; their waves are dark.
    """
    config = replace(vae.config, structure_orders=orders,
                     structure_sigma=sigma)
    with torch.random.fork_rng():
        wide = VAE(config)
    old, new = vae.config.n_parameters, config.n_parameters
    tensors = wide.state_dict()
    for name, tensor in vae.state_dict().items():
        target = tensors[name]
        if target.shape == tensor.shape:
            target.copy_(tensor)
            continue
        # outputs are values, then precisions; the guess comes in last
        rows = torch.arange(len(tensor))
        if name == 'decoder.structure.radial':
            target[rows] = tensor
            continue
        if name.startswith(OUTPUTS):
            target.zero_()
            rows = torch.cat([torch.arange(old), new + torch.arange(old)])
        if target.ndim == 1:
            target[rows] = tensor
            target[new + old:] = UNLEARNED if name.startswith(
                'encoder.direct') else 0
        else:
            target[:, tensor.shape[1]:] = 0
            target[rows, :tensor.shape[1]] = tensor
    wide.load_state_dict(tensors)
    return wide


def build_vaes(weights):
    """
    Autoencoders from weights.

    Parameters
    ----------
    weights : `~vaephot.weights.loading.Weights`
        Tensors and their record.

    Returns
    -------
    dict
        `~vaephot.models.vae.VAE` by ``'isolated'`` and ``'blended'``,
        frozen.

    Raises
    ------
    WeightsError
        If the tensors are not those of the recorded configuration.
    """
    config = ModelConfig.from_dict(weights.record.model_config)
    vaes = {}
    for stage in _STAGES:
        vae = VAE(config)
        own = {}
        for name in vae.state_dict():
            part = name.partition('.')[0]
            key = name if part in _SHARED else f'{stage}.{name}'
            if key in weights.tensors:
                own[name] = weights.tensors[key]
        try:
            vae.load_state_dict(own)
        except RuntimeError as err:
            msg = (f'the tensors of {weights.record.name!r} do not fit its '
                   f'configuration {config.to_dict()}: {err}')
            raise WeightsError(msg, name=weights.record.name) from err
        vaes[stage] = vae.eval().requires_grad_(False)
    return vaes


def fit_decoder(vae, device='cpu'):
    """
    Decoder in the precision of the fit.

    Parameters
    ----------
    vae : `~vaephot.models.vae.VAE`
        Autoencoder.
    device : str
        Torch device.

    Returns
    -------
    `~vaephot.models.decoder.Decoder`
        A copy in float64, or float32 on devices that lack it.
    """
    dtype = torch.float32 if device == 'mps' else torch.float64
    decoder = type(vae.decoder)(vae.config)
    decoder.load_state_dict(vae.decoder.state_dict())
    return decoder.to(device=device, dtype=dtype).requires_grad_(False)
