# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Fit all sources of an image, piece by piece.

A `SceneFitter` holds what stays the same during a call: pixels, PSFs,
networks and settings. Its methods go from positions to start values, from
those to fitted parameters, and from these to model images.
"""

from copy import copy
from dataclasses import replace
from functools import cached_property

import numpy as np
import torch

from vaephot.deblend.batches import Batches, Layer
from vaephot.deblend.encode.stamps import BandView
from vaephot.deblend.groups import Footprints, make_pieces, segment_boxes
from vaephot.deblend.images import add_up, clip_stamp, draw_scene
from vaephot.deblend.inputs.noise import sky_image
from vaephot.deblend.optics import EDGE_SIGMA, Optics
from vaephot.deblend.refine import HELD, fit_groups, linear_fluxes
from vaephot.deblend.scene_fit import empty_fit, fill_cores
from vaephot.deblend.waves import has_waves, held_waves
from vaephot.models.config import N_EXPLICIT
from vaephot.models.encoder import Gaussian

__all__ = ['SceneFitter']

# half-light radius that brightness is first measured with, in FWHM
FIRST_RADIUS = 1.2
# logarithm of the size [px] and precision that make a galaxy a point
POINT_LOG_SIZE = -3.5


class SceneFitter:
    """
    Fit the sources of one observation.

    Parameters
    ----------
    observation : `~vaephot.deblend.inputs.read.Observation`
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
        Pieces fitted at once; `None`: what fits the memory.
    """

    # bands whose grid is that of the parameters, labels and images
    image_bands = slice(None)
    # whether the encoder may give sources structure
    waves = True

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
        self.layer = Layer(observation, self.variance, self.optics)
        self.batches = self._batches_of(self.layer)
        self._footprints = None

    def without_waves(self):
        """
        The same for concentric galaxies.

        Returns
        -------
        SceneFitter
        """
        other = copy(self)
        other.waves = False
        return other

    def dividing(self, hidden):
        """
        The same for telling quickly which sources there are.

        Parameters
        ----------
        hidden : `numpy.ndarray` of bool, (ny, nx)
            Pixels that are not looked at.

        Returns
        -------
        SceneFitter
            For concentric galaxies whose shapes are not fitted.
        """
        other = self.without_waves()
        other.settings = replace(self.settings, max_steps=0, quick=True)
        other.observation = replace(self.observation,
                                    mask=self.observation.mask | hidden)
        other.layer = Layer(other.observation, self.variance, self.optics)
        other.batches = other._batches_of(other.layer)
        return other

    def _batches_of(self, layer):
        """What makes batches from the pixels of a layer."""
        return Batches(layer, self.vae.prior.band_precision().double(),
                       self.vae.config.n_concentric,
                       dtype=self.decoder.sigma.dtype, device=self.device,
                       batch_size=self.batch_size)

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
        """Pieces with fluxes, errors and templates of their cores."""
        if snr is None:
            flux, bright = None, np.zeros((len(shapes.mean), self.n_bands))
        else:
            flux = snr * self._point_noise(shapes)
            bright = snr * self.point_error
        structured = has_waves(shapes, self.vae.config)
        for run in self.batches.runs(pieces, bright, structured):
            batch = self.batches.make(run, shapes, flux, single=True)
            with torch.no_grad():
                found = linear_fluxes(batch, self.decoder,
                                      self.settings.background)
            flux_and_error = [values.cpu().numpy() for values in found[:2]]
            images = [image.cpu().numpy() for image in found[2]]
            for i, piece in enumerate(run.pieces):
                n = len(piece.core)
                yield (piece, *[values[i, :n] for values in flux_and_error],
                       [image[i, :n] for image in images])

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
        for piece, values, _, _ in self._linear(pieces, shapes, snr):
            flux[list(piece.core)] = values
        return flux

    def _linear_models(self, pieces, shapes, snr):
        """Fluxes, errors, boxes and models of all, and which go on."""
        n, shape = len(shapes.mean), self.observation.data.shape[1:]
        noise = self.sky_rms(shapes.mean[:, :2].numpy())
        flux, flux_err = np.zeros((2, n, self.n_bands))
        boxes, models = [None] * n, [None] * n
        wide = np.ones(n, bool)
        for piece, values, errors, images in self._linear(pieces, shapes,
                                                          snr):
            core = list(piece.core)
            flux[core], flux_err[core] = values, errors
            images = np.stack(images, 1) * np.float32(values)[..., None, None]
            edge = np.maximum(np.abs(images[..., [0, -1], :]).max((2, 3)),
                              np.abs(images[..., [0, -1]]).max((2, 3)))
            wide[core] = ((edge > EDGE_SIGMA * noise[core]).any(1)
                          & (not self.settings.quick))
            for k, image in zip(core, images, strict=True):
                boxes[k], models[k] = clip_stamp(piece.ix, piece.iy, image,
                                                 shape)
        return flux, flux_err, boxes, models, wide

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
        drawn : dict
            As `draw` returns it.
        """
        rows = np.arange(len(shapes.mean)) if rows is None else rows
        flux, _, drawn = self._linear_scene(pieces, shapes, snr, rows)
        return flux, drawn

    def _linear_scene(self, pieces, shapes, snr, rows):
        """What `linear_scene` returns, with the errors of the fluxes."""
        flux, flux_err, boxes, models, wide = self._linear_models(
            pieces, shapes, snr)
        far = rows[wide[rows]]
        drawn = self.draw(shapes.mean.numpy()[far], flux[far])
        for k, bbox, model in zip(far, drawn['boxes'], drawn['models'],
                                  strict=True):
            boxes[k], models[k] = bbox, model
        truncated = np.zeros(len(flux), bool)
        truncated[far] = drawn['truncated']
        boxes, models = [boxes[k] for k in rows], [models[k] for k in rows]
        shape = self.observation.data.shape[1:]
        return flux[rows], flux_err[rows], {
            'boxes': boxes, 'models': models, 'truncated': truncated[rows],
            'model_image': add_up(boxes, models, shape, self.n_bands)}

    def _point_noise(self, shapes):
        """Flux error of point sources where sources are, (n, n_bands)."""
        return self.sky_rms(shapes.mean[:, :2].numpy()) * self.point_error

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
        return flux / self._point_noise(shapes)

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
        list of `~vaephot.deblend.encode.stamps.BandView`
        """
        image = self.observation.data if image is None else image
        return [BandView(image[band] - self._sky[band],
                         self.observation.mask[band], self.variance[band],
                         self.optics.samples[band], float(self.fwhm[band]),
                         self.optics.numbers[band])
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
        precision[rows, 2:] = HELD
        return Gaussian(mean, precision)

    # ---------------------------------------------------------------- fit
    def fit(self, sources, pieces, start, prior, snr, *, foreign=None,
            progress=None, structured=None):
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
            Light of sources of other pieces, as for
            `~vaephot.deblend.batches.Batches.make`.
        progress : callable, optional
            Called with the number of sources measured.
        structured : `numpy.ndarray` of bool, (n,), optional
            Sources that may have structure; by default those that have
            some in the start.

        Returns
        -------
        SceneFit
            Rows of sources in no core of these pieces are zero.
        """
        fit = empty_fit(*start.mean.shape, snr)
        flux = snr * self._point_noise(prior)
        config = self.vae.config
        if structured is None:
            structured = has_waves(start, config)
        held = held_waves(prior, structured, config)
        for run in self.batches.runs(pieces, snr * self.point_error,
                                     structured):
            batch = self.batches.make(run, held, flux, foreign)
            first, precision = self.batches.gather(run, start)
            with torch.no_grad():
                done = fit_groups(batch, first, self.decoder, self.settings,
                                  start_precision=precision)
            fill_cores(fit, run.pieces, done)
            if progress is not None:
                progress(sum(len(piece.core) for piece in run.pieces))
        own = slice(N_EXPLICIT, config.n_concentric)
        latent = fit.parameters[:, own] - prior.mean[:, own].numpy()
        return replace(fit, prior_distance=(latent ** 2).sum(1))

    def measure(self, pieces, shapes, snr):
        """
        Measure the fluxes of sources as if their shapes were known.

        Parameters
        ----------
        pieces : list of `~vaephot.deblend.groups.Piece`
            Pieces to measure.
        shapes : `~vaephot.models.encoder.Gaussian`
            Shapes of all sources, positions in the image.
        snr : `numpy.ndarray`, (n, n_bands)
            Their brightness; kept in the result.

        Returns
        -------
        fit : `~vaephot.deblend.scene_fit.SceneFit`
            As `fit` returns it, without errors of shapes.
        drawn : dict
            As `draw` returns it, of the sources in cores of these pieces.
        """
        fit = empty_fit(*shapes.mean.shape, snr)
        rows = np.sort([k for piece in pieces for k in piece.core])
        rows = rows.astype(int)
        fit.flux[rows], fit.flux_err[rows], drawn = self._linear_scene(
            pieces, shapes, snr, rows)
        fit.parameters[:] = shapes.mean.numpy()
        fit.band_parameters[:] = fit.parameters[:, None]
        band = np.arange(self.n_bands)
        fit.covariance[:, band, band] = fit.flux_err ** 2
        fit.converged[:] = True
        fit.cropped[[k for piece in pieces if piece.cropped
                     for k in piece.core]] = True
        return fit, drawn

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
        if self._footprints is None or self._footprints.segm is not segm:
            self._footprints = Footprints(segm, fwhm)
        groups = self._footprints.group(sources)
        boxes = segment_boxes(segm.data, segm.labels, segm.slices)
        return make_pieces(sources, groups, boxes, fwhm)
