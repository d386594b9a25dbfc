# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Quality flags of deblended sources: one bit for each kind of trouble."""

from dataclasses import dataclass

import numpy as np

__all__ = ['FLAGS', 'FlagDefinition', 'decode_flags', 'encode_flags']


@dataclass(frozen=True)
class FlagDefinition:
    """
    One bit of the ``flags`` column.

    Parameters
    ----------
    name : str
        Short name, as `decode_flags` returns it.
    bit_value : int
        Power of two that stands for it.
    description : str
        What is the matter.
    """

    name: str
    bit_value: int
    description: str


# the order is the order of the bits: append only, never reuse a bit
_TABLE = (
    ('edge', 'the edge of the image is nearer than the radius plus the FWHM'),
    ('masked_pixels', 'masked or non-finite pixels close to the source'),
    ('saturated', 'the centre is masked, or saturated pixels are close to it'),
    ('psf_estimated', 'the PSF was estimated from the image'),
    ('error_estimated', 'the error was estimated from the background'),
    ('not_converged', 'the fit stopped before it converged'),
    ('poor_fit', 'the model does not describe the data within the errors'),
    ('out_of_domain', 'the source or its PSF is unlike the training set'),
    ('larger_than_stamp', 'the source reaches past the largest stamp'),
    ('rejected_neighbour', 'a candidate in the same parent was rejected'),
    ('fallback', 'no model was possible; the watershed was used'),
    ('no_data', 'no unmasked pixel to measure the source on'),
    ('forced', 'the position was given and lies outside every segment'),
    ('no_pixels', 'other sources dominate everywhere; the area is 0'),
    ('not_deblended', 'the parent was passed through, not deblended'),
    ('no_source', 'nothing stands out; the flux is an upper limit'),
)

FLAGS = tuple(FlagDefinition(name, 1 << i, text)
              for i, (name, text) in enumerate(_TABLE))
_BIT_OF = {flag.name: flag.bit_value for flag in FLAGS}


def encode_flags(*names):
    """
    Bit value of one or several flags together.

    Parameters
    ----------
    *names : str
        Names of flags, as in `FLAGS`.

    Returns
    -------
    int
        The bit values combined with "or".

    Raises
    ------
    ValueError
        If there is no flag of a name.

    Examples
    --------
    >>> from vaephot.results.flags import encode_flags
    >>> encode_flags('edge', 'saturated')
    5
    """
    unknown = [name for name in names if name not in _BIT_OF]
    if unknown:
        msg = (f'no flag is named {unknown[0]!r}; choose from '
               f'{", ".join(_BIT_OF)}.')
        raise ValueError(msg)
    value = 0
    for name in names:
        value |= _BIT_OF[name]
    return value


def _decode_one(value, return_bit_values):
    """Flags of one integer, the lowest bit first."""
    return [flag.bit_value if return_bit_values else flag.name
            for flag in FLAGS if value & flag.bit_value]


def decode_flags(flags, return_bit_values=False):
    """
    Decode the bit field in the ``flags`` column of a result.

    Parameters
    ----------
    flags : int or array-like of int
        One value of the column, or several.
    return_bit_values : bool, optional
        Whether to return the bit values instead of the names.

    Returns
    -------
    list
        The names (or bit values) of the flags that are set, lowest bit
        first, empty if none is; one such list for each element of an
        array. The flags are

        <flags>

    Raises
    ------
    TypeError
        If a value is not an integer.
    ValueError
        If a value is negative or holds bits that have no meaning.

    Examples
    --------
    >>> from vaephot import decode_flags
    >>> decode_flags(5)
    ['edge', 'saturated']
    >>> decode_flags([0, 32])
    [[], ['not_converged']]
    >>> decode_flags(5, return_bit_values=True)
    [1, 4]
    """
    values = np.asarray(flags)
    if values.size and not np.issubdtype(values.dtype, np.integer):
        msg = (f'flags must be integers, not {values.dtype}; pass the '
               '"flags" column of a result.')
        raise TypeError(msg)
    allowed = 2 * FLAGS[-1].bit_value - 1
    bad = [value for value in values.ravel().tolist()
           if not 0 <= value <= allowed]
    if bad:
        msg = (f'flags must lie between 0 and {allowed}, but one value is '
               f'{bad[0]}; it was not made by this version of vaephot.')
        raise ValueError(msg)
    decoded = [_decode_one(value, return_bit_values)
               for value in values.ravel().tolist()]
    return decoded[0] if values.ndim == 0 else decoded


if decode_flags.__doc__:  # absent under python -OO
    decode_flags.__doc__ = decode_flags.__doc__.replace(
        '<flags>', '\n        '.join(
            f"- ``'{flag.name}'`` ({flag.bit_value}): "
            f'{flag.description}' for flag in FLAGS))
