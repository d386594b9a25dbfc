# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""From fitted sources to labels, shares of the data, table and result."""

import warnings
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from vaephot.deblend.fit.goodness import (
    SourceSums,
    make_residual,
    reduced_chi2,
    sum_sources,
)
from vaephot.deblend.outputs.assign import find_owners
from vaephot.deblend.outputs.background import fit_backgrounds
from vaephot.deblend.outputs.children import label_sources
from vaephot.deblend.outputs.conditions import (
    any_around,
    at_edge,
    fits_poorly,
    pack_flags,
    unseen,
)
from vaephot.deblend.outputs.errors import (
    model_variance,
    residual_flux,
    spread_over_bands,
    widen_errors,
)
from vaephot.deblend.outputs.info import add_info
from vaephot.deblend.outputs.outliers import oddity_terms
from vaephot.deblend.outputs.share import (
    pad_to_bbox,
    required_bboxes,
    share_data,
)
from vaephot.deblend.outputs.views import (
    columns_of_bands,
    make_views,
    without_background,
)
from vaephot.exceptions import DeblendWarning
from vaephot.models.config import PARAMETER_NAMES
from vaephot.photometry.catalog import Measurements, make_table
from vaephot.results.covariance import build_groups
from vaephot.results.result import DeblendResult
from vaephot.results.source import DeblendedSource
from vaephot.utils.labels import sum_by_label, values_of_labels

__all__ = ['assemble_result', 'assign_labels', 'shapes_of']

# flags that ask for a warning, one per call
SERIOUS = ('no_data', 'not_converged')
# labels that a warning names at most
MAX_NAMED = 10


class Shapes(NamedTuple):
    """
    Intrinsic shapes of sources.

    ``xy`` (n, 2): centres of the light, in pixels of the image; lopsided
    galaxies are not where their concentric part is. All others (n,):
    ``half_light_radius`` in pixels, ``axis_ratio`` of the flux-weighted
    isophotes, ``orientation`` in radians from the x towards the y axis.
    """

    xy: np.ndarray
    half_light_radius: np.ndarray
    axis_ratio: np.ndarray
    orientation: np.ndarray


class Misfit(NamedTuple):
    """
    What the models leave over, in all bands.

    ``sums`` as `~vaephot.deblend.fit.goodness.SourceSums`,
    ``model_variance`` (n, n_bands) by errors of models in units of that by
    noise.
    """

    sums: SourceSums
    model_variance: np.ndarray


def _numbers(tensor):
    """Values of a tensor as float64."""
    return tensor.detach().cpu().double().numpy()


def shapes_of(parameters, decoder):
    """`Shapes` of sources with parameters (n, n_parameters)."""
    values = decoder.sigma.new_tensor(parameters)
    weight, _, factor = decoder.profile(
        values[:, 5:decoder.config.n_concentric])
    mean = _numbers((weight * factor).sum(-1))
    eta1, eta2 = parameters[:, 3], parameters[:, 4]
    return Shapes(_numbers(decoder.centroids(values)),
                  np.exp(parameters[:, 2]),
                  np.exp(-mean * np.hypot(eta1, eta2)),
                  0.5 * np.arctan2(eta2, eta1))


def assign_labels(segm, scene, sky_rms, search, *, relabel, labels=None,
                  fallback=None):
    """
    Give pixels and labels to the fitted sources.

    ``sky_rms`` (n, n_bands) of the models; ``labels``, parents that are
    divided among their sources, `None` for all; ``fallback``, parents whose
    pixels have owners already. Returns the segmentation of the children and
    the label of each source, (n,).
    """
    parent = scene.sources.parent
    owners = find_owners(
        segm, parent, scene.boxes, scene.models, sky_rms, search.n_pixels,
        connectivity=search.connectivity)
    if labels is not None:
        owners = {label: owners[label] for label in owners
                  if label in labels}
    if fallback is not None:
        owners = {**owners, **fallback.owners}
    return label_sources(segm, parent, owners, relabel=relabel)


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


# ------------------------------------------------------------------ numbers
def _measure_misfit(views):
    """What the models leave over, in all bands."""
    sums, extra = [], []
    for view in views:
        residual = make_residual(view.data, view.model_image, view.variance,
                                 view.mask, view.gain, view.fwhm)
        sums.append(sum_sources(view.boxes, view.models, residual))
        extra.append(model_variance(view.boxes, view.models, residual,
                                    sums[-1], view.fwhm))
    return Misfit(
        SourceSums(*(columns_of_bands(views, parts)
                     for parts in zip(*sums, strict=True))),
        spread_over_bands(columns_of_bands(views, extra)))


def _with_residual(fit, misfit):
    """Fit with what the models leave over in its fluxes and errors."""
    flux_err, covariance = widen_errors(fit.flux_err, fit.covariance,
                                        misfit.model_variance)
    flux, variance = residual_flux(misfit.sums)
    band = np.arange(flux.shape[1])
    covariance[:, band, band] += variance
    return replace(fit, flux=fit.flux + flux, covariance=covariance,
                   flux_err=np.sqrt(flux_err ** 2 + variance))


