# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Draw sums of Gaussians through a PSF, with derivatives.

The product with the PSF is taken in Fourier space, on frequencies that
reach `oversampling` times the pixels' Nyquist frequency, and folded to the
pixels' own: an undersampled PSF is exact, and so is a galaxy smaller than
a pixel. The PSF is an effective one: the pixel is in it.
"""

import math
from dataclasses import dataclass

import torch

__all__ = ['Renderer', 'Transfer', 'make_transfer', 'padded_size']

# a transfer function below this beyond some frequency is cut there
TRANSFER_CUT = 2e-3
# frequencies drawn at once on a processor: more leave its cache
CACHE_POINTS = 20_000
# room against wrap-around, as a share of the stamp
PADDING = 0.25


def padded_size(size):
    """
    Length of the Fourier grid for stamps of a given side.

    Parameters
    ----------
    size : int
        Side of the stamp in pixels.

    Returns
    -------
    int
        A multiple of 8, at least ``1 + PADDING`` times the side.
    """
    return 8 * math.ceil(size * (1 + PADDING) / 8)


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """
    Fourier transform of the effective PSF of one band.

    Parameters
    ----------
    values : `torch.Tensor`, (n, oversampling * n_grid, m)
        Transfer function on the half-plane of a real transform; one per
        group, or a single one for all.
    oversampling : int
        Reach in units of the pixels' Nyquist frequency.
    """

    values: torch.Tensor
    oversampling: int


def _half_plane(image, n_grid):
    """Transform a centred image on a grid of ``n_grid`` points a side."""
    half = len(image) // 2
    index = (torch.arange(len(image), device=image.device) - half) % n_grid
    padded = image.new_zeros(n_grid, n_grid)
    padded.index_put_((index[:, None], index[None, :]), image,
                      accumulate=True)
    return torch.fft.rfft2(padded)


def _cut(values, n_grid, reach):
    """Keep frequencies up to ``reach`` times the pixels' Nyquist."""
    n_keep = reach * n_grid
    n_rows = values.shape[-2]
    rows = torch.cat([torch.arange(n_keep // 2),
                      torch.arange(n_rows - n_keep // 2, n_rows)])
    return values[..., rows.to(values.device), :n_keep // 2 + 1]


def _reach(values, n_grid, oversampling):
    """Smallest reach beyond which nothing above the cut remains."""
    size = values.abs().amax(0)
    for reach in range(1, oversampling):
        outside = size.clone()
        n_keep = reach * n_grid // 2
        outside[:n_keep, :n_keep + 1] = 0
        outside[-n_keep:, :n_keep + 1] = 0
        if outside.max() < TRANSFER_CUT:
            return reach
    return oversampling


def make_transfer(images, oversampling, n_grid, *, reach=None, device='cpu',
                  dtype=torch.float64):
    """
    Transfer function of effective PSFs.

    Parameters
    ----------
    images : sequence of array_like, (p, p)
        Effective PSFs of sum one, ``p`` odd, centred on pixel ``p // 2``;
        one per group or a single one.
    oversampling : int
        Samples per pixel of the images.
    n_grid : int
        Length of the Fourier grid in pixels.
    reach : int, optional
        Oversampling to keep; by default the smallest one that loses
        nothing above 0.2 %.
    device, dtype : optional
        Where and in which precision the result lives.

    Returns
    -------
    Transfer
    """
    values = torch.stack([
        _half_plane(torch.tensor(image, dtype=torch.float64),
                    oversampling * n_grid) for image in images])
    if reach is None:
        reach = _reach(values, n_grid, oversampling)
    if reach < oversampling:
        values = _cut(values, n_grid, reach)
    kind = torch.complex64 if dtype == torch.float32 else torch.complex128
    return Transfer(values=values.to(device=device, dtype=kind),
                    oversampling=min(reach, oversampling))


class Renderer:
    """
    Draw templates on stamps of one size.

    Parameters
    ----------
    size : int
        Side of the stamps in pixels.
    transfers : sequence of Transfer
        One per band, on a grid of ``padded_size(size)``.
    n_grid : int, optional
        Length of the Fourier grid, by default ``padded_size(size)``.
    """

    def __init__(self, size, transfers, n_grid=None):
        self.size = size
        self.n_grid = padded_size(size) if n_grid is None else n_grid
        self.transfers = tuple(transfers)
        self.reach = max(t.oversampling for t in self.transfers)
        values = self.transfers[0].values
        self.device = values.device
        self.dtype = (torch.float32 if values.dtype == torch.complex64
                      else torch.float64)
        n_wide = self.reach * self.n_grid
        step = 2 * math.pi * self.reach / n_wide
        index = torch.arange(n_wide, device=self.device)
        rows = torch.where(index < n_wide // 2, index, index - n_wide)
        self._ky = rows.to(self.dtype) * step
        self._kx = index[:n_wide // 2 + 1].to(self.dtype) * step
        ky, kx = self._ky[:, None], self._kx[None, :]
        self._quadratic = torch.stack([
            (kx ** 2 + ky ** 2).ravel(), (kx ** 2 - ky ** 2).ravel(),
            (2 * kx * ky).ravel()])

    def subset(self, rows):
        """
        Renderer of some of the groups.

        Parameters
        ----------
        rows : `torch.Tensor`, (m,)
            Indices of the groups.

        Returns
        -------
        Renderer
            Itself if all groups share their PSFs.
        """
        if all(len(t.values) == 1 for t in self.transfers):
            return self
        return Renderer(self.size, [
            t if len(t.values) == 1
            else Transfer(values=t.values[rows], oversampling=t.oversampling)
            for t in self.transfers], self.n_grid)

    def background(self, columns):
        """
        Images of a free background.

        Parameters
        ----------
        columns : callable
            ``columns(size, n_bands)`` returns them.

        Returns
        -------
        `torch.Tensor`, (n_bands, m, size * size)
        """
        return columns(self.size, len(self.transfers))

    def _exponentials(self, mixture):
        """Transforms of unit-flux Gaussians, (n, j, k)."""
        shape = torch.stack([mixture.mean, mixture.plus, mixture.cross], -1)
        return torch.exp(-0.5 * (shape @ self._quadratic))

    def _phases(self, xy):
        """Phases of the shifts along the rows and the columns."""
        row = torch.exp(-1j * xy[:, 1:] * self._ky)
        column = torch.exp(-1j * xy[:, :1] * self._kx)
        return row, column

    def _select(self, tensor, transfer):
        """Cut the wide frequency grid to that of one band."""
        if transfer.oversampling == self.reach:
            return tensor
        return _cut(tensor, self.n_grid, transfer.oversampling)

    def _to_pixels(self, spectrum, oversampling):
        """Fold to the pixels' frequencies and transform back."""
        n_grid = self.n_grid
        if oversampling > 1:
            spectrum = spectrum.unflatten(-2, (oversampling, n_grid)).sum(-3)
        rows = torch.fft.ifft(spectrum, dim=-2)[..., :self.size, :]
        image = torch.fft.irfft(rows, n=oversampling * n_grid, dim=-1)
        if oversampling > 1:
            image = oversampling * image[..., ::oversampling]
        return image[..., :self.size]

    def _base(self, index, phases, n_groups):
        """Transfer function times shift, (n, rows, columns), of a band."""
        transfer = self.transfers[index]
        row, column = phases
        values = transfer.values
        if len(values) > 1:
            values = values.repeat_interleave(len(row) // n_groups, 0)
        if transfer.oversampling < self.reach:
            keep = transfer.oversampling * self.n_grid // 2
            row = torch.cat([row[:, :keep], row[:, -keep:]], 1)
            column = column[:, :keep + 1]
        return values * row[:, :, None] * column[:, None, :]

    def _chunks(self, n_sources, n_groups):
        """Runs of sources that fit the processor's cache."""
        if self.device.type != 'cpu':
            return [slice(0, n_sources)]
        fit = max(1, CACHE_POINTS // self._quadratic.shape[1])
        shared = all(len(t.values) == 1 for t in self.transfers)
        unit = 1 if shared else n_sources // n_groups
        step = max(unit, fit // unit * unit)
        return [slice(start, min(start + step, n_sources))
                for start in range(0, n_sources, step)]

    def _groups(self, chunk, n_sources, n_groups):
        """Renderer and number of groups of a run of sources."""
        if all(len(t.values) == 1 for t in self.transfers):
            return self, 1
        unit = n_sources // n_groups
        rows = torch.arange(chunk.start // unit, chunk.stop // unit,
                            device=self.device)
        return self.subset(rows), len(rows)

    def templates(self, mixture, xy, n_groups=1):
        """
        Unit-flux images of sources.

        Parameters
        ----------
        mixture : `~vaephot.models.decoder.Mixture`
            Gaussians, each entry ``(n, j)``.
        xy : `torch.Tensor`, (n, 2)
            Positions in the stamp.
        n_groups : int
            Groups that the sources belong to, in order, equally many
            each; matters where each group has its own PSF.

        Returns
        -------
        `torch.Tensor`, (n, n_bands, size, size)
        """
        parts = []
        for chunk in self._chunks(len(xy), n_groups):
            part, count = self._groups(chunk, len(xy), n_groups)
            parts.append(part._templates(type(mixture)(
                *[m[chunk] for m in mixture]), xy[chunk], count))
        return torch.cat(parts)

    def _templates(self, mixture, xy, n_groups):
        """Templates of one run of sources."""
        spectrum = (mixture.weight[:, None] @ self._exponentials(mixture))
        spectrum = spectrum[:, 0].unflatten(-1, (len(self._ky),
                                                 len(self._kx)))
        phases = self._phases(xy)
        return torch.stack([
            self._to_pixels(self._select(spectrum, transfer)
                            * self._base(i, phases, n_groups),
                            transfer.oversampling)
            for i, transfer in enumerate(self.transfers)], dim=1)

    def _shape_spectra(self, mixture, derivative):
        """Spectra and their derivatives by size, shear and latent."""
        waves = self._exponentials(mixture)
        weight = mixture.weight[..., None]
        parts = torch.cat([derivative.weight, weight * derivative.mean,
                           weight * derivative.plus,
                           weight * derivative.cross,
                           weight], -1)
        mixed = parts.transpose(1, 2) @ waves
        n_shape = derivative.weight.shape[-1]
        flux, *shape = mixed[:, :-1].split(n_shape, dim=1)
        for squared, part in zip(self._quadratic, shape, strict=True):
            flux = torch.addcmul(flux, squared, part, value=-0.5)
        return torch.cat([mixed[:, -1:], flux], 1)

    def _waves(self, transfer):
        """Frequencies along rows and columns of a band's own grid."""
        n = transfer.oversampling * self.n_grid // 2
        ky, kx = self._ky, self._kx
        if transfer.oversampling < self.reach:
            ky, kx = torch.cat([ky[:n], ky[-n:]]), kx[:n + 1]
        return ky[:, None], kx[None, :]

    def gradients(self, mixture, derivative, xy, n_groups=1):
        """
        Unit-flux images and their derivatives.

        Parameters
        ----------
        mixture, derivative : `~vaephot.models.decoder.Mixture`
            As `~vaephot.models.decoder.Decoder.jacobian` returns them.
        xy : `torch.Tensor`, (n, 2)
            Positions in the stamp.
        n_groups : int
            As in `templates`.

        Returns
        -------
        `torch.Tensor`, (n, 1 + n_parameters, n_bands, size, size)
            The template, then its derivatives in the order of the
            parameters.
        """
        kind = type(mixture)
        n_columns = derivative.weight.shape[-1] + 3
        out = xy.new_empty(len(xy), n_columns, len(self.transfers),
                           self.size, self.size)
        for chunk in self._chunks(len(xy), n_groups):
            part, count = self._groups(chunk, len(xy), n_groups)
            part._gradients(kind(*[m[chunk] for m in mixture]),
                            kind(*[d[chunk] for d in derivative]),
                            xy[chunk], count, out[chunk])
        return out

    def _gradients(self, mixture, derivative, xy, n_groups, out):
        """Fill in the gradients of one run of sources."""
        grid = (len(self._ky), len(self._kx))
        spectra = self._shape_spectra(mixture, derivative).unflatten(-1, grid)
        phases = self._phases(xy)
        for i, transfer in enumerate(self.transfers):
            base = self._base(i, phases, n_groups)
            ky, kx = self._waves(transfer)
            own = self._select(spectra, transfer)
            field = base.new_empty(len(xy), out.shape[1], *base.shape[1:])
            torch.mul(own[:, :1], base[:, None], out=field[:, :1])
            torch.mul(own[:, 1:], base[:, None], out=field[:, 3:])
            torch.mul(field[:, 0], -1j * kx, out=field[:, 1])
            torch.mul(field[:, 0], -1j * ky, out=field[:, 2])
            out[:, :, i] = self._to_pixels(field, transfer.oversampling)
