# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""One source of a result: its model, its share of the data, its fit."""

from dataclasses import dataclass, field, replace

import numpy as np
from photutils.aperture import BoundingBox

from vaephot.utils.frames import each

__all__ = ['DeblendedSource', 'attach_unit', 'box_slices']


def attach_unit(value, unit):
    """Value, or each of a mapping, with a unit if there is one."""
    if unit is None:
        return value
    return each(lambda item: item << unit, value)


def box_slices(box):
    """Slices (y, x) of a box in the frame."""
    return slice(box.iymin, box.iymax), slice(box.ixmin, box.ixmax)


@dataclass(frozen=True, kw_only=True, eq=False)
class DeblendedSource:
    """
    One source: its model, its share of the data, its fitted parameters.

    Images and fluxes of 2D data have no band axis. They are quantities
    if the data were. Where bands lie on pixel grids of their own, images
    are mappings ``{band: image}``; boxes and positions without a band are
    those of the first.

    Parameters
    ----------
    label : int
        Label in the result.
    parent_label : int
        Label of the parent in the input; 0 outside every segment.
    bbox : `~photutils.aperture.BoundingBox`
        Box in the frame, upper ends excluded.
    model : array, (n_bands, h, w) or (h, w), or dict of array
        PSF-convolved model in the box.
    image : array, (n_bands, h, w) or (h, w), or dict of array
        Flux-conserving share of the data in the box.
    x_centroid, y_centroid : float
        Position; the centre of the first pixel is 0.
    flux, flux_err : array, (n_bands,), or float
        Total flux and its 1-sigma error.
    parameters : dict
        Fitted parameters by name, floats or arrays of floats.
    covariance : `numpy.ndarray` or None
        Covariance of the fitted parameters; `None` if unknown.
    bboxes : dict of `~photutils.aperture.BoundingBox` or None
        Box in the frame of each band, for grids of their own; `None` if
        all share one.
    oddities : dict
        Terms of the oddity by name; empty if unknown.
    """

    label: int
    parent_label: int
    bbox: BoundingBox
    model: np.ndarray = field(repr=False)
    image: np.ndarray = field(repr=False)
    x_centroid: float
    y_centroid: float
    flux: np.ndarray
    flux_err: np.ndarray
    parameters: dict = field(default_factory=dict, repr=False)
    covariance: np.ndarray | None = field(default=None, repr=False)
    bboxes: dict | None = field(default=None, repr=False)
    oddities: dict = field(default_factory=dict, repr=False)

    @property
    def oddity(self):
        """
        How unlike a good galaxy of the training the source is.

        The sum of ``oddities``. About one in a hundred good galaxies is
        above 1, where the flag ``out_of_domain`` is set; NaN if unknown.
        """
        return sum(self.oddities.values()) if self.oddities else np.nan

    @property
    def slices(self):
        """Slices (y, x) of the box in the frame."""
        return box_slices(self.bbox)

    def slices_in(self, band):
        """
        Slices (y, x) of the box in the frame of a band.

        Parameters
        ----------
        band : str
            Name of the band.

        Returns
        -------
        tuple of slice
        """
        return box_slices(self.bbox if self.bboxes is None
                       else self.bboxes[band])

    def with_unit(self, unit):
        """
        Source with a unit attached to its images and fluxes.

        Parameters
        ----------
        unit : `~astropy.units.UnitBase` or None
            The unit; `None` changes nothing.

        Returns
        -------
        DeblendedSource
        """
        if unit is None:
            return self
        return replace(self, **{
            name: attach_unit(getattr(self, name), unit)
            for name in ('model', 'image', 'flux', 'flux_err')})