def _without_unseen(fit, views, radius):
    """Fit with fluxes that are NaN where no pixel was seen."""
    dark = columns_of_bands(views, [
        unseen(view.mask, view.segm, view.parent, view.xy,
               radius * view.scale) for view in views])
    return replace(fit, flux=np.where(dark, np.nan, fit.flux),
                   flux_err=np.where(dark, np.nan, fit.flux_err))


def _oddities(solution, xy, sums, fwhm):
    """Terms of the oddity by name."""
    parameters = solution.fit.parameters.copy()
    parameters[:, :2] = xy
    return oddity_terms(
        parameters, solution.fit.prior_distance, solution.is_point,
        (solution.fit.prior_mean, solution.fit.prior_precision),
        (sums.excess.sum(1), sums.excess_variance.sum(1),
         sums.power.sum(1)), fwhm)


def _saturated(fit, view, observation):
    """Sources with a masked centre, or a saturated pixel close to it, (n,)."""
    near = np.zeros(len(view.xy))
    # where nothing at all is seen, the centre says nothing
    out = np.any([any_around(mask, view.xy, near) & np.isfinite(flux)
                  for mask, flux in zip(view.mask, fit.flux.T[view.rows],
                                        strict=True)], 0)
    if observation.saturated is not None:
        out |= any_around(observation.saturated.any(0), view.xy,
                          near + view.fwhm.min() / 2)
    return out


def _conditions_of_fit(fit, solution, view, radius, observation):
    """Boolean arrays (n,) by flag: place, inputs and course of the fit."""
    bad, everywhere = view.mask.any(0), np.ones(len(radius), bool)
    parent = solution.sources.parent
    return {
        'edge': at_edge(view.xy, radius, bad.shape),
        'masked_pixels': any_around(bad, view.xy, radius),
        'saturated': _saturated(fit, view, observation),
        'psf_estimated': everywhere & observation.psf_estimated,
        'error_estimated': everywhere & observation.error_estimated,
        'not_converged': ~fit.converged,
        'larger_than_stamp': solution.truncated,
        'no_data': ~np.isfinite(fit.flux).any(1),
        'rejected_neighbour': np.isin(parent, solution.rejected),
        'forced': parent == 0}


def _conditions_of_output(parent, areas, chosen, fallback, oddities, empty):
    """Boolean arrays (n,) by flag: what became of the sources."""
    return {
        'out_of_domain': sum(oddities.values()) > 1,
        'fallback': np.isin(parent, fallback.labels),
        'no_pixels': (areas == 0) & (parent > 0),
        'not_deblended': (
            np.zeros(len(parent), bool) if chosen.labels is None
            else ~np.isin(parent, chosen.labels)),
        'no_source': empty}


def _measurements(fit, solution, shapes, sums, empty, **columns):
    """Numbers of the table, in the order of the sources."""
    parent, n_bands = solution.sources.parent, fit.flux.shape[1]
    errors = np.sqrt(np.maximum(np.diagonal(
        fit.covariance, axis1=1, axis2=2), 0))

    def known(values):
        """What is no source has no shape, and its place no error."""
        return np.where(empty, np.nan, values)

    found = np.stack([solution.sources.x, solution.sources.y], 1)
    place = np.where(empty[:, None], found, shapes.xy)
    return Measurements(
        parent_label=parent, x=place[:, 0], y=place[:, 1],
        x_err=known(errors[:, n_bands]),
        y_err=known(errors[:, n_bands + 1]),
        n_blended=np.where(parent > 0, sum_by_label(parent), 1).astype(int),
        half_light_radius=known(shapes.half_light_radius),
        axis_ratio=known(shapes.axis_ratio),
        orientation=known(shapes.orientation),
        flux=fit.flux, flux_err=fit.flux_err, blendedness=sums.blendedness,
        reduced_chi2=reduced_chi2(sums)[0], p_source=solution.p_source,
        p_point=solution.p_point, **columns)


# ------------------------------------------------------------------- images
def _shares(view):
    """Boxes, models and shares of the data on one pixel grid."""
    boxes = required_bboxes(view.boxes, view.segm.data, view.parent, view.xy)
    models = [pad_to_bbox(model, old, new) for model, old, new
              in zip(view.models, view.boxes, boxes, strict=True)]
    images = share_data(view.data, view.mask,
                        list(zip(boxes, models, strict=True)),
                        view.segm.data, view.parent, centroids=view.xy)
    return boxes, models, images


