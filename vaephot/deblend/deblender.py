# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The deblender: configured once, called on images."""

import warnings
from datetime import UTC, datetime
from functools import partial

import numpy as np
import torch
from photutils.segmentation import SegmentationImage
from tqdm.auto import tqdm

from vaephot import __version__
from vaephot.deblend.detect.candidates import choose_sources
from vaephot.deblend.detect.stack import detect
from vaephot.deblend.detect.stars import PointSources
from vaephot.deblend.fit.engine import Engine
from vaephot.deblend.fit.problem import FitSettings
from vaephot.deblend.inputs.error_maps import warn_background
from vaephot.deblend.inputs.positions import pixel_positions
from vaephot.deblend.inputs.read import prepare_observation
from vaephot.deblend.outputs.assemble import assemble_result, assign_labels
from vaephot.deblend.outputs.fallback import add_fallback, fit_or_leave_out
from vaephot.deblend.outputs.info import add_info
from vaephot.deblend.outputs.long_labels import (
    restore_labels,
    restore_result,
    shorten_labels,
)
from vaephot.deblend.outputs.rescale import rescale, rescale_info
from vaephot.deblend.pipeline import deblend
from vaephot.deblend.select.features import FEATURES
from vaephot.deblend.select.no_source import find_empty
from vaephot.deblend.select.unlabelled import merge_unlabelled
from vaephot.deblend.settings import SearchSettings
from vaephot.exceptions import (
    DeblendWarning,
    ShapeMismatchError,
    WeightsError,
)
from vaephot.models.bundle import build_vaes
from vaephot.models.classifier import build_classifier
from vaephot.utils.device import resolve_device
from vaephot.utils.labels import validate_labels
from vaephot.weights import load_weights

__all__ = ['VAEDeblender']

BACKGROUNDS = (None, 'constant', 'plane')
# numerical trouble of a parent; any other error is one of the program
FAILURES = (ArithmeticError, np.linalg.LinAlgError, torch.linalg.LinAlgError)


