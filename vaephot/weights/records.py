# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The record that lies beside each weights file."""

import copy
import json
import re
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from pathlib import Path

from vaephot.exceptions import WeightsError
from vaephot.utils.atomic import atomic_write

__all__ = ['WeightsRecord', 'read_record', 'write_record']

_NAME = re.compile(r'[A-Za-z0-9][A-Za-z0-9._-]*')
_SHA256 = re.compile(r'[0-9a-f]{64}')
_TEXTS = ('version', 'url', 'licence', 'reference', 'description')


@dataclass(frozen=True, kw_only=True)
class WeightsRecord:
    """
    What a weights file is, what made it, and where it may be used.

    Parameters
    ----------
    name : str
        Name that users pass; letters, digits, ``.``, ``_`` and ``-``.
    version : str
        Version of these weights.
    sha256 : str
        SHA-256 of the file, 64 lower-case hexadecimal digits.
    size_bytes : int
        Size of the file.
    stamp_shape : tuple of 2 ints
        ``(ny, nx)`` of the stamps that the encoders see.
    psf_fwhm_range : tuple of 2 floats
        Smallest and largest FWHM of the PSF in training, in pixels.
    snr_range : tuple of 2 floats
        Smallest and largest signal-to-noise ratio in training.
    normalization : str or dict
        How data become network inputs.
    model_config : dict
        Configuration that the models are built from.
    training : dict
        Commit, seed, configuration, hash of the data, number of passes
        and learning curves of the training.
    licence : str
        Licence of the weights.
    url : str, optional
        Where the file can be fetched; empty if it only ships with the
        package.
    pixel_scale : float or None, optional
        Arcsec per pixel in training; `None` means any.
    bands : 'any' or tuple of str, optional
        Bands in training.
    reference : str, optional
        Publication to cite.
    benchmark : dict, optional
        Scores of the weights.
    description : str, optional
        One line for lists.

    Raises
    ------
    WeightsError
        If a value has the wrong type or lies outside its range.
    """

    name: str
    version: str
    sha256: str
    size_bytes: int
    stamp_shape: tuple
    psf_fwhm_range: tuple
    snr_range: tuple
    normalization: str | dict
    model_config: dict
    training: dict
    licence: str
    url: str = ''
    pixel_scale: float | None = None
    bands: str | tuple = 'any'
    reference: str = ''
    benchmark: dict = field(default_factory=dict)
    description: str = ''

    def __post_init__(self):
        self._check_texts()
        self._check_numbers()
        self._check_dicts()
        self._check_bands()

    def _set(self, name, value):
        object.__setattr__(self, name, value)

    def _fail(self, name, allowed):
        value = getattr(self, name)
        msg = (f'record of weights {self.name!r}: {name} is {value!r}, '
               f'expected {allowed}.')
        raise WeightsError(msg, name=name, value=value)

    def _check_texts(self):
        if not (isinstance(self.name, str) and _NAME.fullmatch(self.name)):
            self._fail('name', 'letters, digits, ".", "_" and "-", the '
                       'first a letter or digit')
        for name in _TEXTS:
            if not isinstance(getattr(self, name), str):
                self._fail(name, 'a string')
        if not (isinstance(self.sha256, str)
                and _SHA256.fullmatch(self.sha256)):
            self._fail('sha256', '64 lower-case hexadecimal digits')

    def _check_numbers(self):
        if not (_is_int(self.size_bytes) and self.size_bytes > 0):
            self._fail('size_bytes', 'a positive integer')
        shape = self.stamp_shape
        if not (_is_pair(shape) and all(_is_int(n) and n > 0
                                        for n in shape)):
            self._fail('stamp_shape', 'two positive integers')
        self._set('stamp_shape', tuple(shape))
        for name in ('psf_fwhm_range', 'snr_range'):
            pair = getattr(self, name)
            if not (_is_pair(pair) and all(map(_is_number, pair))
                    and 0 <= pair[0] <= pair[1]):
                self._fail(name, 'two numbers, the smaller one first')
            self._set(name, tuple(pair))
        scale = self.pixel_scale
        if scale is not None and not (_is_number(scale) and scale > 0):
            self._fail('pixel_scale', 'a positive number or null')

    def _check_dicts(self):
        if not isinstance(self.normalization, (str, dict)):
            self._fail('normalization', 'a string or a dictionary')
        self._set('normalization', copy.deepcopy(self.normalization))
        for name in ('model_config', 'training', 'benchmark'):
            value = getattr(self, name)
            if not isinstance(value, dict):
                self._fail(name, 'a dictionary')
            self._set(name, copy.deepcopy(value))

    def _check_bands(self):
        bands = self.bands
        if bands == 'any':
            return
        if (not isinstance(bands, (list, tuple)) or not bands
                or not all(isinstance(band, str) for band in bands)):
            self._fail('bands', '"any" or a list of band names')
        self._set('bands', tuple(bands))

    @classmethod
    def from_dict(cls, values, *, source='the record'):
        """
        Make a record from a dictionary.

        Parameters
        ----------
        values : dict
            Values by name.
        source : str, optional
            Where the values are from, for error messages.

        Returns
        -------
        WeightsRecord

        Raises
        ------
        WeightsError
            If keys are unknown, mandatory ones missing, or values bad.
        """
        if not isinstance(values, dict):
            msg = (f'{source} holds a {type(values).__name__}, expected '
                   'a dictionary of entries.')
            raise WeightsError(msg, value=values)
        known = [item.name for item in fields(cls)]
        unknown = sorted(set(values) - set(known))
        if unknown:
            msg = (f'{source} has unknown keys: {", ".join(unknown)}; '
                   f'allowed are {", ".join(known)}.')
            raise WeightsError(msg, keys=unknown)
        missing = [name for name in _mandatory(cls) if name not in values]
        if missing:
            msg = f'{source} lacks the keys: {", ".join(missing)}.'
            raise WeightsError(msg, keys=missing)
        return cls(**values)

    def to_dict(self):
        """
        Return the record as a dictionary of plain values.

        Returns
        -------
        dict
        """
        return asdict(self)

    def renamed(self, name):
        """
        Return a copy under another name.

        Parameters
        ----------
        name : str
            The new name.

        Returns
        -------
        WeightsRecord
        """
        return replace(self, name=name)


