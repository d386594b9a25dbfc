# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Batches of pieces for the fit.

Pieces of one size and with as many places for sources are fitted side by
side. A `Layer` cuts their stamps from the bands on one pixel grid, and
`Batches` puts pixels, priors and what is known of the fluxes together.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from vaephot.deblend.band_fit import BandBatch, GroupBatch
from vaephot.deblend.groups import MIN_MARGIN
from vaephot.models.encoder import Gaussian
from vaephot.models.render import padded_size
from vaephot.utils.boxes import cut_window

__all__ = ['Batches', 'Layer', 'Run', 'Stamps']

# places for sources in a batch: pieces with fewer have empty ones
PLACES = (1, 2, 3, 4, 5, 6, 8, 10)
# pixel-sources of a batch on a processor; on a GPU 64 times as many
BATCH_PIXELS = 300_000
# pixels by which the reach of light grows
REACH_STEP = 32


@dataclass(frozen=True, kw_only=True)
class Run:
    """
    Pieces of one size that are fitted side by side.

    Parameters
    ----------
    pieces : list of `~vaephot.deblend.groups.Piece`
        Pieces.
    places : int
        Places for sources in each of them.
    reach : int
        Distance in pixels at which the light of the brightest matters.
    n_parameters : int
        Parameters of a source: structure is left out where none has any.
    glaring : bool, optional
        Whether any is so bright that all frequencies have to be drawn.
    """

    pieces: list
    places: int
    reach: int
    n_parameters: int
    glaring: bool = False

    @property
    def size(self):
        """Side of the stamps."""
        return self.pieces[0].size

    @property
    def corners(self):
        """First column and row of each stamp, (n_pieces, 2)."""
        return np.array([(piece.ix, piece.iy) for piece in self.pieces])

    @property
    def occupied(self):
        """Whether there is a source at each place, (n_pieces, places)."""
        counts = torch.tensor([len(piece.members) for piece in self.pieces])
        return torch.arange(self.places) < counts[:, None]

    def gather(self, values, fill=0.0):
        """
        Values of sources at their places.

        Parameters
        ----------
        values : `torch.Tensor`, (n, ...)
            Of all sources.
        fill : float, optional
            Value at empty places.

        Returns
        -------
        `torch.Tensor` of float64, (n_pieces, places, ...)
        """
        out = torch.full((len(self.pieces), self.places, *values.shape[1:]),
                         fill, dtype=torch.float64)
        for row, piece in zip(out, self.pieces, strict=True):
            row[:len(piece.members)] = values[list(piece.members)]
        return out

    def gather_shapes(self, gaussian):
        """
        Priors or starts of sources at their places.

        Parameters
        ----------
        gaussian : `~vaephot.models.encoder.Gaussian`
            Of all sources, positions in the image.

        Returns
        -------
        `~vaephot.models.encoder.Gaussian`
            Entries ``(n_pieces, places, n_parameters)``, positions in the
            stamps.
        """
        mean, precision = (column[:, :self.n_parameters]
                           for column in gaussian)
        mean = self.gather(mean)
        mean[..., :2] -= (torch.as_tensor(self.corners)[:, None]
                          * self.occupied[..., None])
        return Gaussian(mean, self.gather(precision, 1.0))


@dataclass(frozen=True, kw_only=True)
class Stamps:
    """
    Where the stamps of a run lie on a pixel grid.

    Parameters
    ----------
    corners : `numpy.ndarray` of int, (n_pieces, 2)
        First column and row of each.
    side : int
        Their side in pixels of the grid.
    reach : int
        Distance in the same pixels at which light matters.
    scale : float, optional
        Pixels of the grid on the side of one of the parameters.
    place : callable or None, optional
        Called with a renderer, returns it on the grid of the parameters;
        `None` if that is this one.
    """

    corners: np.ndarray
    side: int
    reach: int
    scale: float = 1.0
    place: object = None

    def cut(self, array, fill):
        """
        Pixels of the stamps.

        Parameters
        ----------
        array : `numpy.ndarray`, (n_bands, ny, nx)
            Image.
        fill : scalar
            Value of the pixels that are not in the image.

        Returns
        -------
        `numpy.ndarray`, (n_pieces, n_bands, side, side)
        """
        return np.stack([cut_window(array, iy, ix, self.side, fill)
                         for ix, iy in self.corners.tolist()])


