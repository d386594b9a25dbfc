# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Read and write weights files; every read checks the SHA-256."""

import hashlib
from pathlib import Path

from vaephot.exceptions import WeightsError
from vaephot.utils.atomic import atomic_write, check_output
from vaephot.weights.records import WeightsRecord, write_record

__all__ = ['SUFFIX', 'read_checked', 'record_path', 'save_weights',
           'write_pair']

SUFFIX = '.safetensors'


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
