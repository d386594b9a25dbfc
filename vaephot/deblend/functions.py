# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The drop-in for `photutils.segmentation.deblend_sources`."""

import warnings

import numpy as np
from astropy.utils.decorators import deprecated_renamed_argument
from photutils.segmentation import SegmentationImage

from vaephot.deblend.settings import validate_settings
from vaephot.exceptions import DeblendWarning
from vaephot.utils.labels import count_pieces, validate_labels

try:  # the wrapper of photutils also says when the old names will go
    from photutils.utils._deprecation import (
        deprecated_renamed_argument as _photutils_renamed,
    )
except ImportError:
    _photutils_renamed = None

__all__ = ['deblend_sources']


def _renamed(old, new):
    """Accept a keyword of photutils before 3.0, with its warning."""
    if _photutils_renamed is None:
        return deprecated_renamed_argument(old, new, '3.0')
    return _photutils_renamed(old, new, '3.0', until='4.0')


@_renamed('segment_img', 'segmentation_image')
@_renamed('npixels', 'n_pixels')
@_renamed('nlevels', 'n_levels')
@_renamed('nproc', 'n_processes')
def deblend_sources(data, segmentation_image, n_pixels, *, labels=None,
                    n_levels=32, contrast=0.001, mode='exponential',
                    connectivity=8, relabel=True, n_processes=1,
                    progress_bar=True, contrast_method=None, n_threads=1,
                    error=None, mask=None, psf=None, weights=None,
                    refine=False, device=None):
    """
    Deblend the sources of a segmentation image.

    Takes the place of `photutils.segmentation.deblend_sources`: same
    arguments, same kind of result. Peaks come from a multi-threshold
    search; a variational autoencoder fits a model to each, and each pixel
    goes to the source with the most light in it. No pixel is lost or
    gained, and each child is connected, inside its parent and has at least
    ``n_pixels`` pixels.

    Parameters
    ----------
    data : 2D array_like or `~astropy.units.Quantity`
        Background-subtracted image, best as it is: the model accounts for
        the PSF. One that was convolved with a detection kernel is told by
        its noise, unless ``error`` is given.
    segmentation_image : `~photutils.segmentation.SegmentationImage`
        The parents; never changed.
    n_pixels : int
        Least number of pixels of a child, at least 1. Parents with fewer
        than twice as many are not split.
    labels : int or sequence of int or None, optional
        The parents to deblend; `None` (default): all. The sources of the
        others are found as well, as their light counts, so that the time is
        that of all.
    n_levels : int, optional
        Number of thresholds of the search for peaks.
    contrast : float, optional
        Least share of its parent's flux that the model of a child must
        hold, from 0 to 1. 0 keeps every significant child, 1 never splits.
        The default of 0.001 is that of photutils: 7.5 magnitudes.
    mode : {'exponential', 'linear', 'sinh'}, optional
        Spacing of the thresholds between the smallest and the largest
        value of a parent. ``'exponential'`` becomes ``'linear'`` where the
        smallest value is not positive.
    connectivity : {8, 4}, optional
        Which pixels are neighbours; must be that of the detection.
    relabel : bool, optional
        Whether the result is labelled 1, 2, 3, ...; if `False`, children
        get new labels above the largest.
    n_processes : int or None, optional
        Without effect: all parents are computed together, on the threads
        that torch is set to.
    progress_bar : bool, optional
        Whether to show a progress bar.
    contrast_method : str or None, optional
        Without effect; accepted because photutils 3.1 has it. The contrast
        here is that of the models' fluxes.
    n_threads : int or None, optional
        Without effect, as ``n_processes``.
    error : array_like or float or None, optional
        1-sigma error, of the shape of ``data`` or a number; `None`
        (default): estimated from the background.
    mask : 2D array_like of bool or None, optional
        True for bad pixels. They stay in their segments.
    psf : object or None, optional
        Effective PSF: a 2D array, a photutils or astropy model, the FWHM
        in pixels, or a callable; see
        `~vaephot.deblend.inputs.psf.make_band_psfs`. `None` (default):
        estimated from point-like sources.
    weights : str or path-like or None, optional
        Name of registered weights or path of a weights file; `None`
        (default): the default set.
    refine : bool, optional
        `False` (default): a quick fit, a few steps; `True`: a fit to
        convergence, slower and more exact.
    device : str or `torch.device` or None, optional
        `None` (default): CUDA, then MPS, then the CPU.

    Returns
    -------
    `~photutils.segmentation.SegmentationImage`
        A new image; ``parent_to_deblended_labels`` and
        ``deblended_label_to_parent`` link parents and children. Its ``info``
        is a dictionary: see `~vaephot.deblend.outputs.info.add_info`.

    Warns
    -----
    DeblendWarning
        If parents could not be modelled and were left to the watershed of
        photutils, or are in several pieces and stay whole.

    Raises
    ------
    TypeError
        If ``segmentation_image`` is not a `SegmentationImage`.
    ValueError
        If an argument is out of range, shapes differ, a label does not
        exist, or none of the parents is connected for a connectivity of 4
        although all are for 8.

    See Also
    --------
    photutils.segmentation.deblend_sources
    vaephot.VAEDeblender : fluxes and images of the sources as well.

    Examples
    --------
    >>> import numpy as np
    >>> from photutils.segmentation import SegmentationImage
    >>> from vaephot import deblend_sources
    >>> segm = SegmentationImage(np.ones((3, 3), int))
    >>> deblend_sources(np.ones((3, 3)), segm, n_pixels=5).n_labels
    1
    """
    _check_ignored(n_processes, n_threads, contrast_method)
    _check_segmentation(data, segmentation_image)
    validate_settings(n_pixels, contrast, n_levels, mode, connectivity)
    from vaephot.deblend.outputs.long_labels import (
        restore_labels,
        shorten_labels,
    )

    short, names = shorten_labels(segmentation_image.data)
    segmentation_image = short or segmentation_image
    labels = validate_labels(segmentation_image, labels, names)
    labels = _without_pieces(segmentation_image, labels, n_pixels,
                             connectivity) if contrast < 1 else labels[:0]
    if not _large(segmentation_image, labels, n_pixels).any():
        return restore_labels(_copy(segmentation_image, relabel), names,
                              relabel)

    from vaephot.deblend.deblender import VAEDeblender

    deblender = VAEDeblender(
        n_pixels, contrast=contrast, n_levels=n_levels, mode=mode,
        connectivity=connectivity, weights=weights, refine=refine,
        relabel=relabel, device=device, progress_bar=progress_bar)
    return restore_labels(
        deblender.segment(data, segmentation_image, error=error, mask=mask,
                          psf=psf, labels=labels), names, relabel)