class Layer:
    """
    Bands on one pixel grid, as the fit sees them.

    Parameters
    ----------
    observation : `~vaephot.deblend.inputs.read.Observation`
        Images of the bands.
    variance : `numpy.ndarray`, (n_bands, ny, nx) or (n_bands, 1, 1)
        Of the pixels, larger than the observation's where the noise is
        correlated.
    optics : `~vaephot.deblend.optics.Optics`
        Their PSFs.
    """

    def __init__(self, observation, variance, optics):
        self.observation = observation
        self.variance = variance
        self.optics = optics
        self.n_bands = len(observation.bands)

    @cached_property
    def single(self):
        """The same in single precision."""
        return Layer(self.observation, self.variance, self.optics.single)

    def wing_reach(self, bright):
        """
        How far the light of sources matters.

        Parameters
        ----------
        bright : `numpy.ndarray`, (n, n_bands)
            Fluxes in units of the noise of a pixel.

        Returns
        -------
        `numpy.ndarray` of int, (n,)
            Pixels.
        """
        return self.optics.wing_reach(bright)

    def are_glaring(self, bright):
        """
        Which sources need all frequencies.

        Parameters
        ----------
        bright : `numpy.ndarray`, (n, n_bands)
            Fluxes in units of the noise of a pixel.

        Returns
        -------
        `numpy.ndarray` of bool, (n,)
        """
        return self.optics.are_glaring(bright)

    def bands(self, run, flux, foreign=None):
        """
        Pixels of a run in each band.

        Parameters
        ----------
        run : Run
            Pieces.
        flux : sequence of `torch.Tensor`, (n_pieces, places), or None
            What is known about the fluxes in each band.
        foreign : callable, optional
            As for `Batches.make`.

        Returns
        -------
        list of `~vaephot.deblend.band_fit.BandBatch`
        """
        stamps = Stamps(corners=run.corners, side=run.size, reach=run.reach)
        return self.on_stamps(run, stamps, flux, foreign)

    def on_stamps(self, run, stamps, flux, foreign=None):
        """
        Pixels of a run in each band, on stamps that may lie elsewhere.

        Parameters
        ----------
        run : Run
            Pieces.
        stamps : Stamps
            Where they lie.
        flux, foreign
            As for `bands`.

        Returns
        -------
        list of `~vaephot.deblend.band_fit.BandBatch`
        """
        optics = self.optics.fine if run.glaring else self.optics
        # what has a window of its own is faint
        windows = self.optics.windows
        side, gain = stamps.side, self.observation.gain
        data = stamps.cut(self.observation.data, 0.0)
        if foreign is not None:
            data = data - np.stack([
                foreign(piece.members, ix, iy, side)
                for piece, (ix, iy) in zip(
                    run.pieces, stamps.corners.tolist(), strict=True)])
        good = ~stamps.cut(self.observation.mask, True)
        variance = (stamps.cut(self.variance, 1.0)
                    if self.variance.shape[-1] > 1
                    else np.broadcast_to(self.variance, data.shape))
        centres = [(ix + side / 2, iy + side / 2)
                   for ix, iy in stamps.corners.tolist()]
        renderers = optics.renderer(side, centres, stamps.reach).bands
        if stamps.place is not None:
            renderers = [stamps.place(renderer) for renderer in renderers]
        return [BandBatch(
            optics.tensor(data[:, i]), optics.tensor(variance[:, i]),
            optics.tensor(good[:, i]), None if gain is None else gain[i],
            renderer, windows(i, centres, side, flux[i], stamps.scale,
                              stamps.place))
            for i, renderer in enumerate(renderers)]


def _shared_runs(items, key, limit):
    """Items with equal keys in runs of limited length, in order."""
    table = {}
    for item in items:
        table.setdefault(key(item), []).append(item)
    for value, members in table.items():
        step = limit(value)
        for start in range(0, len(members), step):
            yield value, members[start:start + step]