class VAEDeblender:
    """
    Separate overlapping sources and measure their fluxes.

    A deblender is configured once and may be called on any number of
    images, from several threads at once: a call changes nothing in it.

    Parameters
    ----------
    n_pixels : int, optional
        Least number of pixels of a child, and of a detection where no
        segmentation is given.
    contrast : float, optional
        Least share of its parent's flux that a child's model must hold;
        1 never splits, 0 keeps every significant child. The default is
        that of photutils.
    n_levels : int, optional
        Thresholds of the search for peaks.
    mode : {'exponential', 'linear', 'sinh'}, optional
        Spacing of the thresholds, as in photutils.
    connectivity : {8, 4}, optional
        Whether pixels that touch by a corner are neighbours.
    weights : str or path-like or None, optional
        Name of registered weights or path of a weights file; `None`: the
        set ``'default'``.
    finder : `~vaephot.deblend.settings.PeakFinder` or callable or None, \
            optional
        Settings of the search, from cautious to aggressive; or what
        replaces it, called as ``finder(image, mask=mask)`` as photutils'
        finders are. `None`: the search with its default settings.
    refine : bool or 'network', optional
        `True`: joint fit to convergence (best accuracy); `False`: a quick
        fit, a few steps; ``'network'``: shapes as the second autoencoder
        sees them and linear fluxes, nothing is fitted.
    local_background : {None, 'constant', 'plane'}, optional
        Free background of each fit group and band; `None`: the data are
        background-subtracted.
    relabel : bool, optional
        Whether the children's segmentation is labelled consecutively.
    device : str or `torch.device` or None, optional
        Torch device; `None` picks CUDA, then MPS, then the CPU.
    batch_size : int or None, optional
        Stamps computed at once; `None`: as many as fit the memory.
    progress_bar : bool, optional
        Whether to show a progress bar.

    Raises
    ------
    TypeError, ValueError
        If a setting has the wrong type or value.
    WeightsError
        If the weights are unknown or damaged.

    References
    ----------
    Arcelin et al. 2021, MNRAS 500, 531, for two autoencoders that share a
    decoder; Golub & Pereyra 1973, SIAM J. Numer. Anal. 10, 413, for fits
    with linear parameters projected out.

    Examples
    --------
    >>> from vaephot import VAEDeblender
    >>> deblend = VAEDeblender(n_pixels=5)  # doctest: +SKIP
    >>> result = deblend(data, segm, error=rms)  # doctest: +SKIP
    >>> result.table  # doctest: +SKIP
    """

    def __init__(self, n_pixels=5, *, contrast=0.001, n_levels=32,
                 mode='exponential', connectivity=8, weights=None,
                 finder=None, refine=True, local_background=None,
                 relabel=True, device=None, batch_size=None,
                 progress_bar=False):
        _check_background(local_background)
        _check_batch_size(batch_size)
        self._search = SearchSettings(
            n_pixels=n_pixels, contrast=contrast, n_levels=n_levels,
            mode=mode, connectivity=connectivity, finder=finder)
        self.n_pixels = n_pixels
        self.contrast = contrast
        self.n_levels = n_levels
        self.mode = mode
        self.connectivity = connectivity
        self.finder = finder
        self.refine = _check_refine(refine)
        self.local_background = local_background
        self.relabel = bool(relabel)
        self.device = str(resolve_device(device))
        self.batch_size = batch_size
        self.progress_bar = bool(progress_bar)
        loaded = load_weights(weights)
        self._record = loaded.record
        self._vae = build_vaes(loaded)['blended'].to(self.device)
        self._classifier = find_classifier(loaded)

    def __repr__(self):
        names = ('n_pixels', 'contrast', 'n_levels', 'mode', 'connectivity',
                 'finder', 'refine', 'local_background', 'relabel', 'device',
                 'batch_size', 'progress_bar')
        settings = [f'{name}={getattr(self, name)!r}' for name in names]
        settings.insert(5, f'weights={self._record.name!r}')
        return f'{type(self).__name__}({", ".join(settings)})'

    def __call__(self, data, segmentation_image=None, *, error=None,
                 gain=None, noise_correlation=None, mask=None, psf=None,
                 bands=None, wcs=None, zeropoint=None, saturation=None,
                 positions=None, labels=None):
        """
        Deblend the sources of an image.

        Parameters
        ----------
        data : array_like or `~astropy.units.Quantity` or \
                `~astropy.nddata.NDData` or dict
            Image ``(ny, nx)`` or ``(n_bands, ny, nx)``,
            background-subtracted, or ``{band: image}``.
        segmentation_image : `~photutils.segmentation.SegmentationImage` \
                or 2D array of int, optional
            Parents; `None`: sources are detected at 1.5 sigma on a
            PSF-smoothed stack of the bands.
        error : array_like or float or sequence of float, optional
            1-sigma noise, of the shape of ``data`` or one number per
            band; `None`: estimated from the background, and flagged.
        gain : float or sequence of float, optional
            Electrons per unit of ``data``. If given, ``error`` is that of
            the background, and the Poisson noise of the model is added;
            `None`: ``error`` is the total.
        noise_correlation : float or sequence or array_like, optional
            Noise of a large sum over that of independent pixels, one or
            one per band, or correlation kernels; `None`: independent, but
            estimated where ``error`` is.
        mask : array_like of bool, optional
            True for bad pixels, ``(ny, nx)`` or per band.
        psf : optional
            One per band: effective PSF as 2D array, `ImagePSF` or other
            photutils or astropy model, FWHM in pixels, or a callable
            ``psf(x, y, band)``; `None`: built from the stars of the
            image, and flagged.
        bands : sequence of str, optional
            Names of the bands; `None`: ``band1``, ``band2``, ...
        wcs : optional
            World coordinate system; adds sky positions. One, or one per
            band: bands may then lie on pixel grids of their own, with
            segmentation and positions in pixels of the first.
        zeropoint : float or sequence of float, optional
            AB magnitude of one unit of ``data``, one or one per band.
        saturation : float or sequence of float, optional
            Level from which on pixels are saturated, one or one per band;
            `None`: that of the header of NDData, and flat tops of stars.
        positions : `~astropy.table.Table` or array_like (n, 2), optional
            The sources' positions; nothing is searched for then. A table
            may have columns ``fixed`` and ``point_source``.
        labels : int or sequence of int, optional
            Parents to deblend; the others are measured as single
            sources. `None`: all.

        Returns
        -------
        `~vaephot.results.result.DeblendResult`

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type, shape, unit or value.
        """
        observation = prepare_observation(
            data, error=error, gain=gain, noise_correlation=noise_correlation,
            mask=mask, psf=psf, bands=bands, wcs=wcs, zeropoint=zeropoint,
            saturation=saturation)
        return self.deblend_observation(observation, segmentation_image,
                                        positions=positions, labels=labels)

    def deblend_observation(self, observation, segmentation_image=None, *,
                            positions=None, labels=None):
        """
        Deblend the sources of images that were prepared before.

        Parameters
        ----------
        observation : `~vaephot.deblend.inputs.observation.Observation`
            What `~vaephot.deblend.inputs.read.prepare_observation` returns.
        segmentation_image, positions, labels : optional
            As for a call.

        Returns
        -------
        `~vaephot.results.result.DeblendResult`
        """
        if self.local_background is None:
            warn_background(observation)
        _warn_of_gaussians(observation)
        first = observation.reference
        positions = pixel_positions(positions, first.wcs)
        segm, names = self._parents(first, segmentation_image)
        labels = (None if labels is None
                  else validate_labels(segm, labels, names))
        engine = self._engine(observation, segm)
        chosen = choose_sources(self._search, first, segm, positions, labels,
                                points=PointSources.of(engine))
        scene, left_out = fit_or_leave_out(
            partial(self._deblend, engine), chosen, FAILURES)
        scene = merge_unlabelled(engine, scene, chosen.labels)
        scene, fallback = add_fallback(engine, scene, left_out, self._search)
        result = assemble_result(
            engine, scene, chosen, self._search, fallback,
            empty=find_empty(engine, scene, chosen, self._search),
            relabel=self.relabel,
            meta={**self._meta(), 'psf': _describe_psfs(observation)})
        return restore_result(rescale(result, 1 / observation.scale), names,
                              self.relabel)

    def segment(self, data, segmentation_image, *, error=None, mask=None,
                psf=None, labels=None):
        """
        Deblend a segmentation, without measuring anything.

        Parameters
        ----------
        data, segmentation_image, error, mask, psf, labels
            As for a call.

        Returns
        -------
        `~photutils.segmentation.SegmentationImage`
            The children, with the maps from and to their parents.
        """
        observation = prepare_observation(data, error=error, mask=mask,
                                          psf=psf)
        warn_background(observation)
        first = observation.reference
        segm, names = self._parents(first, segmentation_image)
        labels = (None if labels is None
                  else validate_labels(segm, labels, names))
        engine = self._engine(observation, segm)
        chosen = choose_sources(self._search, first, segm, None, labels,
                                points=PointSources.of(engine))
        scene, left_out = fit_or_leave_out(
            partial(self._deblend, engine), chosen, FAILURES)
        scene, fallback = add_fallback(engine, scene, left_out, self._search)
        noise = engine.pixels.sky_rms(scene.fit.parameters[:, :2])
        children, _ = assign_labels(segm, scene, noise, self._search,
                                    relabel=self.relabel, labels=labels,
                                    fallback=fallback)
        add_info(children, observation, fallback)
        return restore_labels(
            rescale_info(children, 1 / observation.scale), names,
            self.relabel)

    def _parents(self, observation, segmentation_image):
        """
        Segmentation of the parents, detected if none is given.

        And what its labels stand for, if they were too long; else None.
        """
        shape = observation.data.shape[1:]
        if segmentation_image is None:
            found = detect(observation, self.n_pixels)
            if found is None:
                found = SegmentationImage(np.zeros(shape, np.int32))
            return found, None
        if not isinstance(segmentation_image, SegmentationImage):
            values = np.asarray(segmentation_image)
            if values.dtype.kind not in 'iu':
                msg = (f'segmentation_image has dtype {values.dtype}; give '
                       f'a SegmentationImage or an array of integers.')
                raise TypeError(msg)
            if values.size and values.min() < 0:
                msg = (f'segmentation_image has the negative label '
                       f'{values.min()}; labels are positive, and 0 is the '
                       f'background.')
                raise ValueError(msg)
            short, names = shorten_labels(values)
            segmentation_image = short or SegmentationImage(values)
        else:
            short, names = shorten_labels(segmentation_image.data)
            segmentation_image = short or segmentation_image
        if segmentation_image.shape != shape:
            msg = (f'segmentation_image has shape '
                   f'{segmentation_image.shape} but the data have {shape}; '
                   f'they must be the same.')
            raise ShapeMismatchError(msg, shape=segmentation_image.shape,
                                     expected=shape)
        return segmentation_image, names

    def _engine(self, observation, parents):
        """What fits the sources of an observation."""
        settings = FitSettings(background=self.local_background,
                               refine=self.refine)
        return Engine(observation, parents, self._vae, settings,
                      device=self.device, batch_size=self.batch_size)

    def _deblend(self, engine, chosen):
        """Scene of the sources among candidates."""
        with tqdm(total=len(chosen.sources), unit='source', desc='deblend',
                  disable=not self.progress_bar) as bar:
            return deblend(engine, chosen, self._search, self._classifier,
                           bar.update)

    def _meta(self):
        """What made a result: version, weights, settings, date."""
        names = ('n_pixels', 'contrast', 'n_levels', 'mode', 'connectivity',
                 'refine', 'local_background', 'relabel')
        return {'version': __version__, 'weights': self._record.name,
                'weights_sha256': self._record.sha256, 'device': self.device,
                **{name: getattr(self, name) for name in names},
                'date': datetime.now(UTC).isoformat(timespec='seconds')}


