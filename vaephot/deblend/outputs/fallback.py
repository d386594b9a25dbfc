# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Parents that the model cannot handle: found out, left out of the fit, and
divided by photutils' watershed instead.
"""

import warnings
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from astropy.utils import minversion
from photutils.aperture import BoundingBox
from photutils.segmentation import SegmentationImage, deblend_sources

from vaephot.deblend.inputs.noise import sky_image
from vaephot.deblend.scene import Drawn, Sources
from vaephot.exceptions import DeblendWarning
from vaephot.utils.optional_deps import has_package

__all__ = ['Fallback', 'add_fallback', 'fit_or_leave_out', 'watershed']

# half-light radius of a round Gaussian of sigma 1
HALF_LIGHT = 1.1774100225154747
# least sigma of the light of a child, in pixels
MIN_SIGMA = 0.3
# labels that a warning names at most
MAX_NAMED = 10


@dataclass(frozen=True, kw_only=True, eq=False)
class Fallback:
    """
    Parents that could not be modelled.

    Parameters
    ----------
    labels : tuple of int
        Their labels.
    owners : dict
        The label of each mapped to the pair of an image over its slices,
        the number of the child that owns each pixel or -1, and the number
        of children.
    """

    owners: dict
    labels: tuple = ()


# ------------------------------------------------------ what has to be left
def _broken(solution):
    """Parents of sources whose fit is not finite."""
    fit = solution.fit
    drawn = [np.isfinite(model).all() for model in solution.models]
    # what nothing is seen of has an infinite error
    fine = (np.isfinite(fit.parameters).all(1) & np.isfinite(fit.flux).all(1)
            & ~np.isnan(fit.flux_err).any(1) & np.array(drawn, bool))
    return np.unique(solution.sources.parent[~fine])


def _take(chosen, labels):
    """Candidates in some of the parents."""
    return chosen.take(np.isin(chosen.sources.parent, labels))


def _attempt(fit, failures, chosen):
    """Scene or None, and the parents that are suspected."""
    try:
        solution = fit(chosen)
    except failures:
        return None, np.unique(chosen.sources.parent)
    return solution, _broken(solution)


def _culprits(attempt, chosen, suspects):
    """Those of the suspects that cannot be fitted even without the rest."""
    if not len(attempt(_take(chosen, suspects))[1]):
        return suspects[:0]
    if len(suspects) == 1:
        return suspects
    half = len(suspects) // 2
    found = np.concatenate([_culprits(attempt, chosen, part)
                            for part in (suspects[:half], suspects[half:])])
    # only together do they fail
    return found if len(found) else suspects


def fit_or_leave_out(fit, chosen, failures):
    """
    Scene of all parents but those that cannot be fitted, and these.

    ``fit(chosen)`` returns a scene, or raises one of the ``failures``;
    positions that the caller gave are fitted as they are, and what goes
    wrong there is raised.
    """
    if chosen.given:
        return fit(chosen), _take(chosen, [])
    attempt = partial(_attempt, fit, failures)
    everything, gone = chosen, np.zeros(0, int)
    while True:
        solution, suspects = attempt(chosen)
        if not len(suspects):
            return solution, _take(everything, gone)
        gone = np.union1d(gone, _culprits(attempt, chosen, suspects))
        chosen = _take(chosen, np.setdiff1d(chosen.sources.parent, gone))


# ------------------------------------------------------------ the watershed
def watershed(settings, image, segm, labels, asked):
    """
    Divide parents by photutils' watershed.

    ``settings`` are those of a deblender, ``image`` (ny, nx) the data,
    ``asked`` the labels of parents that are to be divided. Returns the
    ``owners`` of a `Fallback`; without scikit-image, which the watershed
    needs, every parent has one child.
    """
    split = (_split if settings.contrast < 1 and has_package('skimage')
             else _whole)
    owners = {}
    for label in labels:
        window = segm.slices[segm.get_index(label)]
        region = segm.data[window] == label
        divide = split if label in asked else _whole
        children = divide(settings, image[window], region)
        names, index = np.unique(children[region], return_inverse=True)
        owner = np.full(region.shape, -1)
        owner[region] = index
        owners[int(label)] = (owner, len(names))
    return owners


def _whole(settings, image, region):
    """Labels of a parent that stays whole."""
    return region.astype(int)


def _split(settings, image, region):
    """Labels of the children that photutils divides a parent into."""
    # photutils takes the same way out, and warns
    mode = ('linear' if settings.mode == 'exponential'
            and image[region].min() <= 0 else settings.mode)
    # deprecated since it has no effect any more
    quiet = ({} if minversion('photutils', '3.1')
             else {'progress_bar': False})
    return deblend_sources(
        image, SegmentationImage(region.astype(int)), settings.n_pixels,
        n_levels=settings.n_levels, contrast=settings.contrast, mode=mode,
        connectivity=settings.connectivity, **quiet).data


# ---------------------------------------------------- what there is to tell
def _stack(observation):
    """Sum of the bands in units of their noise, (ny, nx)."""
    scale = 1 / np.sqrt(observation.variance.mean((1, 2)))
    return np.einsum('byx,b->yx', observation.data, scale / scale.sum())


def _without_sky(observation, kind):
    """Observation without the sky where a background is free."""
    if kind is None:
        return observation
    return replace(observation, data=np.stack([
        np.where(bad, 0, image - sky_image(image, bad, kind)) for image, bad
        in zip(observation.data, observation.mask, strict=True)]))


def _place(bright, window):
    """Centroid (x, y) and sigma of light (h, w) in a window."""
    y, x = np.mgrid[window]
    share = bright / bright.sum()
    x0, y0 = (share * x).sum(), (share * y).sum()
    square = 0.5 * (share * ((x - x0) ** 2 + (y - y0) ** 2)).sum()
    return (x0, y0), max(np.sqrt(square), MIN_SIGMA)


def _light(observation, stack, window, own):
    """Position, size, fluxes, errors and data of some pixels (h, w)."""
    cut = (slice(None), *window)
    good = own & ~observation.mask[cut]
    data = np.where(good, observation.data[cut], 0)
    variance = observation.variance
    variance = variance if variance.shape[-1] == 1 else variance[cut]
    bright = np.where(good.any(0), np.maximum(stack[window], 0), 0)
    bright = bright if bright.any() else own.astype(float)
    flux = np.where(good.any((1, 2)), data.sum((1, 2)), np.nan)
    error = np.sqrt(np.where(good, variance, 0).sum((1, 2)))
    return (*_place(bright, window), flux,
            error * observation.noise_correlation, data)


def _rows_behind(fit, light, image_bands):
    """A fit with rows for sources that have no model put behind."""
    (places, sigma, flux, error) = (np.array(column) for column
                                    in list(zip(*light, strict=True))[:4])
    n, n_bands = len(places), fit.flux.shape[1]
    new = fit.blank(n)
    new.converged[:] = True
    for column, value in ((new.flux, flux), (new.flux_err, error)):
        column[:] = np.nan  # nothing is known on other pixel grids
        column[:, image_bands] = value
    for column in (new.parameters, new.band_parameters):
        values = column.T
        values[:2] = places.T if values.ndim == 2 else places.T[:, None]
        values[2] = np.log(HALF_LIGHT * sigma)
    signal = np.nansum(np.maximum(flux / error, 0) ** 2, 1)
    band, axis = np.arange(n_bands), n_bands + np.arange(2)
    new.covariance[:, band, band] = new.flux_err ** 2
    new.covariance[:, axis, axis] = (
        sigma ** 2 / np.maximum(signal, 1))[:, None]
    return fit.join(new)


def _own_light(windows, light, shape):
    """Models of sources that are their own data, on the reference grid."""
    image = np.zeros((len(light[0][-1]), *shape))
    for (sy, sx), (*_, data) in zip(windows, light, strict=True):
        image[:, sy, sx] += data
    boxes = [BoundingBox(sx.start, sx.stop, sy.start, sy.stop)
             for sy, sx in windows]
    return Drawn(boxes, [data for *_, data in light],
                 np.zeros(len(light), bool), image)


def _dark(n, image):
    """Models of sources that have no light on a grid."""
    return Drawn([BoundingBox(0, 1, 0, 1)] * n,
                 [np.zeros((len(image), 1, 1))] * n, np.zeros(n, bool),
                 np.zeros_like(image))


def _sources(sources, labels, places, sigma):
    """Sources with those without a model behind them."""
    n = len(labels)
    x, y = places.T
    return sources.join(Sources(
        x=x, y=y, parent=labels, radius=sigma, position_sigma=np.zeros(n),
        is_point=np.zeros(n, bool), is_known=np.zeros(n, bool)))


def _warn(labels):
    """One warning that names the parents."""
    named = ', '.join(map(str, labels[:MAX_NAMED]))
    more = '' if len(labels) <= MAX_NAMED else ', ...'
    warnings.warn(
        f'{len(labels)} parents could not be modelled and were left to '
        f"photutils' watershed (labels {named}{more}); their sources are "
        "flagged 'fallback'.", DeblendWarning, stacklevel=5)


def add_fallback(engine, scene, left_out, search):
    """
    Add the sources of parents that could not be modelled, with a warning.

    ``left_out``: candidates that `fit_or_leave_out` left out; only the
    parents asked for are divided. Returns the scene, with the children of
    the watershed behind the others, and the `Fallback`: the model of each
    child is its data, its flux their sum, its probability NaN.
    """
    labels = np.unique(left_out.sources.parent)
    if not len(labels):
        return scene, Fallback(owners={})
    _warn(labels)
    segm = engine.parents
    observation = _without_sky(engine.observation.reference,
                               engine.settings.background)
    asked = (labels if left_out.labels is None
             else np.intersect1d(labels, left_out.labels))
    stack = _stack(observation)
    owners = watershed(search, stack, segm, labels, asked)
    windows, parent, light = [], [], []
    for label, (owner, n_children) in owners.items():
        window = segm.slices[segm.get_index(label)]
        for child in range(n_children):
            windows.append(window)
            parent.append(label)
            light.append(_light(observation, stack, window,
                                owner == child))
    n = len(light)
    own = _own_light(windows, light, segm.shape)
    drawn = tuple(d.join(own if not i else _dark(n, d.image))
                  for i, d in enumerate(scene.drawn))
    return replace(
        scene, fit=_rows_behind(scene.fit, light, engine.image_bands),
        drawn=drawn,
        scores=np.concatenate([scene.scores, np.full((n, 2), np.nan)]),
        sources=_sources(scene.sources, np.array(parent),
                         np.array([row[0] for row in light]),
                         np.array([row[1] for row in light])),
    ), Fallback(labels=tuple(labels.tolist()), owners=owners)
