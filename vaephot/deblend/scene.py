# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The data model between the steps: sources, their fit, their images."""

from dataclasses import dataclass, field, replace

import numpy as np

from vaephot.utils.rows import Rows

__all__ = ['Drawn', 'FitResult', 'Scene', 'Sources', 'add_model',
           'empty_result']


@dataclass(frozen=True, kw_only=True)
class Sources(Rows):
    """
    Sources to be fitted, arrays over all of them.

    ``x``, ``y``: where they were found, in pixels of the reference grid;
    ``parent``: label of the segment they lie in, 0 outside of all;
    ``position_sigma``: prior 1-sigma of the positions in pixels;
    ``radius``: of each one's part of its segment, 0 outside of all;
    ``is_point``: whether it is fitted as a point source; ``is_known``:
    whether that was said or seen before the fit.
    """

    x: np.ndarray
    y: np.ndarray
    parent: np.ndarray
    position_sigma: np.ndarray
    radius: np.ndarray
    is_point: np.ndarray
    is_known: np.ndarray

    def __len__(self):
        return len(self.x)


@dataclass(frozen=True, kw_only=True)
class FitResult(Rows):
    """
    Fitted sources, arrays over all of them in their order.

    ``parameters`` ``(n, p)`` and ``band_parameters`` ``(n, b, p)``:
    positions in the reference grid; ``flux``, ``flux_err`` ``(n, b)`` in
    units of the data; ``covariance`` ``(n, b + p, b + p)`` of the fluxes,
    then the parameters of each source, its neighbours marginalised;
    ``converged`` ``(n,)``; ``snr`` ``(n, b)``: fluxes over the error of a
    point source; ``prior_mean``, ``prior_precision`` ``(n, p)``;
    ``prior_distance`` ``(n,)``: squared distance of the latent from its
    prior; ``group_covariance`` ``(n,)`` of object: a source's place among
    those of its group, and the matrix that these share, or `None`.
    """

    parameters: np.ndarray
    band_parameters: np.ndarray
    flux: np.ndarray
    flux_err: np.ndarray
    covariance: np.ndarray
    converged: np.ndarray
    snr: np.ndarray
    prior_mean: np.ndarray
    prior_precision: np.ndarray
    prior_distance: np.ndarray
    group_covariance: np.ndarray

    def in_bands(self, rows):
        """The same with the fluxes of some bands."""
        return replace(self, flux=self.flux[:, rows],
                       flux_err=self.flux_err[:, rows],
                       snr=self.snr[:, rows])


def empty_result(n, n_bands, n_parameters):
    """Result of sources that nothing has been found of yet."""
    p, b = n_parameters, n_bands
    return FitResult(
        parameters=np.zeros((n, p)), band_parameters=np.zeros((n, b, p)),
        flux=np.zeros((n, b)), flux_err=np.zeros((n, b)),
        covariance=np.zeros((n, b + p, b + p)), converged=np.zeros(n, bool),
        snr=np.zeros((n, b)), prior_mean=np.zeros((n, p)),
        prior_precision=np.ones((n, p)), prior_distance=np.zeros(n),
        group_covariance=np.full(n, None, object))


def _cut(image, ix, iy, height, width):
    """A rectangle of a 2D array, 0 outside of it."""
    ny, nx = image.shape
    out = np.zeros((height, width), image.dtype)
    y0, y1, x0, x1 = max(iy, 0), min(iy + height, ny), max(ix, 0), min(
        ix + width, nx)
    if y0 < y1 and x0 < x1:
        out[y0 - iy:y1 - iy, x0 - ix:x1 - ix] = image[y0:y1, x0:x1]
    return out


def add_model(image, box, model):
    """Add a model to an image (n_bands, ny, nx) in its box."""
    image[:, box.iymin:box.iymax, box.ixmin:box.ixmax] += model


