# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Draw sums of Gaussians through a PSF, with derivatives.

The product with the PSF is taken in Fourier space, on frequencies that
reach `oversampling` times the pixels' Nyquist frequency, and evaluated at
the pixels' centres: an undersampled PSF is exact, and so is a galaxy
smaller than a pixel. The PSF is an effective one: the pixel is in it.
Frequencies that the PSF suppresses are left out, so a wide PSF costs
little; along the columns a fast transform takes the rest to the pixels,
along the rows a small matrix product.

Each band has a grid of its own: an affine map takes positions and shapes
from the pixels of the parameters to those of the band.
"""

import math
from dataclasses import dataclass

import torch

__all__ = ['BandRenderer', 'Renderer', 'Transfer', 'make_transfer',
           'padded_size', 'run_numbers']

# a transfer function below this beyond some frequency is cut there
TRANSFER_CUT = 2e-3
# and rows and columns of frequencies below this are left out
SPECTRUM_CUT = 3e-4
# both where the wings of very bright sources matter: a spectrum that ends
# abruptly leaves a cross of ripples, as bright as that share of the middle
FINE_CUT = 5e-6
# sources whose mean variance [square pixels] is below this are points
POINT_VARIANCE = 4e-3
# exponents below this give nothing but slow denormal numbers
LEAST_POWER = -80.0
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


def run_numbers(n, n_runs, device='cpu'):
    """
    Numbers of the runs that items in equal runs belong to.

    Parameters
    ----------
    n, n_runs : int
        Number of items, a multiple of that of runs.
    device : optional
        Where the result lives.

    Returns
    -------
    `torch.Tensor` of int, (n,)
    """
    return torch.arange(n_runs, device=device).repeat_interleave(n // n_runs)


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
    cut : float, optional
        Share of its largest value below which it need not be drawn.
    """

    values: torch.Tensor
    oversampling: int
    cut: float = SPECTRUM_CUT


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


def _reach(values, n_grid, oversampling, cut):
    """Smallest reach beyond which nothing above the cut remains."""
    size = values.abs().amax(0)
    for reach in range(1, oversampling):
        outside = size.clone()
        n_keep = reach * n_grid // 2
        outside[:n_keep, :n_keep + 1] = 0
        outside[-n_keep:, :n_keep + 1] = 0
        if outside.max() < cut:
            return reach
    return oversampling


def make_transfer(images, oversampling, n_grid, *, reach=None, fine=False,
                  device='cpu', dtype=torch.float64):
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
        nothing above 0.2 %, or `FINE_CUT` if ``fine``.
    fine : bool, optional
        Whether the smallest frequencies matter, as they do for the wings
        of very bright sources.
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
        reach = _reach(values, n_grid, oversampling,
                       FINE_CUT if fine else TRANSFER_CUT)
    if reach < oversampling:
        values = _cut(values, n_grid, reach)
    kind = torch.complex64 if dtype == torch.float32 else torch.complex128
    return Transfer(values=values.to(device=device, dtype=kind),
                    oversampling=min(reach, oversampling),
                    cut=FINE_CUT if fine else SPECTRUM_CUT)


def _are_points(mixture):
    """Whether sources are so small that their shapes do not matter."""
    return bool(((mixture.weight * mixture.mean).sum(-1)
                 < POINT_VARIANCE).all())


