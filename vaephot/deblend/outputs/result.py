# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""From fitted sources to labels, shares of the data, table and result."""

import warnings
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from vaephot import __version__
from vaephot.deblend.native import (
    blendedness_of,
    goodness_of,
    layer_views,
    misfits_of,
    model_variance_of,
    share_of,
    total_misfit,
    unseen_in,
)
from vaephot.deblend.outputs.assign import build_segmentation
from vaephot.deblend.outputs.errors import with_model_errors
from vaephot.deblend.outputs.info import add_info
from vaephot.deblend.outputs.measure import centroids_of, describe, shapes_of
from vaephot.deblend.outputs.outliers import oddity_terms
from vaephot.deblend.outputs.owners import find_owners, members_of_parents
from vaephot.deblend.outputs.share import (
    pad_to_bbox,
    required_bboxes,
    share_data,
)
from vaephot.deblend.select.no_source import find_empty
from vaephot.exceptions import DeblendWarning
from vaephot.models.config import PARAMETER_NAMES
from vaephot.photometry.catalog import Measurements, make_table
from vaephot.results.covariance import build_groups
from vaephot.results.flags import encode_flags
from vaephot.results.result import DeblendResult
from vaephot.results.source import DeblendedSource
from vaephot.utils.labels import sum_by_label, values_of_labels

__all__ = ['assemble_result', 'assign_labels']

# flags that ask for a warning, one per call
SERIOUS = ('no_data', 'not_converged')
# labels that a warning names at most
MAX_NAMED = 10


def assign_labels(deblender, segm, solution, sky_rms, *, labels=None,
                  fallback=None):
    """
    Give pixels and labels to the fitted sources.

    Parameters
    ----------
    deblender : `~vaephot.deblend.deblender.VAEDeblender`
        Settings of the children.
    segm : `~photutils.segmentation.SegmentationImage`
        Parents.
    solution : `~vaephot.deblend.pipeline.Solution`
        Fitted sources.
    sky_rms : `numpy.ndarray`, (n, n_bands)
        Noise of a pixel of the sky at each.
    labels : `numpy.ndarray` of int or None, optional
        Parents that are divided among their sources; `None`: all.
    fallback : `~vaephot.deblend.outputs.fallback.Fallback` or None, optional
        Parents whose pixels have owners already; `None`: none.

    Returns
    -------
    segmentation_image : `~photutils.segmentation.SegmentationImage`
        Children, with the maps from and to their parents.
    labels : `numpy.ndarray` of int, (n,)
        Label of each source. Sources without pixels have labels above
        those of the segmentation.
    """
    parent = solution.sources.parent
    owners = solution.owners or find_owners(deblender, segm, solution,
                                            sky_rms)
    if labels is not None:
        owners = {label: owners[label] for label in owners
                  if label in labels}
    if fallback is not None:
        owners = {**owners, **fallback.owners}
    made = build_segmentation(segm, owners, relabel=deblender.relabel)
    names = np.zeros(len(parent), int)
    for label, members in members_of_parents(parent).items():
        names[members] = made.child_labels[label]
    loose = np.flatnonzero(names == 0)
    names[loose] = made.next_label + np.arange(len(loose))
    return made.segmentation_image, names


def _areas(segm, labels):
    """Pixels that each label owns."""
    return values_of_labels(segm, np.asarray(segm.areas, int), labels)


def _pack_flags(conditions, n):
    """One integer per source from boolean arrays by name."""
    flags = np.zeros(n, int)
    for name, rows in conditions.items():
        flags[rows] |= encode_flags(name)
    return flags


def _warn(conditions, labels):
    """One warning per serious condition, naming the labels."""
    for name in SERIOUS:
        bad = labels[conditions[name]]
        if len(bad):
            named = ', '.join(map(str, bad[:MAX_NAMED]))
            more = '' if len(bad) <= MAX_NAMED else ', ...'
            warnings.warn(
                f'{len(bad)} of {len(labels)} sources are flagged '
                f'{name!r} (labels {named}{more}).', DeblendWarning,
                stacklevel=4)