@dataclass(frozen=True)
class Drawn:
    """
    Models of sources on one pixel grid, in units of the data.

    ``boxes`` and ``models`` ``(n_bands, h, w)`` of each source, inside the
    frame; ``truncated`` ``(n,)``: whether more than a hundredth of the
    light lies outside; ``image`` ``(n_bands, ny, nx)``: their sum.
    """

    boxes: list
    models: list
    truncated: np.ndarray
    image: np.ndarray

    def others(self, band, members, ix, iy, shape):
        """Light of all but some sources on a rectangle of a band."""
        height, width = shape
        out = _cut(self.image[band], ix, iy, height, width)
        for k in members:
            box, model = self.boxes[k], self.models[k][band]
            y0, y1 = max(box.iymin, iy), min(box.iymax, iy + height)
            x0, x1 = max(box.ixmin, ix), min(box.ixmax, ix + width)
            if y0 < y1 and x0 < x1:
                out[y0 - iy:y1 - iy, x0 - ix:x1 - ix] -= model[
                    y0 - box.iymin:y1 - box.iymin,
                    x0 - box.ixmin:x1 - box.ixmin]
        return out

    def merged(self, new, rows):
        """Models of ``new`` for the sources ``rows``, the others kept."""
        boxes, models = list(self.boxes), list(self.models)
        truncated, image = self.truncated.copy(), self.image.copy()
        for i, k in enumerate(rows):
            add_model(image, self.boxes[k], -self.models[k])
            boxes[k], models[k] = new.boxes[i], new.models[i]
            truncated[k] = new.truncated[i]
            add_model(image, boxes[k], models[k])
        return Drawn(boxes, models, truncated, image)

    def take(self, keep):
        """Models of some of the sources."""
        image = self.image.copy()
        for k in np.flatnonzero(~keep):
            add_model(image, self.boxes[k], -self.models[k])
        rows = np.flatnonzero(keep)
        return Drawn([self.boxes[k] for k in rows],
                     [self.models[k] for k in rows], self.truncated[keep],
                     image)

    def join(self, new):
        """These models and others, behind them."""
        image = self.image.copy()
        for box, model in zip(new.boxes, new.models, strict=True):
            add_model(image, box, model)
        return Drawn(self.boxes + new.boxes, self.models + new.models,
                     np.concatenate([self.truncated, new.truncated]), image)


@dataclass(frozen=True, kw_only=True)
class Scene:
    """
    Fitted sources with their images.

    ``groups``: what was fitted together; ``drawn``: models of all sources
    on each pixel grid (`Drawn`), the reference first; ``seen``: light of
    others that each group was fitted with, images of the bands or `None`;
    ``rejected``: parents that lost a candidate; ``scores`` ``(n, 2)``:
    probabilities of each to be a source of its own, and of being a point if
    so, once they are known.
    """

    sources: Sources
    fit: FitResult
    groups: list
    drawn: tuple
    seen: dict = field(default_factory=dict)
    rejected: tuple = ()
    scores: np.ndarray | None = None

    def __len__(self):
        return len(self.sources)

    @property
    def is_point(self):
        """Sources fitted as point sources, (n,)."""
        return self.sources.is_point

    @property
    def p_source(self):
        """Probability of each to be a source of its own, (n,)."""
        return self.scores[:, 0]

    @property
    def p_point(self):
        """Probability of each source to be a point, (n,)."""
        return self.scores[:, 1]

    @property
    def boxes(self):
        """Boxes of the models on the reference grid."""
        return self.drawn[0].boxes

    @property
    def models(self):
        """Models in the boxes, (n_bands, h, w) each."""
        return self.drawn[0].models

    @property
    def truncated(self):
        """Whether boxes hold too little of the light, (n,)."""
        return self.drawn[0].truncated

    @property
    def model_image(self):
        """Sum of all models on the reference grid, (n_bands, ny, nx)."""
        return self.drawn[0].image

    def in_bands(self, rows):
        """The same with the fluxes of some bands."""
        return replace(self, fit=self.fit.in_bands(rows))

    def image_without(self, rows):
        """Model image without some of the sources."""
        image = self.model_image.copy()
        for k in rows:
            add_model(image, self.boxes[k], -self.models[k])
        return image
