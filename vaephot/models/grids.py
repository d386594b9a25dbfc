# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Draw sources on several pixel grids at once.

Positions and shapes are those of one grid, the reference. A local affine
map leads to each other grid: a position ``p`` becomes ``A p + t``, the
covariance ``C`` of a Gaussian ``A C A^T``; the flux stays. Both are linear
in what a mixture holds, so derivatives go through the same maps.
"""

from dataclasses import dataclass, replace

import torch

from vaephot.models.render import Renderer

__all__ = ['GridRenderer', 'Layer', 'transform_mixture']


def _shape_matrix(matrix):
    """Map of (mean, plus, cross) of covariances, (n, 3, 3)."""
    (a, b), (c, d) = matrix[:, 0].T, matrix[:, 1].T
    row1, row2 = a * a + c * c, b * b + d * d
    row3, row4 = a * a - c * c, b * b - d * d
    return torch.stack([
        torch.stack([(row1 + row2) / 2, (row1 - row2) / 2, a * b + c * d]),
        torch.stack([(row3 + row4) / 2, (row3 - row4) / 2, a * b - c * d]),
        torch.stack([a * c + b * d, a * c - b * d, a * d + b * c])]
    ).permute(2, 0, 1)


def transform_mixture(mixture, matrix):
    """
    Gaussians of sources as seen on another grid.

    Parameters
    ----------
    mixture : `~vaephot.models.decoder.Mixture`
        Gaussians, each entry ``(n, j)``, or their derivatives, each
        ``(n, j, p)``.
    matrix : `torch.Tensor`, (n, 2, 2)
        Linear part of the map of each source.

    Returns
    -------
    `~vaephot.models.decoder.Mixture`
    """
    shapes = torch.stack([mixture.mean, mixture.plus, mixture.cross], 1)
    mapped = torch.einsum('nab,nb...->na...', _shape_matrix(matrix), shapes)
    return type(mixture)(mixture.weight, *mapped.unbind(1))


@dataclass(frozen=True, kw_only=True)
class Layer:
    """
    Bands that share a pixel grid, on the stamps of some groups.

    Parameters
    ----------
    renderer : `~vaephot.models.render.Renderer`
        Draws on stamps of this grid.
    bands : tuple of int
        Numbers of its bands among all.
    matrix : `torch.Tensor`, (n_groups, 2, 2)
    offset : `torch.Tensor`, (n_groups, 2)
        From positions in the reference stamp to those in this one.
    """

    renderer: Renderer
    bands: tuple[int, ...]
    matrix: torch.Tensor
    offset: torch.Tensor

    def place(self, xy, matrix):
        """
        Positions in the stamps of this grid.

        Parameters
        ----------
        xy : `torch.Tensor`, (n, 2)
            Positions in the reference stamps, group by group.
        matrix : `torch.Tensor`, (n, 2, 2)
            Matrix of each source.

        Returns
        -------
        `torch.Tensor`, (n, 2)
        """
        offset = self.offset.repeat_interleave(len(xy) // len(self.offset),
                                               0)
        return (matrix @ xy[..., None])[..., 0] + offset


class GridRenderer:
    """
    Draw templates on the stamps of several grids.

    It stands in for a `~vaephot.models.render.Renderer`; images are flat,
    and those of smaller stamps padded with zeros.

    Parameters
    ----------
    size : int
        Side of the stamps of the reference grid.
    layers : sequence of Layer
        Every band is in exactly one.
    """

    def __init__(self, size, layers):
        self.size = size
        self.layers = tuple(layers)
        self.n_bands = sum(len(layer.bands) for layer in self.layers)
        self.n_pixels = max(layer.renderer.size for layer in self.layers) ** 2

    def subset(self, rows):
        """
        Renderer of some of the groups.

        Parameters
        ----------
        rows : `torch.Tensor`, (m,)
            Indices of the groups.

        Returns
        -------
        GridRenderer
        """
        return GridRenderer(self.size, [
            replace(layer, renderer=layer.renderer.subset(rows),
                    matrix=layer.matrix[rows], offset=layer.offset[rows])
            for layer in self.layers])

    def _fill(self, out, layer, images):
        """Put the images of a layer into flat ones."""
        flat = images.flatten(-2)
        for i, band in enumerate(layer.bands):
            out[..., band, :flat.shape[-1]] = flat[..., i, :]

    def _matrices(self, layer, n_sources):
        """Matrix of each source."""
        return layer.matrix.repeat_interleave(
            n_sources // len(layer.matrix), 0)

    def templates(self, mixture, xy, n_groups=1):
        """
        Unit-flux images of sources.

        Parameters
        ----------
        mixture : `~vaephot.models.decoder.Mixture`
            Gaussians, each entry ``(n, j)``.
        xy : `torch.Tensor`, (n, 2)
            Positions in the reference stamps.
        n_groups : int
            Groups that the sources belong to, in order, equally many
            each.

        Returns
        -------
        `torch.Tensor`, (n, n_bands, n_pixels)
        """
        out = xy.new_zeros(len(xy), self.n_bands, self.n_pixels)
        for layer in self.layers:
            matrix = self._matrices(layer, len(xy))
            self._fill(out, layer, layer.renderer.templates(
                transform_mixture(mixture, matrix),
                layer.place(xy, matrix), n_groups))
        return out

    def gradients(self, mixture, derivative, xy, n_groups=1):
        """
        Unit-flux images and their derivatives.

        Parameters
        ----------
        mixture, derivative : `~vaephot.models.decoder.Mixture`
            As `~vaephot.models.decoder.Decoder.jacobian` returns them.
        xy : `torch.Tensor`, (n, 2)
            Positions in the reference stamps.
        n_groups : int
            As in `templates`.

        Returns
        -------
        `torch.Tensor`, (n, 1 + n_parameters, n_bands, n_pixels)
            By the parameters on the reference grid.
        """
        n_columns = derivative.weight.shape[-1] + 3
        out = xy.new_zeros(len(xy), n_columns, self.n_bands, self.n_pixels)
        for layer in self.layers:
            matrix = self._matrices(layer, len(xy))
            images = layer.renderer.gradients(
                transform_mixture(mixture, matrix),
                transform_mixture(derivative, matrix),
                layer.place(xy, matrix), n_groups)
            images[:, 1:3] = torch.einsum('nab,na...->nb...', matrix,
                                          images[:, 1:3])
            self._fill(out, layer, images)
        return out

    def background(self, columns):
        """
        Images of a free background on all grids.

        Parameters
        ----------
        columns : callable
            ``columns(size, n_bands)`` returns the images of a grid,
            ``(n_bands, m, size * size)``.

        Returns
        -------
        `torch.Tensor`, (n_bands, m, n_pixels)
        """
        parts = [columns(layer.renderer.size, len(layer.bands))
                 for layer in self.layers]
        out = parts[0].new_zeros(self.n_bands, parts[0].shape[1],
                                 self.n_pixels)
        for layer, part in zip(self.layers, parts, strict=True):
            out[list(layer.bands), :, :part.shape[-1]] = part
        return out