def _measurements(views, solution, fitter, quality, labels, areas,
                  conditions, xy):
    """Numbers of the table, in the order of the sources."""
    fit, parent = solution.fit, solution.sources.parent
    n_bands = fit.flux.shape[1]
    errors = np.sqrt(np.maximum(np.diagonal(
        fit.covariance, axis1=1, axis2=2), 0))
    # what is no source has no place and no shape
    errors[conditions['no_source'], n_bands:] = np.nan
    shapes = shapes_of(np.where(conditions['no_source'][:, None], np.nan,
                                fit.parameters), fitter.decoder)
    return Measurements(
        label=labels, parent_label=parent, x=xy[:, 0], y=xy[:, 1],
        x_err=errors[:, n_bands],
        y_err=errors[:, n_bands + 1],
        n_blended=np.where(parent > 0, sum_by_label(parent), 1).astype(int),
        area=areas,
        half_light_radius=shapes.half_light_radius,
        axis_ratio=shapes.axis_ratio, orientation=shapes.orientation,
        flux=fit.flux, flux_err=fit.flux_err,
        blendedness=blendedness_of(views),
        reduced_chi2=quality.reduced_chi2,
        p_source=solution.p_source,
        flags=_pack_flags(conditions, len(labels)))


def _parameters(row):
    """Fitted parameters of a source by name."""
    named = dict(zip(PARAMETER_NAMES, row[:5].tolist(), strict=True))
    length = float(np.hypot(row[3], row[4]))
    shear = np.tanh(length / 2) / length if length > 0 else 0.5
    return {**named, 'size': float(np.exp(row[2])),
            'g1': float(shear * row[3]), 'g2': float(shear * row[4]),
            'latent': row[5:].copy()}


def _shares(view):
    """Boxes, models and shares of the data on one pixel grid."""
    solution, observation = view.solution, view.observation
    parent = solution.sources.parent
    xy = solution.fit.parameters[:, :2]
    boxes = required_bboxes(solution.boxes, view.segm.data, parent, xy)
    models = [pad_to_bbox(model, old, new) for model, old, new
              in zip(solution.models, solution.boxes, boxes, strict=True)]
    images = share_data(observation.data, observation.mask,
                        list(zip(boxes, models, strict=True)),
                        view.segm.data, parent, centroids=xy)
    return boxes, models, images


def _images(views, observation):
    """Boxes, model and share of the data of each source, by keyword."""
    shares = [_shares(view) for view in views]
    if len(views) == 1:
        def shaped(array):
            return array[0] if observation.is_2d else array
        return [{'bbox': box, 'model': shaped(model), 'image': shaped(image)}
                for box, model, image in zip(*shares[0], strict=True)]
    out = []
    for columns in zip(*[zip(*share, strict=True) for share in shares],
                       strict=True):
        boxes, models, images = zip(*columns, strict=True)
        out.append({
            'bbox': boxes[0], 'model': observation.by_band(models),
            'image': observation.by_band(images),
            'bboxes': observation.by_band([
                [box] * len(model) for box, model
                in zip(boxes, models, strict=True)])})
    return out


def _sources(observation, views, solution, labels, oddities, xy):
    """Deblended sources with their models and shares of the data."""
    parent = solution.sources.parent
    fit, n_bands = solution.fit, solution.fit.flux.shape[1]

    def shaped(array):
        return array[0] if observation.is_2d else array
    return [DeblendedSource(
        label=int(labels[k]), parent_label=int(parent[k]), **images,
        x_centroid=float(xy[k, 0]), y_centroid=float(xy[k, 1]),
        flux=shaped(fit.flux[k]), flux_err=shaped(fit.flux_err[k]),
        parameters=_parameters(fit.parameters[k]),
        covariance=fit.covariance[k][n_bands:, n_bands:],
        oddities={name: float(term[k]) for name, term in oddities.items()})
        for k, images in enumerate(_images(views, observation))]


def _record_of_call(deblender, record):
    """What made the result: version, weights, settings, date."""
    names = ('n_pixels', 'contrast', 'n_levels', 'mode', 'connectivity',
             'refine', 'local_background', 'relabel')
    return {'version': __version__, 'weights': record.name,
            'weights_sha256': record.sha256, 'device': deblender.device,
            **{name: getattr(deblender, name) for name in names},
            'date': datetime.now(UTC).isoformat(timespec='seconds')}


def _with_share(solution, share, variance):
    """Add to fluxes and errors what the models leave over."""
    fit = with_model_errors(solution.fit, variance)
    n_bands = fit.flux.shape[1]
    covariance = fit.covariance.copy()
    band = np.arange(n_bands)
    covariance[:, band, band] += share.variance
    return replace(solution, fit=replace(
        fit, flux=fit.flux + share.flux, covariance=covariance,
        flux_err=np.sqrt(fit.flux_err ** 2 + share.variance)))