def _images(views, observation):
    """Boxes, model and share of the data of each source, by keyword."""
    shares = [_shares(view) for view in views]
    if len(views) == 1:
        band = 0 if observation.is_2d else slice(None)
        return [{'bbox': box, 'model': model[band], 'image': image[band]}
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


def _frames(views, observation):
    """Images of the whole frame, by keyword."""
    stacks = {
        'data': [layer.data for layer, _, _ in observation.grids],
        'model_image': [view.model_image for view in views],
        'mask': [view.mask for view in views],
        'error': [np.sqrt(view.variance) for view in views],
        'wcs': [[view.wcs] * len(view.rows) for view in views]}
    if views[0].background is not None:
        stacks['background_image'] = [view.background for view in views]
    if len(views) == 1:
        return {name: stack[0][0] if name == 'wcs' else stack[0]
                for name, stack in stacks.items()}
    return {name: observation.by_band(stack)
            for name, stack in stacks.items()}


# ------------------------------------------------------------------- result
def _parameters(row):
    """Fitted parameters of a source by name."""
    named = dict(zip(PARAMETER_NAMES, row[:5].tolist(), strict=True))
    length = float(np.hypot(row[3], row[4]))
    shear = np.tanh(length / 2) / length if length > 0 else 0.5
    return {**named, 'size': float(np.exp(row[2])),
            'g1': float(shear * row[3]), 'g2': float(shear * row[4]),
            'latent': row[5:].copy()}


def _sources(fit, measured, images, oddities, is_2d):
    """Deblended sources with their models and shares of the data."""
    band, n_bands = 0 if is_2d else slice(None), fit.flux.shape[1]
    return [DeblendedSource(
        label=int(measured.label[k]),
        parent_label=int(measured.parent_label[k]), **images[k],
        x_centroid=float(measured.x[k]), y_centroid=float(measured.y[k]),
        flux=fit.flux[k, band], flux_err=fit.flux_err[k, band],
        parameters=_parameters(fit.parameters[k]),
        covariance=fit.covariance[k][n_bands:, n_bands:],
        oddities={name: float(term[k]) for name, term in oddities.items()})
        for k in range(len(images))]


def _inputs_used(observation):
    """PSFs in the middle of the images, and the measured noise."""
    psfs = [None] * len(observation.bands)
    for layer, rows, _ in observation.grids:
        ny, nx = layer.data.shape[1:]
        for psf, row in zip(layer.psfs, rows, strict=True):
            psfs[row] = psf.sample((nx - 1) / 2, (ny - 1) / 2)
    noise = observation.noise
    return {'psf': psfs, 'noise': None if noise is None else vars(noise)}


def _put_together(observation, views, children, measured, sources, groups,
                  order, meta):
    """Result with rows and sources in some order."""
    table = make_table(
        measured, bands=observation.bands, unit=observation.unit,
        zeropoint=observation.zeropoint, wcs=observation.reference.wcs,
        is_2d=observation.is_2d, meta=meta)
    return DeblendResult(
        table=table[order], segmentation_image=children,
        sources=[sources[i] for i in order], **_frames(views, observation),
        bands=observation.bands, unit=observation.unit,
        is_2d=observation.is_2d, groups=groups,
        **_inputs_used(observation))


def assemble_result(engine, scene, chosen, search, fallback, *, empty,
                    relabel, meta):
    """
    Put the `~vaephot.results.result.DeblendResult` of a call together.

    ``chosen`` are the sources that were asked for, ``engine`` fitted them,
    ``scene`` came out; ``fallback`` are parents that could not be modelled,
    ``empty`` (n,) tells what is alone in its segment and no source,
    ``meta`` is what the table says of the call.
    """
    fit, parent = scene.fit, scene.sources.parent
    observation, segm = engine.observation, engine.parents
    sky_rms = engine.sky_rms(fit.parameters[:, :2])[:, engine.image_bands]
    fwhm = engine.fwhm.min()
    radius = np.exp(fit.parameters[:, 2]) + fwhm
    views = make_views(observation, scene, segm)
    views = [without_background(*pair) for pair in zip(
        views, fit_backgrounds(engine, scene, views), strict=True)]
    children, labels = assign_labels(segm, scene, sky_rms, search,
                                     relabel=relabel, fallback=fallback)
    add_info(children, observation, fallback, parent[empty])
    areas = values_of_labels(children, np.asarray(children.areas, int),
                             labels)
    shapes = shapes_of(fit.parameters, engine.vae.decoder)
    misfit = _measure_misfit(views)
    if engine.settings.refine != 'network':
        fit = _with_residual(fit, misfit)
    fit = _without_unseen(fit, views, radius)
    oddities = _oddities(scene, shapes.xy, misfit.sums, fwhm)
    conditions = {
        **_conditions_of_fit(fit, scene, views[0], radius,
                             observation.reference),
        'poor_fit': fits_poorly(*reduced_chi2(misfit.sums)),
        **_conditions_of_output(parent, areas, chosen, fallback, oddities,
                                empty)}
    _warn(conditions, labels)
    measured = _measurements(fit, scene, shapes, misfit.sums, empty,
                             label=labels, area=areas,
                             flags=pack_flags(conditions, len(labels)))
    return _put_together(
        observation, views, children, measured,
        _sources(fit, measured, _images(views, observation), oddities,
                 observation.is_2d), build_groups(fit, labels),
        np.arange(len(labels)) if chosen.given else np.argsort(labels), meta)