def find_classifier(weights):
    """Classifier of weights, that of the default ones if they have none."""
    found = build_classifier(weights) or build_classifier(load_weights(None))
    if len(found.mean) != len(FEATURES):
        msg = (f'the classifier of {weights.record.name!r} knows '
               f'{len(found.mean)} features, but {len(FEATURES)} are '
               f'measured; train it anew (vaephot train-classifier).')
        raise WeightsError(msg, name=weights.record.name)
    return found


def _psfs(observation):
    """PSFs of all bands, in the order of the bands."""
    found = {psf.band: psf for layer, *_ in observation.grids
             for psf in layer.psfs}
    return [found[band] for band in observation.bands]


def _describe_psfs(observation):
    """What was done to the PSFs, in one text."""
    return '; '.join(f'{psf.band}: {psf.describe()}'
                     for psf in _psfs(observation))


def _warn_of_gaussians(observation):
    """Say which bands have too few stars to build a PSF from."""
    poor = [psf for psf in _psfs(observation)
            if psf.stars is not None and len(psf.stars.x) == 0]
    if poor:
        listed = ', '.join(f'{psf.band} ({psf.fwhm:.3g} px)' for psf in poor)
        warnings.warn(
            f'too few stars to build a PSF from in the bands: {listed}. '
            'Gaussians of these FWHM are used, as the narrowest sources '
            'have them; give psf for fluxes that are better than that.',
            DeblendWarning, stacklevel=3)


def _check_background(kind):
    """Raise unless a local background is one that we know."""
    if kind not in BACKGROUNDS:
        msg = (f'local_background is {kind!r}; it must be one of '
               f'{", ".join(map(repr, BACKGROUNDS))}.')
        raise ValueError(msg)


def _check_refine(refine):
    """`refine` as True, False or 'network'; anything else is an error."""
    if isinstance(refine, str) and refine != 'network':
        msg = (f'refine is {refine!r}; it must be True (fit to convergence), '
               "False (quick fit) or 'network' (nothing is fitted).")
        raise ValueError(msg)
    return refine if refine == 'network' else bool(refine)


def _check_batch_size(batch_size):
    """Raise unless a batch size is None or a positive integer."""
    if batch_size is None:
        return
    if isinstance(batch_size, bool) or not isinstance(
            batch_size, (int, np.integer)):
        msg = (f'batch_size is of type {type(batch_size).__name__}; give '
               f'an integer or None.')
        raise TypeError(msg)
    if batch_size < 1:
        msg = f'batch_size is {batch_size}; it must be >= 1 or None.'
        raise ValueError(msg)
