# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Load weights by name or path; the SHA-256 is checked every time."""

from dataclasses import dataclass
from pathlib import Path

from vaephot.exceptions import WeightsError
from vaephot.weights.download import find_weights
from vaephot.weights.files import SUFFIX, read_checked, record_path
from vaephot.weights.records import WeightsRecord, read_record

__all__ = ['Weights', 'load_weights']


@dataclass(frozen=True, kw_only=True)
class Weights:
    """
    The tensors of a weights file and their record.

    Parameters
    ----------
    record : WeightsRecord
        What the weights are.
    tensors : dict of torch.Tensor
        Tensors by name, on the CPU.
    """

    record: WeightsRecord
    tensors: dict

    @property
    def model_config(self):
        """Configuration that the models are built from."""
        return self.record.model_config

    def __repr__(self):
        return (f'<Weights {self.record.name!r} version '
                f'{self.record.version}, {len(self.tensors)} tensors>')


def _find(name_or_path):
    """Return path and record of weights given by name or path."""
    text = 'default' if name_or_path is None else str(name_or_path)
    path = Path(text)
    if (path.suffix == SUFFIX or len(path.parts) > 1
            or isinstance(name_or_path, Path)):
        return path, read_record(record_path(path))
    return find_weights(text)


def load_weights(name_or_path=None):
    """
    Load weights by name or from a file.

    Parameters
    ----------
    name_or_path : str, path-like or None, optional
        Name of shipped or imported weights, or the path of a
        ``.safetensors`` file with its record beside it. `None` means the
        default set, ``'default'``.

    Returns
    -------
    Weights
        Tensors and record.

    Raises
    ------
    WeightsError
        If the name is unknown, or a file is missing, damaged or does not
        agree with its record.

    Examples
    --------
    >>> from vaephot.weights import load_weights
    >>> weights = load_weights('default')  # doctest: +SKIP
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    path, record = _find(name_or_path)
    content = read_checked(path, record)
    try:
        tensors = load(content)
    except SafetensorError as err:
        msg = (f'{path} has the SHA-256 of its record but is not a '
               f'safetensors file: {err}.')
        raise WeightsError(msg, path=path) from err
    return Weights(record=record, tensors=tensors)
