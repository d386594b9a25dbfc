# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Read and write weights files; every read checks the SHA-256."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from vaephot.exceptions import WeightsError
from vaephot.utils.atomic import atomic_write, check_output
from vaephot.weights.records import (
    WeightsRecord,
    read_record,
    write_record,
)

__all__ = [
    'Weights',
    'load_weights',
    'read_checked',
    'record_path',
    'save_weights',
]

SUFFIX = '.safetensors'


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


def record_path(path):
    """
    Return the path of the record that belongs to a weights file.

    Parameters
    ----------
    path : path-like
        The weights file.

    Returns
    -------
    pathlib.Path
    """
    return Path(path).with_suffix('.json')


def read_checked(path, record):
    """
    Read the bytes of a weights file and check their SHA-256.

    Parameters
    ----------
    path : path-like
        The weights file.
    record : WeightsRecord
        The record it must agree with.

    Returns
    -------
    bytes
        The content of the file.

    Raises
    ------
    WeightsError
        If the file is missing, or its content is not what the record says.
    """
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError as err:
        msg = (f'there is no weights file {path}; copy it there, beside its '
               f'record, or choose other weights (vaephot weights list).')
        raise WeightsError(msg, path=path) from err
    found = hashlib.sha256(content).hexdigest()
    if found != record.sha256:
        msg = (f'SHA-256 of {path} is {found}, the record of {record.name!r} '
               f'says {record.sha256} ({len(content)} bytes found, '
               f'{record.size_bytes} expected); the file is damaged, '
               f'truncated or replaced. Run "vaephot weights fetch --force '
               f'{record.name}", or copy the right file there.')
        raise WeightsError(msg, path=path, found=found,
                           expected=record.sha256)
    return content


def save_weights(path, tensors, record_fields, *, overwrite=False):
    """
    Write a weights file and, beside it, its record.

    Parameters
    ----------
    path : path-like
        Name of the file; it must end in ``.safetensors``. The record gets
        the same name with ``.json``.
    tensors : dict of torch.Tensor
        Tensors by name.
    record_fields : dict
        Entries of the `WeightsRecord`. ``sha256`` and ``size_bytes`` are
        computed; ``name`` is the stem of the file unless given.
    overwrite : bool, optional
        Whether existing files may be replaced.

    Returns
    -------
    WeightsRecord
        The record as written.

    Raises
    ------
    OutputExistsError
        If a file exists and ``overwrite`` is False.
    WeightsError
        If the path or the fields are bad; nothing is written then.
    """
    from safetensors.torch import save

    path = Path(path)
    if path.suffix != SUFFIX:
        msg = f'weights file {path} must have a name that ends in {SUFFIX}.'
        raise WeightsError(msg, path=path)
    plain = {name: tensor.detach().cpu().clone().contiguous()
             for name, tensor in tensors.items()}
    content = save(plain)
    record = WeightsRecord.from_dict({
        'name': path.stem, **record_fields,
        'sha256': hashlib.sha256(content).hexdigest(),
        'size_bytes': len(content)})
    write_pair(path, content, record, overwrite=overwrite)
    return record


def write_pair(path, content, record, *, overwrite=False):
    """
    Write the bytes of a weights file and its record.

    Parameters
    ----------
    path : path-like
        Name of the weights file.
    content : bytes
        Its content.
    record : WeightsRecord
        Its record.
    overwrite : bool, optional
        Whether existing files may be replaced.

    Raises
    ------
    OutputExistsError
        If a file exists and ``overwrite`` is False.
    """
    check_output(record_path(path), overwrite=overwrite)
    with atomic_write(path, overwrite=overwrite) as temporary:
        temporary.write_bytes(content)
        # a crash between the two moves leaves a pair that disagrees,
        # which every load refuses; it never leaves wrong weights
        write_record(record_path(path), record, overwrite=overwrite)


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


def _find(name_or_path):
    """Return path and record of weights given by name or path."""
    from vaephot.weights.download import find_weights

    text = 'default' if name_or_path is None else str(name_or_path)
    path = Path(text)
    if (path.suffix == SUFFIX or len(path.parts) > 1
            or isinstance(name_or_path, Path)):
        return path, read_record(record_path(path))
    return find_weights(text)
