# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What a deblender returns: sources, tables and images of one field."""

from dataclasses import KW_ONLY, dataclass, field, replace
from functools import cached_property

import astropy.units as u
import numpy as np
from astropy.table import QTable
from photutils.aperture import BoundingBox
from photutils.segmentation import SegmentationImage

from vaephot.exceptions import BandMismatchError, ShapeMismatchError

__all__ = ['DeblendResult', 'DeblendedSource']

# labels that a message lists at most
MAX_LISTED = 20


def _attach(value, unit):
    """Value with a unit; without if there is none."""
    return value if unit is None else value << unit


@dataclass(frozen=True, kw_only=True, eq=False)
class DeblendedSource:
    """
    One source: its model, its share of the data, its fitted parameters.

    Images and fluxes of 2D data have no band axis. They are quantities
    if the data were.

    Parameters
    ----------
    label : int
        Label in the result.
    parent_label : int
        Label of the parent in the input; 0 outside every segment.
    bbox : `~photutils.aperture.BoundingBox`
        Box in the frame, upper ends excluded.
    model : array, (n_bands, h, w) or (h, w)
        PSF-convolved model in the box.
    image : array, (n_bands, h, w) or (h, w)
        Flux-conserving share of the data in the box.
    x_centroid, y_centroid : float
        Position; the centre of the first pixel is 0.
    flux, flux_err : array, (n_bands,), or float
        Total flux and its 1-sigma error.
    parameters : dict
        Fitted parameters by name, floats or arrays of floats.
    covariance : `numpy.ndarray` or None
        Covariance of the fitted parameters; `None` if unknown.
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

    @property
    def slices(self):
        """Slices (y, x) of the box in the frame."""
        box = self.bbox
        return slice(box.iymin, box.iymax), slice(box.ixmin, box.ixmax)


@dataclass(frozen=True, eq=False, repr=False)
class DeblendResult:
    """
    Deblended sources of one field.

    ``len(result)`` is the number of sources, ``result[label]`` is one of
    them, and iteration goes through them in the order of the table.
    Images are quantities if the data were.

    Parameters
    ----------
    table : `~astropy.table.QTable`
        One row for each source.
    segmentation_image : `~photutils.segmentation.SegmentationImage`
        Children, with the maps of parents and children.
    sources : sequence of `DeblendedSource`
        In the order of the table.
    data : array, (n_bands, ny, nx) or (ny, nx)
        The image; kept as (ny, nx) if ``is_2d``.
    bands : sequence of str
        Names of the bands.
    model_image : array or None, optional
        Sum of all models, shaped like ``data``. `None` adds up the models
        of the sources in their boxes.
    error : array or None, optional
        1-sigma error of each pixel, shaped like ``data``, or (n_bands, 1,
        1).
    mask : array of bool or None, optional
        True for bad pixels, shaped like ``data``.
    unit : `~astropy.units.UnitBase` or None, optional
        Unit of data, models and fluxes, attached to those given without.
        `None` takes that of the data.
    wcs : WCS or None, optional
        World coordinates of the image.
    is_2d : bool, optional
        Whether the input was one 2D image; always so for 2D data.

    Raises
    ------
    ShapeMismatchError
        If images, table and sources do not belong together.
    BandMismatchError
        If the bands are not those of the data.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.table import QTable
    >>> from photutils.aperture import BoundingBox
    >>> from photutils.segmentation import SegmentationImage
    >>> from vaephot import DeblendedSource, DeblendResult
    >>> source = DeblendedSource(
    ...     label=1, parent_label=1, bbox=BoundingBox(2, 4, 0, 1),
    ...     model=np.ones((1, 2)), image=np.array([[1.1, 0.8]]),
    ...     x_centroid=2.5, y_centroid=0.0, flux=2.0, flux_err=0.1)
    >>> result = DeblendResult(
    ...     QTable({'label': [1]}), SegmentationImage(np.ones((1, 5), int)),
    ...     [source], np.zeros((1, 5)), bands=['r'])
    >>> result
    <DeblendResult: 1 sources, 1 x 5 pixels, bands r>
    >>> result.make_source_image(1)
    array([[0. , 0. , 1.1, 0.8, 0. ]])
    >>> result[1].flux
    2.0
    """

    table: QTable
    segmentation_image: SegmentationImage
    sources: tuple
    data: np.ndarray
    _: KW_ONLY
    bands: tuple
    model_image: np.ndarray | None = None
    error: np.ndarray | None = None
    mask: np.ndarray | None = None
    unit: u.UnitBase | None = None
    wcs: object = None
    is_2d: bool = False

    def __post_init__(self):
        def put(name, value):
            object.__setattr__(self, name, value)
        if self.unit is None:
            put('unit', getattr(self.data, 'unit', None))
        put('is_2d', bool(self.is_2d) or self.data.ndim == 2)
        put('bands', tuple(self.bands))
        for name in ('data', 'model_image', 'error', 'mask'):
            put(name, self._prepared(name))
        put('sources', tuple(self._with_unit(source)
                             for source in self.sources))
        self._check()
        put('_index', {source.label: i
                       for i, source in enumerate(self.sources)})
        if self.model_image is None:
            put('model_image', self._sum_of_models())

    def _prepared(self, name):
        """Drop the band axis of 2D input and attach the unit."""
        value = getattr(self, name)
        if value is None:
            return None
        if self.is_2d and value.ndim == 3:
            value = value[0]
        return value if name == 'mask' else _attach(value, self.unit)

    def _with_unit(self, source):
        if self.unit is None:
            return source
        return replace(source, **{
            name: _attach(getattr(source, name), self.unit)
            for name in ('model', 'image', 'flux', 'flux_err')})

    def _check(self):
        """Raise unless table, sources and images belong together."""
        n_bands = 1 if self.is_2d else self.data.shape[0]
        if self.data.ndim != (2 if self.is_2d else 3):
            msg = (f'data have the shape {self.data.shape}; allowed are '
                   '(ny, nx) with is_2d and (n_bands, ny, nx) without.')
            raise ShapeMismatchError(msg, shape=self.data.shape)
        if len(self.bands) != n_bands:
            msg = (f'the data have {n_bands} bands but '
                   f'{len(self.bands)} names ({", ".join(self.bands)}).')
            raise BandMismatchError(msg, bands=self.bands)
        labels = [source.label for source in self.sources]
        if labels != list(self.table['label']):
            msg = (f'the table has {len(self.table)} rows, and the labels '
                   f'do not follow those of the {len(labels)} sources.')
            raise ShapeMismatchError(msg, labels=labels)
        if self.segmentation_image.shape != self.data.shape[-2:]:
            msg = (f'the segmentation has the shape '
                   f'{self.segmentation_image.shape}, the data '
                   f'{self.data.shape}.')
            raise ShapeMismatchError(msg, shape=self.data.shape)

    def _sum_of_models(self):
        out = _attach(np.zeros(self.data.shape), self.unit)
        for source in self.sources:
            out[..., *source.slices] += source.model
        return out

    def __repr__(self):
        ny, nx = self.data.shape[-2:]
        return (f'<DeblendResult: {len(self)} sources, '
                f'{ny} x {nx} pixels, bands {", ".join(self.bands)}>')

    def __len__(self):
        return len(self.sources)

    def __iter__(self):
        return iter(self.sources)

    def __contains__(self, label):
        return label in self._index

    def __getitem__(self, label):
        try:
            return self.sources[self._index[label]]
        except (KeyError, TypeError):
            msg = (f'there is no source with label {label!r}; the labels '
                   f'are {self._list_labels()}.')
            raise KeyError(msg) from None

    def _list_labels(self):
        """Labels as text, shortened if there are many."""
        labels = sorted(self._index)
        text = ', '.join(map(str, labels[:MAX_LISTED]))
        if len(labels) > MAX_LISTED:
            text += f', ... ({len(labels)} labels up to {labels[-1]})'
        return text or 'none: no source was found'

    @property
    def labels(self):
        """Labels of the sources, in the order of the table."""
        return np.array([source.label for source in self.sources], int)

    @cached_property
    def residual_image(self):
        """Data minus models; 0 in masked pixels, shaped like the data."""
        residual = self.data - self.model_image
        if self.mask is not None:
            residual[self.mask] = 0
        return residual

    def band_index(self, band=None):
        """
        Number of a band.

        Parameters
        ----------
        band : str, int or None, optional
            Name or number of a band; `None` is the first.

        Returns
        -------
        int

        Raises
        ------
        BandMismatchError
            If there is no such band.
        """
        if band is None:
            return 0
        if band in self.bands:
            return self.bands.index(band)
        if isinstance(band, (int, np.integer)) and (
                0 <= band < len(self.bands)):
            return int(band)
        msg = (f'there is no band {band!r}; the bands are '
               f'({", ".join(self.bands)}).')
        raise BandMismatchError(msg, band=band, bands=self.bands)

    def make_source_image(self, label, *, kind='image'):
        """
        Whole frame with one source alone.

        Parameters
        ----------
        label : int
            Label of the source.
        kind : {'image', 'model'}, optional
            Its share of the data, or its noise-free model.

        Returns
        -------
        array
            Shaped like the data, 0 outside the box of the source.

        Raises
        ------
        KeyError
            If there is no such label.
        ValueError
            If the kind is unknown.
        """
        if kind not in ('image', 'model'):
            msg = f"kind must be 'image' or 'model', not {kind!r}."
            raise ValueError(msg)
        source = self[label]
        out = _attach(np.zeros(self.data.shape), self.unit)
        out[..., *source.slices] = getattr(source, kind)
        return out

    def to_catalog(self, band=None, **kwargs):
        """
        Measure the deblended images with photutils.

        A `~photutils.segmentation.SourceCatalog` takes one image in which
        each pixel has one owner. Here each source has an image of its own
        and these overlap, so they are spread over as few layers as keep
        the boxes apart; photutils measures each layer, and the catalog
        returned collects the values by label. The segment of a source is
        all of its parent's pixels inside its box, where its image is its
        share of the light. A source of no parent has the pixels of the
        background where its model exceeds 1 % of its peak.

        Parameters
        ----------
        band : str, int or None, optional
            Name or number of the band to measure; `None` is the first.
        **kwargs
            Passed on to `~photutils.segmentation.SourceCatalog`, for
            instance ``kron_params``, or ``detection_catalog``: the catalog
            of another band of the same result. Defaults for ``error``,
            ``mask`` and ``wcs`` are those of the result.

        Returns
        -------
        `~photutils.segmentation.SourceCatalog`
            One row for each source with pixels to measure, by label.

        Raises
        ------
        ValueError
            If there are no sources.
        """
        from vaephot.photometry.source_catalog import make_source_catalog

        return make_source_catalog(self, band, **kwargs)

    def plot(self, label, *, band=None, rgb=False, max_children=8):
        """
        Plot the parent of a source, its model, and each child.

        Parameters
        ----------
        label : int
            Label of the source.
        band : str, int, sequence or None, optional
            Bands to show, a row of panels for each; `None` shows all.
        rgb : bool or sequence, optional
            True shows one colour image of the last, middle and first band
            instead; three bands name those for red, green and blue.
        max_children : int, optional
            Children shown at most; the brightest, always with ``label``.

        Returns
        -------
        `matplotlib.figure.Figure`
            Notebooks show it; ``savefig`` writes it. It is not known to
            `matplotlib.pyplot`.

        Raises
        ------
        KeyError
            If there is no such label.
        MissingDependencyError
            If matplotlib is not installed.
        """
        from vaephot._plotting import plot_source

        return plot_source(self, label, band=band, rgb=rgb,
                           max_children=max_children)

    def plot_segments(self, *, band=None, ax=None):
        """
        Plot the outlines of the children over the image.

        Parameters
        ----------
        band : str, int or None, optional
            Band to show; `None` is the first.
        ax : `matplotlib.axes.Axes` or None, optional
            Where to draw; `None` makes a figure.

        Returns
        -------
        `matplotlib.figure.Figure`
            The new figure, or that of ``ax``.

        Raises
        ------
        MissingDependencyError
            If matplotlib is not installed.
        """
        from vaephot._plotting import plot_segments

        return plot_segments(self, band=band, ax=ax)

    def write(self, path, overwrite=False):
        """
        Write everything into one FITS file.

        `read` gives back the same values. The file appears whole or not
        at all.

        Parameters
        ----------
        path : path-like
            The file; with the ending .gz it is compressed.
        overwrite : bool, optional
            Whether an existing file may be replaced.

        Raises
        ------
        OutputExistsError
            If the file exists and ``overwrite`` is False.

        Warns
        -----
        VaephotWarning
            If the WCS is of a kind that FITS cannot hold; it is left out.
        """
        from vaephot._result_io import write_result

        write_result(self, path, overwrite=overwrite)

    @classmethod
    def read(cls, path):
        """
        Read a file made by `write`.

        Parameters
        ----------
        path : path-like
            The file.

        Returns
        -------
        `DeblendResult`

        Raises
        ------
        ValueError
            If the file was not made by `write`.
        """
        from vaephot._result_io import read_result

        return cls(**read_result(path, DeblendedSource))
