# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Checks of the settings of scenes."""

import numpy as np

from vaephot.exceptions import CatalogError

__all__ = ['check_count', 'check_number', 'check_range']


def check_number(owner, name, value, *, low=0.0, high=np.inf):
    """
    Refuse a setting that is no number within limits.

    Parameters
    ----------
    owner : str
        What it is a setting of.
    name : str
        Its name.
    value : float
        Its value.
    low, high : float, optional
        The smallest value, and one that is too large.

    Raises
    ------
    CatalogError
        If the value is outside, or NaN.
    """
    if not low <= value < high:
        most = 'finite' if np.isinf(high) else f'below {high:g}'
        msg = (f'{name} of {owner} is {value}; it must be at least {low:g} '
               f'and {most}.')
        raise CatalogError(msg, value=value)


def check_count(owner, name, value, *, low=0):
    """
    Refuse a setting that is no whole number.

    Parameters
    ----------
    owner, name : str
        As for `check_number`.
    value : int
        Its value.
    low : int, optional
        The smallest value.

    Raises
    ------
    CatalogError
        If it is smaller or not whole.
    """
    if not isinstance(value, (int, np.integer)) or value < low:
        msg = (f'{name} of {owner} is {value!r}; it must be a whole number, '
               f'at least {low}.')
        raise CatalogError(msg, value=value)


def check_range(owner, name, limits, *, low=-np.inf):
    """
    Refuse limits that are out of order.

    Parameters
    ----------
    owner, name : str
        As for `check_number`.
    limits : tuple of float
        Lower and upper limit.
    low : float, optional
        The smallest lower limit.

    Raises
    ------
    CatalogError
        If they are not two finite numbers in order.
    """
    if (len(limits) != 2 or not np.isfinite(limits).all()
            or not low <= limits[0] <= limits[1]):
        least = '' if np.isinf(low) else f', from {low:g} on'
        msg = (f'{name} of {owner} is {limits!r}; give the lower and the '
               f'upper limit, two numbers in this order{least}.')
        raise CatalogError(msg, limits=limits)
