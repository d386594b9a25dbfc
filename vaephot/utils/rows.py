# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Dataclasses whose fields are arrays over the same rows."""

from dataclasses import fields

import numpy as np

__all__ = ['Rows']


class Rows:
    """Base of dataclasses whose fields are arrays over the same rows."""

    def _from(self, make):
        """Another of the same kind, each column made from that of a name."""
        return type(self)(**{field.name: make(field.name)
                             for field in fields(self)})

    def take(self, rows):
        """
        Some of the rows.

        Parameters
        ----------
        rows : `numpy.ndarray` of int or bool
            Which of them.

        Returns
        -------
        Rows
            Of the same kind.
        """
        return self._from(lambda name: getattr(self, name)[rows])

    def join(self, other):
        """
        These rows and those of another, behind them.

        Parameters
        ----------
        other : Rows
            Of the same kind.

        Returns
        -------
        Rows
        """
        return self._from(lambda name: np.concatenate(
            [getattr(self, name), getattr(other, name)]))

    def blank(self, n):
        """
        Rows without anything in them.

        Parameters
        ----------
        n : int
            How many.

        Returns
        -------
        Rows
            Zeros, `None` for objects, in columns like these.
        """
        def empty(name):
            column = getattr(self, name)
            fill = None if column.dtype == object else 0
            return np.full((n, *column.shape[1:]), fill, column.dtype)
        return self._from(empty)

    def merge(self, other, rows):
        """
        Take some rows from another of as many.

        Parameters
        ----------
        other : Rows
            Of the same kind and length.
        rows : array_like of int or bool
            Rows that are those of ``other``.

        Returns
        -------
        Rows
        """
        def merged(name):
            column = getattr(self, name).copy()
            column[rows] = getattr(other, name)[rows]
            return column
        return self._from(merged)
