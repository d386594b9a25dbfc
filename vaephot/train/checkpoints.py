# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Write and read the state of a training run."""

import os
import pickle
from pathlib import Path

import torch

from vaephot.exceptions import TrainingError

__all__ = ['read_checkpoint', 'write_checkpoint']


def write_checkpoint(path, state):
    """
    Write a state so that a kill leaves the old one or the new one.

    Parameters
    ----------
    path : str or path-like
        The file.
    state : dict
        Tensors, numbers, strings, lists and dictionaries.
    """
    path = Path(path)
    part = path.with_suffix('.part')
    torch.save(state, part)
    os.replace(part, path)


def read_checkpoint(path):
    """
    Read a state; nothing but data is unpickled.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    dict

    Raises
    ------
    TrainingError
        If the file is damaged.
    """
    try:
        return torch.load(path, weights_only=True, map_location='cpu')
    except (RuntimeError, EOFError, OSError, ValueError,
            pickle.UnpicklingError) as err:
        msg = (f'{path} cannot be read as a checkpoint ({err}); remove it '
               f'to train this stage from its start')
        raise TrainingError(msg, path=path) from err
