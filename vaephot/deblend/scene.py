# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Fit all sources of an image, piece by piece.

A `SceneFitter` holds what stays the same during a call: pixels, PSFs,
networks and settings. Its methods go from positions to start values, from
those to fitted parameters, and from these to model images.
"""

from dataclasses import replace
from functools import cached_property

import numpy as np
import torch

from vaephot.deblend.band_fit import BandBatch, GroupBatch
from vaephot.deblend.groups import (
    MIN_MARGIN,
    group_sources,
    make_pieces,
    segment_boxes,
)
from vaephot.deblend.images import add_up, clip_stamp, draw_scene
from vaephot.deblend.noise import sky_image
from vaephot.deblend.optics import EDGE_SIGMA, Optics
from vaephot.deblend.refine import fit_groups, linear_fluxes
from vaephot.deblend.scene_fit import empty_fit, fill_cores
from vaephot.deblend.start import BandView
from vaephot.models.encoder import Gaussian
from vaephot.models.render import padded_size
from vaephot.stamps import cut_window

__all__ = ['SceneFitter']

# pixels by which the reach of light grows
REACH_STEP = 32
# places for sources in a batch: pieces with fewer have empty ones
PLACES = (1, 2, 3, 4, 5, 6, 8, 10)
# pixel-sources of a batch on a processor; on a GPU 64 times as many
BATCH_PIXELS = 300_000
# half-light radius that brightness is first measured with, in FWHM
FIRST_RADIUS = 1.2
# logarithm of the size [px] and precision that make a galaxy a point
POINT_LOG_SIZE = -3.5
POINT_PRECISION = 1e8


def _runs(items, key, limit):
    """Items with equal keys in runs of limited length, in order."""
    table = {}
    for item in items:
        table.setdefault(key(item), []).append(item)
    for value, members in table.items():
        step = limit(value)
        for start in range(0, len(members), step):
            yield value, members[start:start + step]


class SceneFitter:
    """
    Fit the sources of one observation.

    Parameters
    ----------
    observation : `~vaephot.deblend.inputs.Observation`
        Images, noise, PSFs.
    vae : `~vaephot.models.vae.VAE`
        The second autoencoder, in float32, on its device.
    decoder : `~vaephot.models.decoder.Decoder`
        Its decoder in the precision of the fit.
    settings : `~vaephot.deblend.refine.FitSettings`
        How far the fit goes.
    device : str
        Torch device.
    batch_size : int or None
        Pieces fitted at once, and stamps encoded at once; `None`: what
        fits the memory.
    """

    # bands whose grid is that of the parameters, labels and images
    image_bands = slice(None)

    def __init__(self, observation, vae, decoder, settings, *, device='cpu',
                 batch_size=None):
        self.observation = observation
        self.vae = vae
        self.decoder = decoder
        self.settings = settings
        self.device = device
        self.batch_size = batch_size
        self.n_bands = len(observation.bands)
        correlation = np.asarray(observation.noise_correlation, float)
        self.variance = (observation.variance
                         * correlation[:, None, None] ** 2)
        self.optics = Optics(observation.psfs, observation.data.shape[1:],
                             dtype=decoder.sigma.dtype, device=device)
        self.fwhm = self.optics.fwhm
        self.point_error = self.optics.point_error

    def draw(self, parameters, flux):
        """
        Draw the models of sources and their sum.

        Parameters
        ----------
        parameters, flux
            As for `~vaephot.deblend.images.draw_sources`, of all bands.

        Returns
        -------
        dict
            As `~vaephot.deblend.images.draw_scene` returns it.
        """
        return draw_scene(self, parameters, flux)

    # ------------------------------------------------------------ batches
    def _limit(self, key):
        """Pieces of a batch."""
        if self.batch_size is not None:
            return self.batch_size
        size, places, _ = key
        room = BATCH_PIXELS * (1 if self.device == 'cpu' else 64)
        return max(1, room // (size * size * places))

    def runs(self, pieces, snr):
        """
        Pieces of equal shape, in batches.

        Parameters
        ----------
        pieces : list of `~vaephot.deblend.groups.Piece`
            Pieces.
        snr : `numpy.ndarray`, (n, n_bands)
            Point-source signal-to-noise ratios of all sources.

        Yields
        ------
        places : int
            Places for sources in each piece.
        reach : int
            Distance at which the light of the brightest matters.
        run : list of `~vaephot.deblend.groups.Piece`
            Pieces of one size.
        """
        far = self._wing_reach(snr * self.point_error)

        def key(piece):
            count = len(piece.members)
            # sources keep off the edges, and grids are larger than stamps
            reach = int(far[list(piece.members)].max()) - MIN_MARGIN
            folded = piece.size + reach > padded_size(piece.size)
            return (piece.size, next(p for p in PLACES if p >= count),
                    REACH_STEP * -(-reach // REACH_STEP) if folded else 0)
        for (_, places, reach), run in _runs(pieces, key, self._limit):
            yield places, reach, run

    def _wing_reach(self, bright):
        """How far the light of sources matters, in pixels."""
        return self.optics.wing_reach(bright)

    def batch(self, run, places, reach, data, prior, snr=None, *,
              optics=None):
        """
        Pixels and prior of pieces, ready for the fit.

        Parameters
        ----------
        run : list of `~vaephot.deblend.groups.Piece`
            Pieces of one size.
        places : int
            Places for sources in each.
        reach : int
            Distance at which their light matters.
        data : `numpy.ndarray`, (n_pieces, n_bands, size, size)
            Pixels of each piece.
        prior : `~vaephot.models.encoder.Gaussian`
            Prior of all sources, positions in the image.
        snr : `numpy.ndarray`, (n, n_bands), optional
            Point-source signal-to-noise ratios of all sources, if known.
        optics : `~vaephot.deblend.optics.Optics`, optional
            What draws; by default the fitter's own.

        Returns
        -------
        `~vaephot.deblend.band_fit.GroupBatch`
        """
        optics = self.optics if optics is None else optics
        size = run[0].size
        mask = np.stack([cut_window(self.observation.mask, p.iy, p.ix, size,
                                 True) for p in run])
        variance = self.variance
        if variance.shape[-1] > 1:
            variance = np.stack([cut_window(variance, p.iy, p.ix, size, 1.0)
                                 for p in run])
        else:
            variance = np.broadcast_to(variance[None], mask.shape)
        active = np.zeros((len(run), places))
        for i, piece in enumerate(run):
            active[i, :len(piece.members)] = 1
        centres = [(p.ix + size / 2, p.iy + size / 2) for p in run]
        renderer = optics.renderer(size, centres, reach)
        gain = self.observation.gain
        flux = self._expected_flux(run, places, prior, snr)
        bands = [BandBatch(
            optics.tensor(data[:, i]), optics.tensor(variance[:, i]),
            optics.tensor(~mask[:, i]), None if gain is None else gain[i],
            renderer.bands[i], optics.windows(i, centres, size, flux[i]))
            for i in range(self.n_bands)]
        return GroupBatch(tuple(bands), self._small(active),
                          self._gather(run, places, prior),
                          self.vae.prior.band_precision().double())

    def _expected_flux(self, run, places, shapes, snr):
        """Fluxes of sources of known brightness, or None for each band."""
        if snr is None:
            return [None] * self.n_bands
        noise = self.sky_rms(shapes.mean[:, :2].numpy()) * self.point_error
        flux = np.zeros((self.n_bands, len(run), places))
        for i, piece in enumerate(run):
            members = list(piece.members)
            flux[:, i, :len(members)] = (snr * noise)[members].T
        return [self._small(values) for values in flux]

    def _small(self, values):
        """Numbers of sources, in double precision where there is one."""
        return torch.as_tensor(values, dtype=self.decoder.sigma.dtype,
                               device=self.device)

    def _gather(self, run, places, gaussian):
        """Prior or start of pieces, positions in their stamps."""
        mean = torch.zeros(len(run), places, gaussian.mean.shape[1],
                           dtype=torch.float64)
        precision = torch.ones_like(mean)
        for i, piece in enumerate(run):
            members = list(piece.members)
            mean[i, :len(members)] = gaussian.mean[members]
            mean[i, :len(members), 0] -= piece.ix
            mean[i, :len(members), 1] -= piece.iy
            precision[i, :len(members)] = gaussian.precision[members]
        return Gaussian(self._small(mean), self._small(precision))

    def _pixels(self, run, foreign=None):
        """Data of pieces, less the light of sources of other pieces."""
        stamps = []
        for piece in run:
            stamp = cut_window(self.observation.data, piece.iy, piece.ix,
                            piece.size, 0.0)
            if foreign is not None:
                stamp = stamp - foreign(piece)
            stamps.append(stamp)
        return np.stack(stamps)

    # -------------------------------------------------------------- start
    def default_shapes(self, sources):
        """
        Small round galaxies at the places of sources.

        Parameters
        ----------
        sources : `~vaephot.deblend.groups.SourceList`
            Sources.

        Returns
        -------
        `~vaephot.models.encoder.Gaussian`
            Half-light radii of `FIRST_RADIUS` times the narrowest FWHM.
        """
        n = len(sources)
        mean = torch.zeros(n, self.vae.config.n_parameters,
                           dtype=torch.float64)
        mean[:, 0] = torch.as_tensor(sources.x)
        mean[:, 1] = torch.as_tensor(sources.y)
        mean[:, 2] = float(np.log(FIRST_RADIUS * self.fwhm.min()))
        return Gaussian(mean, torch.ones_like(mean))

    def _linear(self, pieces, shapes, snr):
        """Pieces with the best fluxes and the templates of their cores."""
        known = (np.zeros((len(shapes.mean), self.n_bands)) if snr is None
                 else snr)
        for places, reach, run in self.runs(pieces, known):
            batch = self.batch(run, places, reach, self._pixels(run), shapes,
                               snr, optics=self.optics.single)
            with torch.no_grad():
                found = linear_fluxes(batch, self.decoder,
                                      self.settings.background)
            flux = found[0].cpu().numpy()
            images = [image.cpu().numpy() for image in found[1]]
            for i, piece in enumerate(run):
                n = len(piece.core)
                yield piece, flux[i, :n], [image[i, :n] for image in images]

    def linear_flux(self, pieces, shapes, snr=None):
        """
        Fluxes of sources of given shapes.

        Parameters
        ----------
        pieces : list of `~vaephot.deblend.groups.Piece`
            Pieces.
        shapes : `~vaephot.models.encoder.Gaussian`
            Shapes of all sources, positions in the image.
        snr : `numpy.ndarray`, (n, n_bands), optional
            Point-source signal-to-noise ratios, as far as they are known:
            the wings of bright sources reach far.

        Returns
        -------
        `numpy.ndarray`, (n, n_bands)
        """
        flux = np.zeros((len(shapes.mean), self.n_bands))
        for piece, values, _ in self._linear(pieces, shapes, snr):
            flux[list(piece.core)] = values
        return flux

    def linear_scene(self, pieces, shapes, snr=None, rows=None):
        """
        Fluxes and models of sources of given shapes.

        A model covers the stamp of its piece, or more where its light
        goes on beyond it.

        Parameters
        ----------
        pieces, shapes, snr
            As for `linear_flux`.
        rows : `numpy.ndarray` of int, optional
            Sources that are wanted; by default all.

        Returns
        -------
        flux : `numpy.ndarray`, (n, n_bands)
        drawn : tuple
            Boxes and models of the sources as `draw` returns them, and
            the sum of the models, ``(n_bands, ny, nx)``.
        """
        n, shape = len(shapes.mean), self.observation.data.shape[1:]
        rows = np.arange(n) if rows is None else rows
        noise = self.sky_rms(shapes.mean[:, :2].numpy())
        flux = np.zeros((n, self.n_bands))
        boxes, models = [None] * n, [None] * n
        wide = np.ones(n, bool)
        for piece, values, images in self._linear(pieces, shapes, snr):
            core = list(piece.core)
            flux[core] = values
            images = np.stack(images, 1) * np.float32(values)[..., None, None]
            edge = np.maximum(np.abs(images[..., [0, -1], :]).max((2, 3)),
                              np.abs(images[..., [0, -1]]).max((2, 3)))
            wide[core] = (edge > EDGE_SIGMA * noise[core]).any(1)
            for k, image in zip(core, images, strict=True):
                boxes[k], models[k] = clip_stamp(piece.ix, piece.iy, image,
                                                 shape)
        far = rows[wide[rows]]
        drawn = self.draw(shapes.mean.numpy()[far], flux[far])
        for k, bbox, model in zip(far, drawn['boxes'], drawn['models'],
                                  strict=True):
            boxes[k], models[k] = bbox, model
        boxes, models = [boxes[k] for k in rows], [models[k] for k in rows]
        return flux[rows], (boxes, models, add_up(boxes, models, shape,
                                                  self.n_bands))

    def point_snr(self, shapes, flux):
        """
        Brightness of sources as the encoder and the prior are told it.

        Parameters
        ----------
        shapes : `~vaephot.models.encoder.Gaussian`
            Shapes of all sources, positions in the image.
        flux : `numpy.ndarray`, (n, n_bands)
            Their fluxes.

        Returns
        -------
        `numpy.ndarray`, (n, n_bands)
            Fluxes over the flux error of an isolated point source.
        """
        noise = self.sky_rms(shapes.mean[:, :2].numpy()) * self.point_error
        return flux / noise

    def linear_snr(self, pieces, shapes):
        """
        Brightness of sources of given shapes.

        Parameters
        ----------
        pieces, shapes
            As for `linear_flux`.

        Returns
        -------
        `numpy.ndarray`, (n, n_bands)
            What `point_snr` returns for their best fluxes.
        """
        return self.point_snr(shapes, self.linear_flux(pieces, shapes))

    def weight(self, model_image):
        """
        Inverse variance of the pixels for a model of the frame.

        Parameters
        ----------
        model_image : `numpy.ndarray`, (n_bands, ny, nx)
            Model that the Poisson noise goes by where the gain is known.

        Returns
        -------
        `numpy.ndarray`, (n_bands, ny, nx)
            0 for bad pixels.
        """
        variance = self.variance
        if self.observation.gain is not None:
            gain = np.asarray(self.observation.gain)[:, None, None]
            variance = variance + np.maximum(model_image, 0) / gain
        return ~self.observation.mask / variance

    def sky_rms(self, xy):
        """
        Noise of a pixel of the sky.

        Parameters
        ----------
        xy : `numpy.ndarray`, (n, 2)
            Positions in the image.

        Returns
        -------
        `numpy.ndarray`, (n, n_bands)
        """
        if self.variance.shape[-1] == 1:
            rms = np.sqrt(self.variance[:, 0, 0])
            return np.broadcast_to(rms, (len(xy), self.n_bands))
        ny, nx = self.variance.shape[1:]
        ix, iy = (np.clip(np.rint(c).astype(int), 0, n - 1)
                  for c, n in zip(xy.T, (nx, ny), strict=True))
        return np.sqrt(self.variance[:, iy, ix].T)

    @cached_property
    def _sky(self):
        """Level or plane of the sky of each band, where it is free."""
        kind = self.settings.background
        if kind is None:
            return np.zeros(len(self.observation.bands))
        return [sky_image(image, mask, kind) for image, mask in zip(
            self.observation.data, self.observation.mask, strict=True)]

    def views(self, image=None):
        """
        Bands as the encoder is shown them.

        Parameters
        ----------
        image : `numpy.ndarray`, (n_bands, ny, nx), optional
            What is left without the light of all sources; by default the
            data.

        Returns
        -------
        list of `~vaephot.deblend.start.BandView`
        """
        image = self.observation.data if image is None else image
        return [BandView(image[band] - self._sky[band],
                         self.observation.mask[band], self.variance[band],
                         self.optics.samples[band], float(self.fwhm[band]))
                for band in range(self.n_bands)]

    @staticmethod
    def force_points(gaussian, is_point):
        """
        Make galaxies into point sources by their prior.

        Parameters
        ----------
        gaussian : `~vaephot.models.encoder.Gaussian`
            Prior or start of all sources.
        is_point : `numpy.ndarray` of bool, (n,)
            Which of them.

        Returns
        -------
        `~vaephot.models.encoder.Gaussian`
        """
        rows = torch.as_tensor(np.asarray(is_point, bool))
        mean, precision = gaussian.mean.clone(), gaussian.precision.clone()
        mean[rows, 2:] = 0
        mean[rows, 2] = POINT_LOG_SIZE
        precision[rows, 2:] = POINT_PRECISION
        return Gaussian(mean, precision)

    # ---------------------------------------------------------------- fit
    def fit(self, sources, pieces, start, prior, snr, *, foreign=None,
            progress=None):
        """
        Fit all pieces once.

        Parameters
        ----------
        sources : `~vaephot.deblend.groups.SourceList`
            Sources.
        pieces : list of `~vaephot.deblend.groups.Piece`
            Pieces to fit.
        start, prior : `~vaephot.models.encoder.Gaussian`
            Of all sources, positions in the image.
        snr : `numpy.ndarray`, (n, n_bands)
            Brightness that the prior goes by; kept in the result.
        foreign : callable, optional
            Light of sources of other pieces on the stamp of a piece.
        progress : callable, optional
            Called with the number of sources measured.

        Returns
        -------
        SceneFit
            Rows of sources in no core of these pieces are zero.
        """
        fit = empty_fit(*start.mean.shape, snr)
        for places, reach, run in self.runs(pieces, snr):
            batch = self.batch(run, places, reach,
                               self._pixels(run, foreign), prior, snr)
            first, precision = self._gather(run, places, start)
            with torch.no_grad():
                done = fit_groups(batch, first, self.decoder, self.settings,
                                  start_precision=precision)
            fill_cores(fit, run, done)
            if progress is not None:
                progress(sum(len(piece.core) for piece in run))
        latent = fit.parameters[:, 5:] - prior.mean[:, 5:].numpy()
        return replace(fit, prior_distance=(latent ** 2).sum(1))

    def divide(self, sources, segm):
        """
        Group sources and cut the groups into pieces.

        Parameters
        ----------
        sources : `~vaephot.deblend.groups.SourceList`
            Sources.
        segm : `~photutils.segmentation.SegmentationImage`
            Parents.

        Returns
        -------
        list of `~vaephot.deblend.groups.Piece`
        """
        fwhm = float(self.fwhm.min())
        groups = group_sources(sources, segm.data, fwhm)
        boxes = segment_boxes(segm.data, segm.labels, segm.slices)
        return make_pieces(sources, groups, boxes, fwhm)
