# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Chi-square of groups in one band, with its derivatives.

For given shapes the fluxes follow from a linear system. The slope by the
shapes is that of the residual at these fluxes (variable projection, Golub
& Pereyra 1973); taken of the residual, not of the data, it has no large
terms that cancel, and single precision is enough for all but the
brightest sources.
"""

from typing import NamedTuple

import torch

from vaephot.deblend.columns import StampColumns, WindowColumns, spread
from vaephot.deblend.fluxes import background_columns, solve_fluxes
from vaephot.models.encoder import Gaussian

__all__ = ['Band', 'BandBatch', 'Evaluation', 'GroupBatch', 'Normal',
           'Shapes']

# negative fluxes that noise explains, in units of the error of a source alone
MAX_LACKING = 5.0


class BandBatch(NamedTuple):
    """
    Pixels of groups in one band.

    ``data``, ``variance``, ``good`` ``(n_groups, size, size)``; ``gain``
    in electrons per unit of data or `None`; ``renderer``: a
    `~vaephot.models.render.BandRenderer` of these groups; ``windows``: the
    `~vaephot.deblend.windows.Windows` of their sources, `None` to draw all
    of them on whole stamps.
    """

    data: torch.Tensor
    variance: torch.Tensor
    good: torch.Tensor
    gain: float | None
    renderer: object
    windows: object = None


class GroupBatch(NamedTuple):
    """
    Groups of equal size and equal number of places for sources.

    ``bands``: a `BandBatch` each; ``active`` ``(n_groups, n_sources)``, 0
    at empty places; ``prior`` with entries ``(n_groups, n_sources,
    n_parameters)``, positions in the stamp; ``band_precision``
    ``(n_parameters, n_parameters)``: inverse covariance of the parameters
    of a band about the common ones.
    """

    bands: tuple[BandBatch, ...]
    active: torch.Tensor
    prior: Gaussian
    band_precision: torch.Tensor


class Evaluation(NamedTuple):
    """
    Groups at the best fluxes of some shapes.

    ``flux`` ``(n_groups, n_linear)``; ``half_chi2`` ``(n_groups,)``;
    ``penalty`` ``(n_groups,)``: half the square of what fluxes lie below
    -`MAX_LACKING`, in units of the error that each would have alone. It
    keeps two sources from becoming one of positive and one of negative light
    on each other, which together look like a derivative of a galaxy.
    ``model`` ``(n_groups, n_pixels)``, of the sources.
    """

    flux: torch.Tensor
    half_chi2: torch.Tensor
    penalty: torch.Tensor
    model: torch.Tensor


class Normal(NamedTuple):
    """
    Normal matrix of a band in fluxes, backgrounds and shapes.

    ``linear`` ``(g, n, n)``, ``cross`` ``(g, n, m)``, ``shape``
    ``(g, m, m)``, ``slope`` ``(g, m)``: minus the derivative of half the
    chi-square by the shapes at the best fluxes; ``flux`` ``(g, n)``.
    """

    linear: torch.Tensor
    cross: torch.Tensor
    shape: torch.Tensor
    slope: torch.Tensor
    flux: torch.Tensor


class Shapes(NamedTuple):
    """
    Shapes of the sources of some groups in one band.

    ``rows`` ``(g,)``: the groups; ``xy`` ``(g * k, 2)``: positions;
    ``radius`` ``(g * k,)``: half-light radii; ``mixture``: Gaussians, and
    ``slope``: their derivatives or `None`, entries ``(g * k, ...)``.
    """

    rows: torch.Tensor
    xy: torch.Tensor
    radius: torch.Tensor
    mixture: object
    slope: object = None


class Band:
    """
    Costs and derivatives of a batch in one band for fixed weights.

    Parameters
    ----------
    band : BandBatch
        Pixels of the groups.
    active : `torch.Tensor`, (n_groups, n_sources)
        0 at empty places.
    background : {None, 'constant', 'plane'}
        Free background.
    """

    def __init__(self, band, active, background):
        self.band = band
        self.active = active > 0
        self.dtype = band.data.dtype
        self.size = band.data.shape[-1]
        self.data = band.data.flatten(1)
        self.extra = background_columns(
            background, self.size, 1, device=self.data.device,
            dtype=self.dtype)[0]
        self.weight = None
        self._flux = None
        self._number = torch.zeros_like(self.active, dtype=torch.long)
        self._corner = self._number.new_zeros(*active.shape, 2)
        if band.windows is not None:
            self._flux = band.windows.flux.clone()
            variance = band.variance.flatten(1).median(1).values
            self._noise = variance.sqrt()[:, None].to(self._flux)
            self._number += len(band.windows) - 1

    def set_weight(self, model):
        """Renew the inverse variances from a model, (g, p) or None."""
        variance = self.band.variance.flatten(1)
        if model is not None and self.band.gain is not None:
            variance = variance + model.clamp(min=0) / self.band.gain
        self.weight = self.band.good.flatten(1) / variance

    # ------------------------------------------------------------ windows
    def _seen(self, shapes):
        """What windows are chosen by."""
        bright = (self._flux.abs() / self._noise)[shapes.rows].flatten()
        groups = self._groups(shapes)
        return (shapes.mixture, shapes.radius, bright,
                self.band.renderer.places(shapes.xy, groups))

    def _groups(self, shapes):
        """Group of each source."""
        return shapes.rows.repeat_interleave(self.active.shape[1])

    def choose_windows(self, shapes):
        """Choose the windows of sources anew."""
        if self._flux is None:
            return
        number, corner = self.band.windows.choose(*self._seen(shapes))
        count = (len(shapes.rows), -1)
        self._number[shapes.rows] = number.reshape(count)
        self._corner[shapes.rows] = corner.reshape(*count, 2)

    def follow(self, shapes):
        """Enlarge windows that sources outgrew; which groups have such."""
        if self._flux is None:
            return torch.zeros_like(shapes.rows, dtype=torch.bool)
        beyond = self.band.windows.outgrown(
            *self._seen(shapes), self._number[shapes.rows].flatten(),
            self._corner[shapes.rows].flatten(0, 1))
        beyond = (beyond.reshape(len(shapes.rows), -1)
                  & self.active[shapes.rows]).any(1)
        if beyond.any():
            rows = beyond.repeat_interleave(self.active.shape[1])
            self.choose_windows(Shapes(
                shapes.rows[beyond], shapes.xy[rows], shapes.radius[rows],
                shapes.mixture.take(rows)))
        return beyond

    # ------------------------------------------------------------- images
    def _draw(self, method, shapes):
        """Images of all sources, and whether all cover the stamp."""
        parts = [part.to(self.dtype)
                 for part in (shapes.mixture, shapes.slope)
                 if part is not None]
        groups = self._groups(shapes)
        last = 0 if self._flux is None else len(self.band.windows) - 1
        number = self._number[shapes.rows].flatten()
        if (number == last).all():
            return getattr(self.band.renderer, method)(
                *parts, shapes.xy, groups), True
        corner = self._corner[shapes.rows].flatten(0, 1)
        lit = self.active[shapes.rows].flatten()
        images = [None] * len(lit)
        for i in number[lit].unique().tolist():
            which = torch.nonzero(lit & (number == i))[:, 0]
            renderer = (self.band.renderer if i == last
                        else self.band.windows.renderer(i))
            drawn = getattr(renderer, method)(
                *[part.take(which) for part in parts],
                shapes.xy[which], groups[which], corner[which])
            for n, image in zip(which.tolist(), drawn, strict=True):
                images[n] = image
        return images, False

    def templates(self, shapes):
        """Unit-flux templates, empty places dark, (g, k, p)."""
        images, whole = self._draw('templates', shapes)
        if whole:
            images = images.unflatten(0, (len(shapes.rows), -1)).flatten(2)
            return images * self.active[shapes.rows, :, None]
        images = [None if i is None else i[None] for i in images]
        return self._spread(images, shapes)

    def _spread(self, images, shapes):
        """First images of sources on their stamps, (g, k, p)."""
        corners = self._corner[shapes.rows].flatten(0, 1).tolist()
        stamps = spread(images, corners, self.size)
        return stamps.unflatten(0, (len(shapes.rows), -1)).flatten(2)

    def _with_extra(self, columns):
        """Append the images of the background."""
        if not len(self.extra):
            return columns
        extra = self.extra.expand(len(columns), -1, -1)
        return torch.cat([columns, extra], 1)

    def best_flux(self, images, rows):
        """Best fluxes, backgrounds last, all columns, their products."""
        columns = self._with_extra(images)
        products = StampColumns(columns, self.weight[rows])
        gram = products.gram()
        flux, _ = solve_fluxes(gram, products.project(self.data[rows]))
        return flux, columns, gram

    def evaluate(self, shapes):
        """What sources of these shapes make of the data."""
        images, rows = self.templates(shapes), shapes.rows
        flux, columns, gram = self.best_flux(images, rows)
        power = torch.diagonal(gram, dim1=1, dim2=2)
        weight, data = self.weight[rows], self.data[rows]
        cast = flux.to(self.dtype)[:, None]
        residual = data - (cast @ columns)[:, 0]
        n = images.shape[1]
        model = (cast[..., :n] @ images)[:, 0]
        lacking = -(flux * power.double().sqrt())[:, :n] - MAX_LACKING
        return Evaluation(
            flux, 0.5 * (weight * residual ** 2).double().sum(1),
            0.5 * (lacking.clamp(min=0) ** 2).sum(1), model)

    # -------------------------------------------------------- derivatives
    def derivatives(self, shapes):
        """Normal matrix of groups for given shapes."""
        images, whole = self._draw('gradients', shapes)
        rows, count = shapes.rows, self.active.shape[1]
        weight = self.weight[rows]
        if whole:
            lit = self.active[rows].flatten()[:, None, None, None]
            stamps = (images * lit).unflatten(0, (len(rows), count))
            templates = stamps[:, :, 0].flatten(2)
            products = StampColumns(stamps.flatten(3).flatten(1, 2), weight)
            width = images.shape[1]
        else:
            templates = self._spread(images, shapes)
            corners = self._corner[rows].flatten(0, 1).tolist()
            products = WindowColumns(images, corners, weight, self.size)
            width = next(len(i) for i in images if i is not None)
        first = torch.arange(count) * width
        rest = (first[:, None] + torch.arange(1, width)).flatten()
        return self._normal(products, templates, rows, first, rest)

    def _normal(self, products, templates, rows, first, rest):
        """Sort products into fluxes and shapes, shapes times fluxes."""
        matrix = products.gram()
        linear, cross, vector = self._linear_part(products, matrix, templates,
                                                  rows, first, rest)
        flux, _ = solve_fluxes(linear, vector)
        if self._flux is not None:
            self._flux[rows] = flux[:, :len(first)].to(self._flux)
        residual = self.data[rows] - (flux.to(self.dtype)[:, None]
                                      @ self._with_extra(templates))[:, 0]
        scale = flux[:, :len(first)].repeat_interleave(
            len(rest) // len(first), 1)
        slope = scale * products.project(residual)[:, rest]
        bent = (matrix[:, rest[:, None], rest]
                * scale[:, :, None] * scale[:, None, :])
        return Normal(linear, cross * scale[:, None, :], bent, slope, flux)

    def _linear_part(self, products, matrix, templates, rows, first, rest):
        """Products of fluxes and backgrounds, with shapes and data."""
        linear = matrix[:, first[:, None], first]
        cross = matrix[:, first[:, None], rest]
        vector = products.project(self.data[rows])[:, first]
        if not len(self.extra):
            return linear, cross, vector
        sky = StampColumns(self.extra.expand(len(rows), -1, -1),
                           self.weight[rows])
        with_sky = torch.stack([
            products.project(image.expand(len(rows), -1))
            for image in self.extra], 1)
        side = with_sky[:, :, first]
        linear = torch.cat([
            torch.cat([linear, side.transpose(1, 2)], 2),
            torch.cat([side, sky.gram()], 2)], 1)
        return (linear, torch.cat([cross, with_sky[:, :, rest]], 1),
                torch.cat([vector, sky.project(self.data[rows])], 1))
