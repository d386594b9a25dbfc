# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Both autoencoders as one set of tensors, and back."""

import torch

from vaephot.exceptions import WeightsError
from vaephot.models.config import ModelConfig
from vaephot.models.vae import VAE

__all__ = ['SHARED_SIZES', 'build_vaes', 'fit_decoder', 'load_shared',
           'pack_vaes']

# sizes of decoder and prior
SHARED_SIZES = ('n_latent', 'n_components', 'sigma_min', 'sigma_max',
                'decoder_width', 'prior_width', 'position_sigma')
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
    weights : `~vaephot.weights.io.Weights`
        Tensors and their record.
    """
    for part in _SHARED:
        getattr(vae, part).load_state_dict({
            name.partition('.')[2]: tensor for name, tensor
            in weights.tensors.items() if name.startswith(f'{part}.')})


def build_vaes(weights):
    """
    Autoencoders from weights.

    Parameters
    ----------
    weights : `~vaephot.weights.io.Weights`
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
