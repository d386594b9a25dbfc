# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Templates and their derivatives as columns of linear systems.

The columns of a source are its unit-flux template, then its derivatives.
On whole stamps the products of all columns of a batch are taken at once;
where sources have windows of their own, pair by pair, on the pixels that
two windows share.
"""

import torch

from vaephot.utils.boxes import overlap

__all__ = ['StampColumns', 'WindowColumns', 'spread']


def spread(images, corners, size):
    """
    Put images on stamps.

    Parameters
    ----------
    images : list of `torch.Tensor`, (m, h, h), or None
        Images of each source; `None`: it has none.
    corners : list of (int, int)
        First column and row of each.
    size : int
        Side of the stamps.

    Returns
    -------
    `torch.Tensor`, (n, size, size)
        The first image of each source.
    """
    example = next(image for image in images if image is not None)
    out = example.new_zeros(len(images), size, size)
    for stamp, image, (x, y) in zip(out, images, corners, strict=True):
        if image is not None:
            side = image.shape[-1]
            stamp[y:y + side, x:x + side] = image[0]
    return out


class StampColumns:
    """
    Columns that cover whole stamps.

    Parameters
    ----------
    values : `torch.Tensor`, (n_groups, n_columns, size * size)
        All columns of each group.
    weight : `torch.Tensor`, (n_groups, size * size)
        Inverse variances.
    """

    def __init__(self, values, weight):
        self._values = values
        self._weighted = values * weight[:, None]

    def gram(self):
        """
        Weighted products of all columns of each group.

        Returns
        -------
        `torch.Tensor`, (n_groups, n_columns, n_columns)
        """
        return (self._weighted @ self._values.transpose(1, 2)).double()

    def project(self, values):
        """
        Weighted products with pixels.

        Parameters
        ----------
        values : `torch.Tensor`, (n_groups, size * size)
            Pixels.

        Returns
        -------
        `torch.Tensor`, (n_groups, n_columns)
        """
        return (self._weighted @ values[..., None])[..., 0].double()


class WindowColumns:
    """
    Columns that cover windows.

    Parameters
    ----------
    images : list of `torch.Tensor`, (n_columns, h, h), or None
        Columns of each source, group by group, equally many each;
        `None`: an empty place.
    corners : list of (int, int)
        First column and row of each.
    weight : `torch.Tensor`, (n_groups, size * size)
        Inverse variances.
    size : int
        Side of the stamps.
    """

    def __init__(self, images, corners, weight, size):
        self.size = size
        self._n_groups = len(weight)
        self._count = len(images) // len(weight)
        self._images = images
        self._n_columns = next(len(i) for i in images if i is not None)
        self._corners = corners
        stamps = weight.unflatten(1, (size, size))
        self._weighted = [
            None if image is None
            else image * self._cut(stamps[n // self._count], n)
            for n, image in enumerate(images)]

    def _cut(self, stamp, n):
        """Pixels of a stamp in the window of a source."""
        (x, y), side = self._corners[n], self._images[n].shape[-1]
        return stamp[y:y + side, x:x + side]

    def _product(self, n, m):
        """Weighted products of the columns of two sources, or None."""
        (xn, yn), (xm, ym) = self._corners[n], self._corners[m]
        one, two = self._weighted[n], self._images[m]
        columns = overlap(xn, xn + one.shape[-1], xm, xm + two.shape[-1])
        rows = overlap(yn, yn + one.shape[-1], ym, ym + two.shape[-1])
        if columns.start >= columns.stop or rows.start >= rows.stop:
            return None
        one = one[:, rows.start - yn:rows.stop - yn,
                  columns.start - xn:columns.stop - xn]
        two = two[:, rows.start - ym:rows.stop - ym,
                  columns.start - xm:columns.stop - xm]
        return one.flatten(1) @ two.flatten(1).T

    def gram(self):
        """
        Weighted products of all columns of each group.

        Returns
        -------
        `torch.Tensor`, (n_groups, n_columns, n_columns)
        """
        count, width = self._count, self._n_columns
        example = next(i for i in self._images if i is not None)
        out = example.new_zeros(self._n_groups, count, width, count, width,
                                dtype=torch.float64)
        for n, image in enumerate(self._images):
            group, k = divmod(n, count)
            for other in range(k, count if image is not None else k):
                m = n + other - k
                if self._images[m] is None:
                    continue
                block = self._product(n, m)
                if block is not None:
                    out[group, k, :, other] = block
                    out[group, other, :, k] = block.T
        return out.flatten(3).flatten(1, 2)

    def project(self, values):
        """
        Weighted products with pixels.

        Parameters
        ----------
        values : `torch.Tensor`, (n_groups, size * size)
            Pixels.

        Returns
        -------
        `torch.Tensor`, (n_groups, n_columns)
        """
        out = values.new_zeros(len(self._images), self._n_columns)
        stamps = values.unflatten(1, (self.size, self.size))
        for n, image in enumerate(self._weighted):
            if image is not None:
                window = self._cut(stamps[n // self._count], n)
                out[n] = image.flatten(1) @ window.flatten()
        return out.unflatten(0, (self._n_groups, -1)).flatten(1).double()
