# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Passes over all entries of a batch: chi-square, fluxes and slopes.

For given shapes the fluxes follow from a linear system, and the slope by the
shapes is that of the residual at these fluxes (variable projection, Golub &
Pereyra 1973). A full pass draws all derivatives and gives normal matrices; a
light pass draws templates alone and takes the slope by the transpose of the
drawing.
"""

from dataclasses import dataclass

import torch

from vaephot.deblend.fit.fluxes import solve_fluxes
from vaephot.deblend.fit.plan import PADDING

__all__ = ['Evaluation', 'evaluate']

# negative fluxes that noise explains, in units of the error of a source alone
MAX_LACKING = 5.0
# numbers that are drawn at once: more leave the cache of a processor
CHUNK = {'cpu': 1_000_000, 'other': 64_000_000}


@dataclass
class Evaluation:
    """
    Groups at the best fluxes of some shapes.

    ``flux`` ``(g, b, n)``, those of backgrounds last; ``cost`` ``(g,)``: half
    the chi-square, and a penalty of negative light; ``slope``
    ``(g, b, k * p)``: minus the derivative of the first; ``model``,
    ``residual`` ``(n_pixels,)``; ``linear`` ``(g, b, n, n)``, ``cross``
    ``(g, b, n, k * p)``, ``shape`` ``(g, b, k * p, k * p)``: the normal
    matrix, of a full pass.
    """

    flux: torch.Tensor
    cost: torch.Tensor
    model: torch.Tensor
    residual: torch.Tensor
    slope: torch.Tensor | None = None
    linear: torch.Tensor | None = None
    cross: torch.Tensor | None = None
    shape: torch.Tensor | None = None

    def keep(self, better, other):
        """Groups where another evaluation is better become those of it."""
        for name in ('flux', 'cost', 'slope', 'linear', 'cross', 'shape'):
            old, new = getattr(self, name), getattr(other, name)
            if old is not None and new is not None:
                wide = better.view(-1, *[1] * (old.ndim - 1))
                setattr(self, name, torch.where(wide, new, old))

    def take(self, rows):
        """Numbers of some groups; their pixels are not needed any more."""
        return Evaluation(**{
            name: None if name in ('model', 'residual') or value is None
            else value[rows] for name, value in vars(self).items()})


class _Blocks:
    """Products of the columns of the sources of each group and band."""

    def __init__(self, plan, n_columns):
        g, b, k = plan.entries.shape
        device = plan.canvas.device
        extra = plan.canvas.extra
        self.blocks = torch.zeros(g * b * k * k, n_columns, n_columns,
                                  device=device)
        self.right = torch.zeros(g * b * k, device=device)
        self.sky = torch.zeros(g * b * k, len(extra), n_columns,
                               device=device)
        row = plan.entries.row
        self.own = row * k + row % k

    def add(self, plan, some, rows):
        """Products of the columns of some entries with themselves."""
        columns, weighted = some.columns[rows], some.weighted[rows]
        entry = some.entry[rows]
        width = columns.shape[1]
        self.blocks[self.own[entry], :width, :width] = torch.bmm(
            weighted, columns.transpose(1, 2))
        row = plan.entries.row[entry]
        self.right[row] = (weighted[:, 0] * some.data[rows]).sum(1)

    def add_sky(self, plan, some):
        """Products of all columns of a class with the backgrounds."""
        row = plan.entries.row[some.entry]
        width = some.columns.shape[1]
        for i, image in enumerate(plan.canvas.extra):
            self.sky[row, i, :width] = torch.bmm(
                some.weighted, some.cut(image)[:, :, None])[..., 0]

    def add_pairs(self, pairs):
        """Products of the columns of two sources, on the smaller window."""
        n = pairs.small.drawer.side
        padded = pairs.large.padded
        rows = padded.as_strided((len(padded) - n + 1, n), (1, 1))
        width = pairs.large.columns.shape[1]
        pixels = pairs.large.drawer.side ** 2
        column = torch.arange(width, device=padded.device)
        start = (PADDING + (pairs.other[:, None] * width + column) * pixels)
        start = start[:, :, None] + pairs.start[:, None]
        large = rows.index_select(0, start.ravel()).view(
            len(pairs.first), width, n * n)
        small = pairs.small.weighted[pairs.first] * pairs.valid
        block = torch.bmm(small, large.transpose(1, 2))
        height = small.shape[1]
        self.blocks[pairs.there, :height, :width] = block
        self.blocks[pairs.back, :width, :height] = block.transpose(1, 2)


def _chunks(some, n_columns):
    """Runs of the entries of a class that fit the cache."""
    n_k = some.drawer.quadratic.shape[1]
    room = CHUNK['cpu' if some.entry.device.type == 'cpu' else 'other']
    step = max(1, room // max(12 * n_k, 2 * n_columns * n_k,
                              n_columns * some.drawer.side ** 2))
    return [slice(i, min(i + step, len(some.entry)))
            for i in range(0, len(some.entry), step)]


def _draw(plan, shapes, n_columns, adjoint):
    """Draw all classes and sum up the products of their columns."""
    steep = n_columns > 1
    found = _Blocks(plan, n_columns)
    # of concentric galaxies, galaxies with asymmetry, points
    widths = ((3 + shapes.slope.weight.shape[-1], n_columns, 3) if steep
              else (1, 1, 1))
    for some in plan.classes:
        width = widths[some.kind]
        some.allocate(width)
        for rows in _chunks(some, width):
            mixture, slope, place, matrix = some.shapes_of(shapes, rows)
            transfer = some.transfer[rows]
            if steep:
                some.columns[rows] = some.drawer.columns(
                    mixture, slope, transfer, place, matrix)
            else:
                some.columns[rows, 0], kept = some.drawer.template(
                    mixture, transfer, place)
                if adjoint:
                    some.kept.append((rows, kept, mixture, slope, matrix))
            torch.mul(some.columns[rows], some.weight[rows, None],
                      out=some.weighted[rows])
            found.add(plan, some, rows)
        found.add_sky(plan, some)
    for pairs in plan.pairs:
        found.add_pairs(pairs)
    return found


def _linear_system(plan, found, n_columns):
    """Products of all columns (g, b, k, c, k, c), and of the fluxes."""
    g, b, k = plan.entries.shape
    canvas = plan.canvas
    normal = found.blocks.view(g, b, k, k, n_columns, n_columns).transpose(
        3, 4).double()
    linear, right = normal[:, :, :, 0, :, 0], found.right.view(g, b, k)
    right = right.double()
    if not len(canvas.extra):
        return normal, linear.contiguous(), right
    side = found.sky.view(g, b, k, len(canvas.extra), n_columns)[
        ..., 0].double()
    weighted = canvas.extra * canvas.weight
    sky = torch.stack([canvas.sums(weighted * image)
                       for image in canvas.extra]).permute(2, 3, 0, 1)
    top = torch.cat([linear, side], -1)
    low = torch.cat([side.transpose(-1, -2), sky], -1)
    own = canvas.sums(weighted * canvas.data).permute(1, 2, 0)
    return normal, torch.cat([top, low], -2), torch.cat([right, own], -1)


def _model(plan, flux):
    """Light of the sources (n_pixels,), and with that of backgrounds."""
    k = plan.entries.shape[2]
    canvas = plan.canvas
    scale = flux[..., :k].reshape(-1)[plan.entries.row].float()
    model = torch.zeros_like(canvas.data)
    for some in plan.classes:
        light = some.columns[:, 0] * scale[some.entry, None]
        model.index_add_(0, some.index.ravel(), light.ravel())
    if not len(canvas.extra):
        return model, model
    level = flux[..., k:].float().flatten(0, 1).T
    return model, model + canvas.spread(level)


def _slopes(plan, flux, residual, steep):
    """Minus the derivative of half the chi-square by shapes."""
    g, b, k = plan.entries.shape
    pull = None if steep else plan.canvas.weight * residual
    width = plan.entries.batch.free.shape[-1]
    slope = residual.new_zeros(g * b * k, width)
    for some in plan.classes:
        row = plan.entries.row[some.entry]
        if steep:
            found = torch.bmm(some.weighted[:, 1:],
                              some.cut(residual)[:, :, None])[..., 0]
            slope[row, :found.shape[1]] = found
            continue
        image = some.cut(pull)
        for rows, kept, mixture, derivative, matrix in some.kept:
            found = some.drawer.slope(kept, mixture, derivative, image[rows],
                                      matrix)
            slope[row[rows], :found.shape[1]] = found
    scale = flux[..., :k].reshape(-1, 1)
    return (slope.double() * scale).view(g, b, k * width)


def evaluate(plan, local, decoder, *, steep=False, adjoint=False):
    """
    Evaluate the groups of a plan for some shapes.

    Parameters
    ----------
    plan : `~vaephot.deblend.fit.plan.Plan`
        Windows of the entries.
    local : `torch.Tensor`, (n_groups, n_bands, n_places, n_parameters)
        Parameters of the sources in each band.
    decoder : `~vaephot.models.decoder.Decoder`
        In single precision.
    steep : bool, optional
        Whether to draw all derivatives and give the normal matrix.
    adjoint : bool, optional
        Whether a pass without derivatives gives the slope.

    Returns
    -------
    Evaluation
    """
    k = plan.entries.shape[2]
    n_columns = 1 + local.shape[-1] if steep else 1
    shapes = plan.entries.shapes(local, decoder, steep=steep or adjoint)
    found = _draw(plan, shapes, n_columns, adjoint)
    normal, linear, right = _linear_system(plan, found, n_columns)
    flux, _ = solve_fluxes(linear, right)
    own = flux[..., :k]
    power = torch.diagonal(linear, dim1=-2, dim2=-1)[..., :k].clamp(min=0)
    lacking = (-own * power.sqrt() - MAX_LACKING).clamp(min=0)
    model, whole = _model(plan, flux)
    residual = plan.canvas.data - whole
    chi2 = plan.canvas.sums(plan.canvas.weight * residual * residual).sum(1)
    out = Evaluation(flux, 0.5 * (chi2 + (lacking ** 2).sum((1, 2))), model,
                     residual, linear=linear if steep else None)
    if steep or adjoint:
        out.slope = _slopes(plan, flux, residual, steep)
    if steep:
        out.cross, out.shape = _shape_blocks(plan, found, normal, own)
    for some in plan.classes:
        some.release()
    return out


def _shape_blocks(plan, found, normal, flux):
    """Products of fluxes with shapes, and of shapes, times the fluxes."""
    g, b, k = plan.entries.shape
    width = normal.shape[-1] - 1
    grow = flux.repeat_interleave(width, -1)
    cross = normal[:, :, :, 0, :, 1:].flatten(3)
    if len(plan.canvas.extra):
        sky = found.sky[..., 1:].view(g, b, k, -1, width).double()
        cross = torch.cat([cross, sky.transpose(2, 3).flatten(3)], 2)
    shape = normal[:, :, :, 1:, :, 1:].reshape(g, b, k * width, k * width)
    return (cross * grow[:, :, None],
            shape * grow[..., None] * grow[:, :, None])
