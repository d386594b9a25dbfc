# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""One thing per band, from a mapping or a sequence."""

from collections.abc import Mapping

from vaephot.exceptions import BandMismatchError

__all__ = ['per_band']


def per_band(given, bands, name):
    """
    Return the entries of a mapping or a sequence in the order of the bands.

    Parameters
    ----------
    given : mapping or sequence
        ``{band: thing}`` with exactly the bands, or one thing per band.
    bands : sequence of str
        Names of the bands.
    name : str
        Name of the argument, for the message.

    Returns
    -------
    list
        One thing per band.

    Raises
    ------
    BandMismatchError
        If names or number differ.
    """
    listed = ', '.join(map(str, bands))
    if isinstance(given, Mapping):
        if set(given) != set(bands):
            msg = (f'{name} is given for the bands '
                   f'({", ".join(map(str, given))}) but the data have '
                   f'({listed}); give one entry for each of them.')
            raise BandMismatchError(msg, bands=tuple(bands),
                                    given=tuple(given))
        return [given[band] for band in bands]
    if len(given) != len(bands):
        msg = (f'{name} has {len(given)} entries but the data have '
               f'{len(bands)} bands ({listed}); give one entry for each '
               'band.')
        raise BandMismatchError(msg, bands=tuple(bands), given=len(given))
    return list(given)