def _large(segm, labels, n_pixels):
    """Which segments (n,) have the pixels of two children."""
    return segm.areas[segm.get_indices(labels)] >= 2 * n_pixels


def _without_pieces(segm, labels, n_pixels, connectivity):
    """Labels (n,) without those in several pieces, which stay whole."""
    large = labels[_large(segm, labels, n_pixels)]
    n_pieces = count_pieces(segm, large, connectivity)
    broken = large[n_pieces > 1]
    if not len(broken):
        return labels
    such = (f'source {broken[0]}, which is in {n_pieces[n_pieces > 1][0]} '
            f'pieces for connectivity={connectivity}. Please ensure you used '
            'the same pixel connectivity in detect_sources and '
            'deblend_sources.')
    whole = count_pieces(segm, large, 8) == 1
    if len(broken) == len(large) and whole.all():
        msg = f'Deblending failed for {such}'
        raise ValueError(msg)
    warnings.warn(f'{len(broken)} of {len(large)} parents were not deblended '
                  f'because they are not connected, such as {such}',
                  DeblendWarning, stacklevel=7)
    return labels[~np.isin(labels, broken)]


def _check_segmentation(data, segmentation_image):
    """Refuse a segmentation that is none or has another shape."""
    if not isinstance(segmentation_image, SegmentationImage):
        msg = ('segmentation_image must be a SegmentationImage, got '
               f'{type(segmentation_image).__name__}')
        raise TypeError(msg)
    values = getattr(data, 'data', data)  # NDData has no shape of its own
    shape = np.shape(data if isinstance(values, memoryview) else values)
    if segmentation_image.shape != shape:
        msg = ('segmentation_image must have the same shape as data, got '
               f'{segmentation_image.shape} and {shape}')
        raise ValueError(msg)


def _check_ignored(n_processes, n_threads, contrast_method):
    """Refuse what photutils would refuse too, though it has no effect."""
    for name, value in (('n_processes', n_processes),
                        ('n_threads', n_threads)):
        if value is None:
            continue
        if not isinstance(value, (int, np.integer)) or value < 1:
            msg = f'{name} must be a positive integer or None, got {value!r}'
            raise ValueError(msg)
    if not isinstance(contrast_method, (str, type(None))):
        msg = ('contrast_method must be a string or None, got '
               f'{type(contrast_method).__name__}')
        raise TypeError(msg)


def _copy(segmentation_image, relabel):
    """New image of the same segments, without a history of deblending."""
    copy = SegmentationImage(segmentation_image.data.copy())
    if relabel and copy.n_labels:
        copy.relabel_consecutive()
    copy.info = {}
    return copy
