# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Convolutions of the encoder in half precision while it is trained.

They are nearly all the work of the networks. The head of the encoder, the
rendering and the losses stay in float32: the eight binary digits of
bfloat16 tell a position of one pixel to 0.004 only.
"""

from contextlib import contextmanager

import torch
from torch import nn

__all__ = ['PRECISIONS', 'convolutions_in']

PRECISIONS = {'float32': torch.float32, 'bfloat16': torch.bfloat16}


class _Reduced(nn.Sequential):
    """Modules under autocast; what goes in and out keeps its dtype."""

    def forward(self, x):
        with torch.autocast(x.device.type, dtype=torch.bfloat16):
            return super().forward(x).to(x.dtype)


@contextmanager
def convolutions_in(precision, encoder):
    """
    Let an encoder convolve in some precision for a while.

    Parameters
    ----------
    precision : {'float32', 'bfloat16'}
        Precision; weights and gradients stay in float32.
    encoder : `~vaephot.models.encoder.Encoder`
        Encoder; afterwards it is as before.
    """
    plain = encoder.stages
    if PRECISIONS[precision] != torch.float32:
        encoder.stages = _Reduced(*plain)
    try:
        yield
    finally:
        encoder.stages = plain