def _conditions(views, chosen, fitter, solution, quality, areas,
                fallback, oddities):
    """Blank fluxes that nothing was seen of, and collect the flags."""
    fit, parent = solution.fit, solution.sources.parent
    radius = np.exp(fit.parameters[:, 2]) + fitter.fwhm.min()
    dark = unseen_in(views, radius)
    for values in (fit.flux, fit.flux_err):
        values[dark] = np.nan
    conditions = describe(solution, views[0].observation, radius, quality)
    conditions['out_of_domain'] = sum(oddities.values()) > 1
    conditions['no_pixels'] = (areas == 0) & (parent > 0)
    conditions['forced'] = parent == 0
    conditions['fallback'] = np.isin(parent, fallback.labels)
    conditions['not_deblended'] = (
        np.zeros(len(parent), bool) if chosen.labels is None
        else ~np.isin(parent, chosen.labels))
    return conditions


def _frames(views, observation):
    """Images of the whole frame, by keyword."""
    stacks = {
        'data': [view.observation.data for view in views],
        'model_image': [view.solution.model_image for view in views],
        'mask': [view.observation.mask for view in views],
        'error': [np.sqrt(view.observation.variance) for view in views],
        'wcs': [[view.observation.wcs] * len(view.rows) for view in views]}
    if len(views) == 1:
        return {name: stack[0][0] if name == 'wcs' else stack[0]
                for name, stack in stacks.items()}
    return {name: observation.by_band(stack)
            for name, stack in stacks.items()}


def assemble_result(deblender, observation, segm, chosen, fitter, solution,
                    fallback, *, record):
    """
    Put the result of a call together.

    Parameters
    ----------
    deblender : `~vaephot.deblend.deblender.VAEDeblender`
        Settings.
    observation : `~vaephot.deblend.inputs.read.Observation`
        Images.
    segm : `~photutils.segmentation.SegmentationImage`
        Parents.
    chosen : `~vaephot.deblend.detect.candidates.Chosen`
        Sources that were asked for.
    fitter : `~vaephot.deblend.scene.SceneFitter`
        What fitted them.
    solution : `~vaephot.deblend.pipeline.Solution`
        What came out.
    fallback : `~vaephot.deblend.outputs.fallback.Fallback`
        Parents that could not be modelled.
    record : `~vaephot.weights.records.WeightsRecord`
        The weights.

    Returns
    -------
    `~vaephot.results.result.DeblendResult`
    """
    sky_rms = fitter.sky_rms(solution.fit.parameters[:, :2])
    sky_rms = sky_rms[:, fitter.image_bands]
    views = layer_views(fitter, solution, segm)
    children, labels = assign_labels(deblender, segm, solution, sky_rms,
                                     fallback=fallback)
    empty = find_empty(fitter, segm, solution, chosen, deblender)
    add_info(children, observation, fallback, solution.sources.parent[empty])
    areas = _areas(children, labels)
    quality = goodness_of(views)
    xy = centroids_of(solution.fit.parameters, fitter.decoder)
    left = misfits_of(views)
    oddities = oddity_terms(solution, total_misfit(left), fitter.fwhm.min(),
                            xy)
    if fitter.settings.max_steps and fitter.settings.background is None:
        solution = _with_share(solution, share_of(views),
                               model_variance_of(views, left))
    conditions = _conditions(views, chosen, fitter, solution, quality, areas,
                             fallback, oddities)
    conditions['no_source'] = empty
    xy[empty] = np.nan
    sources = _sources(observation, views, solution, labels, oddities, xy)
    measured = _measurements(views, solution, fitter, quality, labels, areas,
                             conditions, xy)
    _warn(conditions, labels)
    order = np.arange(len(labels)) if chosen.given else np.argsort(labels)
    table = make_table(
        measured, bands=observation.bands, unit=observation.unit,
        zeropoint=observation.zeropoint, wcs=observation.reference.wcs,
        is_2d=observation.is_2d, meta=_record_of_call(deblender, record))
    return DeblendResult(
        table=table[order], segmentation_image=children,
        sources=[sources[i] for i in order], **_frames(views, observation),
        bands=observation.bands, unit=observation.unit,
        is_2d=observation.is_2d, groups=build_groups(solution.fit, labels))