class BandRenderer:
    """
    Draw templates on stamps of one size in one band.

    Parameters
    ----------
    size : int
        Side of the stamps in pixels of the band.
    transfer : Transfer
        Of the band's PSFs, on a grid of ``n_grid``.
    n_grid : int
        Length of the Fourier grid in pixels.
    affine : tuple of `torch.Tensor`, optional
        Matrix ``(n, 2, 2)`` and offset ``(n, 2)`` that take positions
        from the stamp of the parameters to that of the band, one per
        group or a single one; `None` is the identity.
    """

    def __init__(self, size, transfer, n_grid, affine=None):
        self.size = size
        self.n_grid = n_grid
        self.transfer = transfer
        self.affine = affine
        values = transfer.values
        self.device = values.device
        self.dtype = (torch.float32 if values.dtype == torch.complex64
                      else torch.float64)
        self._set_grid(values)

    def _set_grid(self, values):
        """Keep the frequencies that matter, with their transforms."""
        n_rows, n_columns = values.shape[-2:]
        strength = values.abs().amax(0)
        limit = self.transfer.cut * strength.max()
        rows = torch.nonzero(strength.amax(1) > limit)[:, 0]
        columns = torch.nonzero(strength.amax(0) > limit)[:, 0]
        step = 2 * math.pi / self.n_grid
        signed = torch.where(rows < n_rows // 2, rows, rows - n_rows)
        # phases of many turns need more digits than pixels
        fine = self.dtype if self.device.type == 'mps' else torch.float64
        self._ky, self._kx = signed.to(fine) * step, columns.to(fine) * step
        self._values = values[:, rows[:, None], columns]
        pixels = torch.arange(self.size, device=self.device)
        # frequencies of the rows that the pixels cannot tell apart
        self._alias = rows % self.n_grid
        # the half-plane counts twice, but for its first and last column
        twice = torch.where((columns == 0) | (columns == n_columns - 1),
                            1.0, 2.0).to(self.dtype) / self.n_grid ** 2
        wave = torch.exp(1j * self._kx[:, None] * pixels)
        wave = wave.to(values.dtype) * twice[:, None]
        # real part of a product as one product of real matrices
        self._to_columns = torch.cat([wave.real, -wave.imag])
        ky, kx = self._ky[:, None], self._kx[None, :]
        self._quadratic = torch.stack([
            (kx ** 2 + ky ** 2).ravel(), (kx ** 2 - ky ** 2).ravel(),
            (2 * kx * ky).ravel()]).to(self.dtype)
        self._frequencies = [k.expand(len(rows), len(columns)).reshape(-1)
                             .to(self.dtype) for k in (kx, ky)]

    @property
    def n_points(self):
        """Number of frequencies."""
        return self._quadratic.shape[1]

    def _of(self, values, groups):
        """Rows of what belongs to groups, for sources of these."""
        if len(values) == 1 or groups is None:
            return values
        return values[groups]

    def _chunks(self, n_sources):
        """Runs of sources that fit the processor's cache."""
        if self.device.type != 'cpu':
            return [slice(0, n_sources)]
        step = max(1, CACHE_POINTS // self.n_points)
        return [slice(start, min(start + step, n_sources))
                for start in range(0, n_sources, step)]

    def places(self, xy, groups=None):
        """
        Positions of sources in the stamps of the band.

        Parameters
        ----------
        xy : `torch.Tensor`, (n, 2)
            Positions in the stamps of the parameters.
        groups : `torch.Tensor` of int, (n,), optional
            As in `templates`.

        Returns
        -------
        `torch.Tensor`, (n, 2)
        """
        if self.affine is None:
            return xy
        matrix, offset = (self._of(a, groups).to(xy) for a in self.affine)
        return (matrix @ xy[..., None])[..., 0] + offset

    def _exponentials(self, mixture):
        """Transforms of unit-flux Gaussians, (n, j, k)."""
        shape = torch.stack([mixture.mean, mixture.plus, mixture.cross], -1)
        power = (-0.5 * shape) @ self._quadratic
        return torch.exp(power.clamp_(min=LEAST_POWER))

    def _base(self, xy, groups):
        """Transfer function times shift, (n, rows, columns)."""
        row = torch.exp(-1j * xy[:, 1:] * self._ky)
        column = torch.exp(-1j * xy[:, :1] * self._kx)
        values = self._of(self._values, groups)
        return (values * row.to(values.dtype)[:, :, None]
                * column.to(values.dtype)[:, None, :])

    def _to_pixels(self, spectrum):
        """Evaluate spectra at the pixels."""
        folded = spectrum.new_zeros((*spectrum.shape[:-2], self.n_grid,
                                     spectrum.shape[-1]))
        folded.index_add_(-2, self._alias, spectrum)
        half = torch.fft.ifft(folded, dim=-2, norm='forward')
        half = half[..., :self.size, :]
        return torch.cat([half.real, half.imag], -1) @ self._to_columns

    def _grid(self, spectra):
        """Unfold the frequencies into rows and columns."""
        return spectra.unflatten(-1, (len(self._ky), len(self._kx)))

    def templates(self, mixture, xy, groups=None, corner=None):
        """
        Unit-flux images of sources.

        Parameters
        ----------
        mixture : `~vaephot.models.decoder.Mixture`
            Gaussians, each entry ``(n, j)``, in pixels of the parameters.
        xy : `torch.Tensor`, (n, 2)
            Positions in the stamp of the parameters.
        groups : `torch.Tensor` of int, (n,), optional
            Groups that the sources belong to; matters where each group
            has its own PSF or grid, and by default each source is one.
        corner : `torch.Tensor`, (n, 2), optional
            First column and row of windows in the stamps of the band
            that are drawn; by default the stamps' own.

        Returns
        -------
        `torch.Tensor`, (n, size, size)
        """
        return torch.cat([
            self._templates(*self._part(chunk, mixture, xy, groups, corner))
            for chunk in self._chunks(len(xy))])

    def _templates(self, mixture, places, groups, _):
        """Templates of one run of sources on the grid of the band."""
        base = self._base(places, groups)
        if _are_points(mixture):
            return self._to_pixels(base)
        spectrum = (mixture.weight[:, None]
                    @ self._exponentials(mixture))[:, 0]
        structure = mixture.structure
        if structure is not None:
            waves = structure.basis.spectrum(structure, *self._frequencies)
            spectrum = torch.complex(spectrum + waves[:, 0], waves[:, 1])
        return self._to_pixels(self._grid(spectrum) * base)

    def _slopes(self, matrix):
        """Frequencies along both axes of the parameters."""
        x = self._kx.to(self.dtype)
        y = self._ky[:, None].to(self.dtype)
        if matrix is None:
            return x, y
        turned = matrix.transpose(1, 2)[..., None]
        return tuple(turned[:, i, :1] * x + turned[:, i, 1:] * y
                     for i in (0, 1))

    def _part(self, chunk, mixture, xy, groups, corner):
        """Gaussians, places, groups and maps of a run of sources."""
        own = torch.arange(chunk.start, chunk.stop, device=self.device)
        own = own if groups is None else groups[chunk]
        mixture = mixture.take(chunk)
        places, matrix = self.places(xy[chunk], own), None
        if self.affine is not None:
            matrix = self._of(self.affine[0], own).to(self.dtype)
            mixture = mixture.transformed(matrix)
        if corner is not None:
            places = places - corner[chunk]
        return mixture, places, own, matrix

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
        spectra = torch.cat([mixed[:, -1:], flux], 1)
        if mixture.structure is None:
            return spectra
        return self._with_structure(spectra, mixture.structure,
                                    derivative.structure)

    def _with_structure(self, spectra, structure, steep):
        """Add the spectra of the structure, and append its columns."""
        waves = structure.basis.slopes(structure, steep, *self._frequencies)
        n_own = structure.amplitude.shape[1]
        real = torch.nn.functional.pad(spectra, (0, 0, 0, n_own))
        imag = torch.zeros_like(real)
        for field, part in ((real, waves[:, 0]), (imag, waves[:, 1])):
            field[:, :4] += part[:, :4]
            field[:, -n_own:] = part[:, 4:]
        return torch.complex(real, imag)

    def gradients(self, mixture, derivative, xy, groups=None, corner=None):
        """
        Unit-flux images and their derivatives.

        Parameters
        ----------
        mixture, derivative : `~vaephot.models.decoder.Mixture`
            As `~vaephot.models.decoder.Decoder.jacobian` returns them.
        xy : `torch.Tensor`, (n, 2)
            Positions in the stamp of the parameters.
        groups, corner
            As in `templates`.

        Returns
        -------
        `torch.Tensor`, (n, 1 + n_parameters, size, size)
            The template, then its derivatives in the order of the
            parameters.
        """
        n_columns = self._n_columns(derivative)
        out = self._values.real.new_empty(len(xy), n_columns, self.size,
                                          self.size)
        for chunk in self._chunks(len(xy)):
            out[chunk] = self._gradients(derivative.take(chunk), *self._part(
                chunk, mixture, xy, groups, corner))
        return out

    @staticmethod
    def _n_columns(derivative):
        """The template and its derivatives."""
        structure = derivative.structure
        return (derivative.weight.shape[-1] + 3
                + (0 if structure is None else structure.amplitude.shape[1]))

    def _gradients(self, derivative, mixture, places, groups, matrix):
        """Gradients of one run of sources on the grid of the band."""
        if matrix is not None:
            derivative = derivative.transformed(matrix)
        base = self._base(places, groups)
        if _are_points(mixture):
            field = torch.stack([base, *(-1j * slope * base for slope in
                                         self._slopes(matrix))], 1)
            return torch.nn.functional.pad(
                self._to_pixels(field),
                (0, 0, 0, 0, 0, self._n_columns(derivative) - 3))
        spectra = self._grid(self._shape_spectra(mixture, derivative))
        n_columns = spectra.shape[1] + 2
        field = base.new_empty(len(places), n_columns, *base.shape[1:])
        torch.mul(spectra[:, :1], base[:, None], out=field[:, :1])
        torch.mul(spectra[:, 1:], base[:, None], out=field[:, 3:])
        for i, slope in enumerate(self._slopes(matrix)):
            torch.mul(field[:, 0], -1j * slope, out=field[:, 1 + i])
        return self._to_pixels(field)


class Renderer:
    """
    Draw templates on stamps in several bands.

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
        self.bands = tuple(BandRenderer(size, transfer, self.n_grid)
                           for transfer in transfers)

    @classmethod
    def from_bands(cls, bands):
        """
        Renderer of bands that draw on the same stamps.

        Parameters
        ----------
        bands : sequence of BandRenderer
            One each.

        Returns
        -------
        Renderer
        """
        renderer = cls(bands[0].size, (), bands[0].n_grid)
        renderer.bands = tuple(bands)
        return renderer

    def templates(self, mixture, xy, groups=None):
        """
        Unit-flux images of sources that look alike in all bands.

        Parameters
        ----------
        mixture, xy, groups
            As for `BandRenderer.templates`.

        Returns
        -------
        `torch.Tensor`, (n, n_bands, size, size)
        """
        return torch.stack([band.templates(mixture, xy, groups)
                            for band in self.bands], 1)

    def gradients(self, mixture, derivative, xy, groups=None):
        """
        Unit-flux images of sources that look alike, and derivatives.

        Parameters
        ----------
        mixture, derivative, xy, groups
            As for `BandRenderer.gradients`.

        Returns
        -------
        `torch.Tensor`, (n, 1 + n_parameters, n_bands, size, size)
        """
        return torch.stack([band.gradients(mixture, derivative, xy, groups)
                            for band in self.bands], 2)
