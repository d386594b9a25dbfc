# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Covariance of fitted sources, and samples of their posterior."""

from dataclasses import dataclass

import numpy as np

__all__ = ['FitGroup', 'PosteriorSamples', 'build_groups', 'draw_samples',
           'flux_covariance']

# entries of a source's parameters that follow from the fitted ones
DERIVED = ('size', 'g1', 'g2')


@dataclass(frozen=True, kw_only=True, eq=False)
class FitGroup:
    """
    Sources that were fitted together, and their covariance.

    Parameters
    ----------
    labels : tuple of int
        Labels of the sources.
    covariance : `numpy.ndarray`, (k * m, k * m)
        Source by source: the fluxes of all bands, then the parameters.
    """

    labels: tuple
    covariance: np.ndarray

    def of_labels(self, labels):
        """
        Group of those of its sources that are among some labels.

        Parameters
        ----------
        labels : sequence of int
            Labels of sources.

        Returns
        -------
        FitGroup
            It may be empty.
        """
        places = np.flatnonzero(np.isin(self.labels, labels))
        size = len(self.covariance) // len(self.labels)
        return FitGroup(
            labels=tuple(self.labels[place] for place in places),
            covariance=_block(self.covariance, places, size))


def _block(matrix, places, size):
    """Rows and columns of the sources at some places of a group."""
    own = (np.asarray(places, int)[:, None] * size
           + np.arange(size)).ravel()
    return matrix[np.ix_(own, own)]


@dataclass(frozen=True, kw_only=True, eq=False)
class PosteriorSamples:
    """
    Samples of the posterior of some sources.

    Parameters
    ----------
    labels : `numpy.ndarray` of int, (n_sources,)
        Which sources.
    flux : array, (n_samples, n_sources, n_bands) or (n_samples, n_sources)
        Fluxes in the unit of the data; no band axis for 2D data.
    parameters : dict
        Parameters by name as those of a source, each of the shape
        ``(n_samples, n_sources, ...)``.
    """

    labels: np.ndarray
    flux: np.ndarray
    parameters: dict


def build_groups(fit, labels):
    """
    Collect the covariances of a fit by label.

    Parameters
    ----------
    fit : `~vaephot.deblend.scene_fit.SceneFit`
        Its ``covariance`` and ``group_covariance``.
    labels : sequence of int
        Label of each source.

    Returns
    -------
    tuple of FitGroup
        Every source is in exactly one. Sources that were measured with
        others which have been dropped since keep their part.
    """
    shared, groups = {}, []
    for row, (label, entry) in enumerate(zip(labels, fit.group_covariance,
                                             strict=True)):
        if not isinstance(entry, tuple):
            groups.append(FitGroup(labels=(int(label),),
                                   covariance=fit.covariance[row]))
        else:
            place, matrix = entry
            shared.setdefault(id(matrix), (matrix, []))[1].append(
                (place, int(label)))
    size = fit.covariance.shape[-1]
    for matrix, members in shared.values():
        groups.append(FitGroup(
            labels=tuple(label for _, label in members),
            covariance=_block(matrix, [place for place, _ in members],
                              size)))
    return tuple(groups)


def _plain(value):
    return np.atleast_1d(np.asarray(getattr(value, 'value', value), float))


def _places(result, labels):
    """Map each group to the rows of its wanted sources and their places."""
    places = {}
    for row, label in enumerate(labels):
        found = result.group_of(label)
        if found is not None:
            number, place = found
            places.setdefault(number, []).append((row, place))
    return places


def _correlation(matrix):
    """Correlation matrix; zero where there is no variance."""
    variance = np.maximum(np.diagonal(matrix), 0)
    scale = np.where(variance > 0, 1 / np.sqrt(np.where(
        variance > 0, variance, 1)), 0)
    return matrix * scale[:, None] * scale


def flux_covariance(result, labels):
    """
    Covariance of the fluxes of sources and bands.

    Correlations are those of the fit, errors those of the sources.
    Sources that were not fitted together have none.

    Parameters
    ----------
    result : `~vaephot.results.result.DeblendResult`
        The sources.
    labels : sequence of int
        Labels of the sources.

    Returns
    -------
    `numpy.ndarray`, (n, n_bands, n, n_bands)
        In squares of the unit of the data; NaN where the error is.
    """
    n, n_bands = len(labels), len(result.bands)
    error = np.array([_plain(result[label].flux_err) for label in labels])
    error = error.reshape(n, n_bands)
    out = np.zeros((n, n_bands, n, n_bands))
    index = np.arange(n)[:, None], np.arange(n_bands)
    out[*index, *index] = 1
    for number, members in _places(result, labels).items():
        matrix = result.groups[number].covariance
        size = len(matrix) // len(result.groups[number].labels)
        rows = [row for row, _ in members]
        own = np.concatenate([place * size + np.arange(n_bands)
                              for _, place in members])
        block = _correlation(matrix[np.ix_(own, own)])
        np.fill_diagonal(block, 1)
        block = block.reshape(len(rows), n_bands, len(rows), n_bands)
        out[np.ix_(rows, range(n_bands), rows, range(n_bands))] = block
    return out * error[:, :, None, None] * error