def _mandatory(cls):
    return [item.name for item in fields(cls)
            if item.default is MISSING and item.default_factory is MISSING]


def _is_int(value):
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_pair(value):
    return isinstance(value, (list, tuple)) and len(value) == 2


def read_record(path):
    """
    Read a record.

    Parameters
    ----------
    path : path-like
        The JSON file.

    Returns
    -------
    WeightsRecord

    Raises
    ------
    WeightsError
        If the file is missing, is no JSON, or holds a bad record.
    """
    path = Path(path)
    try:
        values = json.loads(path.read_text(encoding='utf-8'))
    except FileNotFoundError as err:
        msg = (f'there is no record {path}; a weights file needs its JSON '
               'record beside it, under the same name.')
        raise WeightsError(msg, path=path) from err
    except ValueError as err:  # bad JSON or bad UTF-8
        msg = f'the record {path} is not valid JSON: {err}.'
        raise WeightsError(msg, path=path) from err
    return WeightsRecord.from_dict(values, source=f'the record {path}')


def write_record(path, record, *, overwrite=False):
    """
    Write a record.

    Parameters
    ----------
    path : path-like
        The JSON file.
    record : WeightsRecord
        The record.
    overwrite : bool, optional
        Whether an existing file may be replaced.

    Raises
    ------
    OutputExistsError
        If the file exists and ``overwrite`` is False.
    """
    text = json.dumps(record.to_dict(), indent=2, allow_nan=False) + '\n'
    with atomic_write(path, overwrite=overwrite) as temporary:
        temporary.write_text(text, encoding='utf-8')