class Batches:
    """
    Make batches of pieces.

    Parameters
    ----------
    layer : Layer
        Pixels, or what gives those of several grids.
    band_precision : `torch.Tensor`, (n_parameters, n_parameters)
        Inverse covariance of the parameters of a band about the common
        ones.
    n_concentric : int
        Parameters of sources without structure.
    dtype : `torch.dtype`
        Precision of the numbers of sources.
    device : str, optional
        Where the fit runs.
    batch_size : int or None, optional
        Pieces of a batch; `None`: what fits the memory.
    """

    def __init__(self, layer, band_precision, n_concentric, *, dtype,
                 device='cpu', batch_size=None):
        self.layer = layer
        self.band_precision = band_precision
        self.n_concentric = n_concentric
        self.dtype = dtype
        self.device = device
        self.batch_size = batch_size

    def _limit(self, key):
        """Pieces of a batch."""
        if self.batch_size is not None:
            return self.batch_size
        size, places, *_ = key
        room = BATCH_PIXELS * (1 if self.device == 'cpu' else 64)
        return max(1, room // (size * size * places))

    def runs(self, pieces, bright, structured):
        """
        Pieces of equal shape, as many as are fitted at once.

        Parameters
        ----------
        pieces : list of `~vaephot.deblend.groups.Piece`
            Pieces.
        bright : `numpy.ndarray`, (n, n_bands)
            Fluxes of all sources in units of the noise of a pixel.
        structured : `numpy.ndarray` of bool, (n,)
            Sources with structure.

        Yields
        ------
        Run
        """
        far = self.layer.wing_reach(bright)
        glaring = self.layer.are_glaring(bright)

        def key(piece):
            count = len(piece.members)
            # sources keep off the edges, and grids are larger than stamps
            reach = int(far[list(piece.members)].max()) - MIN_MARGIN
            folded = piece.size + reach > padded_size(piece.size)
            return (piece.size, next(p for p in PLACES if p >= count),
                    REACH_STEP * -(-reach // REACH_STEP) if folded else 0,
                    len(self.band_precision)
                    if structured[list(piece.members)].any()
                    else self.n_concentric,
                    bool(glaring[list(piece.members)].any()))
        for (_, places, reach, n_parameters, some_glare), some in (
                _shared_runs(pieces, key, self._limit)):
            yield Run(pieces=some, places=places, reach=reach,
                      n_parameters=n_parameters, glaring=some_glare)

    def _numbers(self, values):
        """Numbers of sources as the fit takes them."""
        return values.to(dtype=self.dtype, device=self.device)

    def gather(self, run, gaussian):
        """
        Prior or start of the sources of a run.

        Parameters
        ----------
        run : Run
            Pieces.
        gaussian : `~vaephot.models.encoder.Gaussian`
            Of all sources, positions in the image.

        Returns
        -------
        `~vaephot.models.encoder.Gaussian`
            As `Run.gather_shapes` returns it, where the fit runs.
        """
        return Gaussian(*map(self._numbers, run.gather_shapes(gaussian)))

    def make(self, run, prior, flux=None, foreign=None, *, single=False):
        """
        Pixels and prior of a run, ready for the fit.

        Parameters
        ----------
        run : Run
            Pieces.
        prior : `~vaephot.models.encoder.Gaussian`
            Prior of all sources, positions in the image.
        flux : `numpy.ndarray`, (n, n_bands), optional
            Fluxes of all sources, as far as they are known.
        foreign : callable, optional
            Light of sources of other pieces: called with the sources of a
            piece, first column, first row and side of a stamp, returns
            ``(n_bands, side, side)``.
        single : bool, optional
            Whether single precision will do for the pixels.

        Returns
        -------
        `~vaephot.deblend.band_fit.GroupBatch`
        """
        layer = self.layer.single if single else self.layer
        if flux is None:
            known = [None] * layer.n_bands
        else:
            known = self._numbers(run.gather(torch.as_tensor(flux)).movedim(
                -1, 0).contiguous())
        n = run.n_parameters
        return GroupBatch(tuple(layer.bands(run, known, foreign)),
                          self._numbers(run.occupied),
                          self.gather(run, prior),
                          self.band_precision[:n, :n])