def _fitted_vector(source):
    """Fluxes and fitted parameters, and the layout of the latter."""
    layout, values = [], [_plain(source.flux)]
    for name, value in source.parameters.items():
        if name not in DERIVED:
            layout.append((name, np.shape(value)))
            values.append(np.ravel(value))
    return np.concatenate(values), layout


def _draw(covariance, n_samples, rng):
    """Normal deviates with a covariance, (n_samples, n)."""
    scale = np.sqrt(np.maximum(np.diagonal(covariance), 0))
    values, vectors = np.linalg.eigh(_correlation(covariance))
    root = vectors * np.sqrt(np.maximum(values, 0))
    deviates = rng.standard_normal((n_samples, len(scale)))
    return deviates @ root.T * scale


def _scaled(matrix, sources, size):
    """Covariance with the flux errors of the sources; finite."""
    scale = np.ones(len(matrix))
    for place, source in sources:
        error = _plain(source.flux_err)
        rows = place * size + np.arange(len(error))
        fitted = np.sqrt(np.maximum(np.diagonal(matrix)[rows], 0))
        with np.errstate(divide='ignore', invalid='ignore'):
            ratio = error / fitted
        scale[rows] = np.where(np.isfinite(ratio), ratio, 0)
    return np.nan_to_num(matrix, posinf=0, neginf=0) * scale[:, None] * scale


def _check_samples(result, labels, n_samples):
    """Raise unless samples can be drawn."""
    if isinstance(n_samples, bool) or not isinstance(
            n_samples, (int, np.integer)) or n_samples < 1:
        msg = f'n_samples is {n_samples!r}; give a positive integer.'
        raise ValueError(msg)
    lost = [label for label in labels if result.group_of(label) is None]
    if lost:
        msg = (f'the result holds no covariance of the source {lost[0]}; '
               'only sources that were fitted can be sampled.')
        raise ValueError(msg)


def draw_samples(result, n_samples, labels, rng):
    """
    Draw from the posterior of fluxes and shapes.

    The posterior is the normal distribution of the Laplace approximation
    about the best fit. Sources fitted together are drawn together.

    Parameters
    ----------
    result : `~vaephot.results.result.DeblendResult`
        The sources.
    n_samples : int
        How many samples.
    labels : sequence of int
        Labels of the sources.
    rng : `numpy.random.Generator`
        Source of randomness.

    Returns
    -------
    PosteriorSamples
        Fluxes without a unit, with a band axis.

    Raises
    ------
    ValueError
        If the number is no positive integer, or a source has no
        covariance.
    """
    _check_samples(result, labels, n_samples)
    drawn, layout = [None] * len(labels), []
    for number, members in sorted(_places(result, labels).items()):
        group = result.groups[number]
        size = len(group.covariance) // len(group.labels)
        sources = [(place, result[label])
                   for place, label in enumerate(group.labels)]
        step = _draw(_scaled(group.covariance, sources, size), n_samples,
                     rng)
        for row, place in members:
            best, layout = _fitted_vector(result[labels[row]])
            drawn[row] = best + step[:, place * size:(place + 1) * size]
    n_bands = len(result.bands)
    values = (np.stack(drawn, axis=1) if drawn
              else np.zeros((n_samples, 0, n_bands)))
    parameters, start = {}, n_bands
    for name, shape in layout:
        count = int(np.prod(shape))
        parameters[name] = values[..., start:start + count].reshape(
            *values.shape[:2], *shape)
        start += count
    return PosteriorSamples(
        labels=np.array(labels, int), flux=values[..., :n_bands],
        parameters={**parameters, **_derived(parameters)})


def _derived(parameters):
    """Size and reduced shear of samples, where they are known."""
    if not {'log_size', 'eta1', 'eta2'} <= set(parameters):
        return {}
    eta = parameters['eta1'], parameters['eta2']
    length = np.hypot(*eta)
    shear = np.divide(np.tanh(length / 2), length,
                      out=np.full(length.shape, 0.5), where=length > 0)
    return {'size': np.exp(parameters['log_size']),
            'g1': shear * eta[0], 'g2': shear * eta[1]}
