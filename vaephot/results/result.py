# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What a deblender returns: sources, tables and images of one field."""

from dataclasses import KW_ONLY, dataclass, replace
from functools import cached_property

import astropy.units as u
import numpy as np
from astropy.table import QTable
from photutils.segmentation import SegmentationImage

from vaephot.exceptions import BandMismatchError
from vaephot.results.covariance import draw_samples, flux_covariance
from vaephot.results.parts import as_image_psf, check_parts, prepare_frame
from vaephot.results.source import attach_unit
from vaephot.utils.frames import each, is_mapping

__all__ = ['DeblendResult']

# labels that a message lists at most
MAX_LISTED = 20
# rows of the table that notebooks show
MAX_THUMBNAILS = 10


@dataclass(frozen=True, eq=False, repr=False)
class DeblendResult:
    """
    Deblended sources of one field.

    ``len(result)`` is the number of sources, ``result[label]`` is one of
    them, and iteration goes through them in the order of the table.
    ``result[1:3]`` is a result of the sources in these *rows* of the
    table; its ``model_image`` holds their models alone. Images are
    quantities if the data were. Bands on pixel grids of their own have
    their images in mappings ``{band: image}``; table and segmentation are
    those of the first band.

    Parameters
    ----------
    table : `~astropy.table.QTable`
        One row for each source.
    segmentation_image : `~photutils.segmentation.SegmentationImage`
        Children, with the maps of parents and children.
    sources : sequence of `DeblendedSource`
        In the order of the table.
    data : array, (n_bands, ny, nx) or (ny, nx), or dict of 2D array
        The image; kept as (ny, nx) if ``is_2d``.
    bands : sequence of str
        Names of the bands.
    model_image : array or None, optional
        Sum of all models, shaped like ``data``. `None` adds up the models
        of the sources in their boxes.
    background_image : array or None, optional
        Background that was fitted along (``local_background``), shaped like
        ``data``, which hold it; the images of the sources do not. `None` if
        none was.
    error : array or None, optional
        1-sigma error of each pixel, shaped like ``data``, or (n_bands, 1,
        1).
    mask : array of bool or None, optional
        True for bad pixels, shaped like ``data``.
    unit : `~astropy.units.UnitBase` or None, optional
        Unit of data, models and fluxes, attached to those given without.
        `None` takes that of the data.
    wcs : WCS, dict of WCS or None, optional
        World coordinates of the image.
    is_2d : bool, optional
        Whether the input was one 2D image; always so for 2D data.
    groups : sequence of `FitGroup`, optional
        Covariance of the sources fitted together.
    psf : sequence or None, optional
        Effective PSF of each band in the middle of the image: a pair
        ``(image, oversampling)``, an `~photutils.psf.ImagePSF`, which is
        what it becomes, or `None`. `None` for all if it is not known.
    noise : dict or None, optional
        Measured noise, arrays of the shape ``(n_bands, ...)`` by name:
        ``'ratio'``, scatter of sky pixels over ``error``;
        ``'large_ratio'``, the same for sums over large areas; and
        ``'correlation'``, (n_bands, 7), autocorrelation at distances of 0
        to 6 pixels. `None` if nothing was measured.

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
    background_image: np.ndarray | None = None
    error: np.ndarray | None = None
    mask: np.ndarray | None = None
    unit: u.UnitBase | None = None
    wcs: object = None
    is_2d: bool = False
    groups: tuple = ()

    psf: tuple | None = None
    noise: dict | None = None

    def __post_init__(self):
        def put(name, value):
            object.__setattr__(self, name, value)
        put('bands', tuple(self.bands))
        put('groups', tuple(self.groups))
        self._prepare_frames(put)
        put('sources', tuple(source.with_unit(self.unit)
                             for source in self.sources))
        if self.psf is not None:
            put('psf', tuple(as_image_psf(psf) for psf in self.psf))
        if self.noise is not None:
            put('noise', {name: np.asarray(values)
                          for name, values in self.noise.items()})
        check_parts(self)
        put('_index', {source.label: i
                       for i, source in enumerate(self.sources)})
        if self.model_image is None:
            put('model_image', self._sum_of_models())

    def _prepare_frames(self, put):
        """Find out unit and dimensions, and make all frames alike."""
        first = self.data[self.bands[0]] if self.on_own_grids else self.data
        if self.unit is None:
            put('unit', getattr(first, 'unit', None))
        put('is_2d', not self.on_own_grids
            and (bool(self.is_2d) or first.ndim == 2))
        for name in ('data', 'model_image', 'background_image', 'error'):
            put(name, prepare_frame(getattr(self, name), self.unit,
                                    self.is_2d))
        put('mask', prepare_frame(self.mask, None, self.is_2d))

    @property
    def on_own_grids(self):
        """Whether bands lie on pixel grids of their own."""
        return is_mapping(self.data)

    def _blank(self):
        """Frames of zeros, like the data."""
        return each(lambda frame: attach_unit(np.zeros(frame.shape),
                                              self.unit), self.data)

    def _windows(self, frames, source, images):
        """Views of frames in the box of a source, and its images."""
        if not self.on_own_grids:
            return [(frames[..., *source.slices], images)]
        return [(frame[source.slices_in(band)], images[band])
                for band, frame in frames.items()]

    def _sum_of_models(self):
        out = self._blank()
        for source in self.sources:
            for view, model in self._windows(out, source, source.model):
                view += model
        return out

    def __repr__(self):
        if self.on_own_grids:
            size = ', '.join(f'{band} {frame.shape[0]} x {frame.shape[1]}'
                             for band, frame in self.data.items())
            return f'<DeblendResult: {len(self)} sources, pixels: {size}>'
        ny, nx = self.data.shape[-2:]
        return (f'<DeblendResult: {len(self)} sources, '
                f'{ny} x {nx} pixels, bands {", ".join(self.bands)}>')

    def _repr_html_(self):
        """Table with thumbnails of the first sources, for notebooks."""
        from html import escape

        from vaephot.results.html import result_table

        return (f'<p>{escape(repr(self))}</p>'
                f'{result_table(self, MAX_THUMBNAILS)}')

    def __len__(self):
        return len(self.sources)

    def __iter__(self):
        return iter(self.sources)

    def __contains__(self, label):
        return label in self._index

    def __getitem__(self, label):
        if isinstance(label, slice):
            from vaephot.results.subsets import row_view

            return DeblendResult(**row_view(self, label))
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
        """
        Data minus models and fitted background, shaped like the data.

        It is 0 in masked pixels.
        """
        residual = each(np.subtract, self.data, self.model_image)
        if self.background_image is not None:
            residual = each(np.subtract, residual, self.background_image)
        if self.mask is not None:
            def blank(frame, mask):
                frame[mask] = 0
            each(blank, residual, self.mask)
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
        array or dict of array
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
        source, out = self[label], self._blank()
        for view, image in self._windows(out, source,
                                         getattr(source, kind)):
            view[...] = image
        return out

    def band(self, band=None):
        """
        Result of one band alone, as that of a 2D image.

        Parameters
        ----------
        band : str, int or None, optional
            Name or number of the band; `None` is the first.

        Returns
        -------
        `DeblendResult`
            On the pixel grid of that band. If that is not the grid of the
            first, positions are turned into its pixels and each pixel of
            the segmentation takes the label at its centre; areas, radii
            and angles are still those measured on the first.

        Raises
        ------
        BandMismatchError
            If there is no such band.
        """
        from vaephot.results.subsets import band_view

        return DeblendResult(**band_view(self, self.band_index(band)))

    # ------------------------------------------------- fluxes and errors
    def group_of(self, label):
        """
        Where the covariance of a source is.

        Parameters
        ----------
        label : int
            Label of the source.

        Returns
        -------
        tuple of int or None
            Number of its group in ``groups``, and its place in that;
            `None` if it is in none.
        """
        return self._places.get(label)

    @cached_property
    def _places(self):
        return {label: (number, place)
                for number, group in enumerate(self.groups)
                for place, label in enumerate(group.labels)}

    def _listed(self, labels):
        """Labels as a list of those that are known."""
        if labels is None:
            return self.labels.tolist()
        return [self[label].label for label in np.ravel(labels)]

    def flux_cov(self, labels=None):
        """
        Covariance of fluxes, between bands and between sources.

        It holds neighbours, shapes and profiles as ``flux_err`` does, the
        square of which is its diagonal. Sources not fitted at once have
        none in common.

        Parameters
        ----------
        labels : int or sequence of int or None, optional
            One source, or some; `None`: all, which for ``n`` sources
            takes ``8 * (n * n_bands) ** 2`` bytes.

        Returns
        -------
        array, (n_bands, n_bands) or (n, n_bands, n, n_bands)
            In squares of the unit of the data; the first for one label.
            Without band axes for 2D data.

        Raises
        ------
        KeyError
            If there is no such label.
        """
        cov = flux_covariance(self, self._listed(labels))
        if self.is_2d:
            cov = cov[:, 0, :, 0]
        if np.ndim(labels) == 0 and labels is not None:
            cov = cov[0, 0] if self.is_2d else cov[0, :, 0]
        return cov if self.unit is None else cov << self.unit ** 2

    def sample(self, n_samples, labels=None, *, rng=None):
        """
        Draw from the posterior of fluxes, positions and shapes.

        The posterior is normal about the best fit, as the errors in the
        table are, and sources fitted at once are drawn together. Fluxes
        may come out negative.

        Parameters
        ----------
        n_samples : int
            How many samples.
        labels : int or sequence of int or None, optional
            Sources; `None`: all.
        rng : int or `numpy.random.Generator` or None, optional
            Seed or source of randomness.

        Returns
        -------
        PosteriorSamples
            With the arrays ``flux``, ``(n_samples, n_sources, n_bands)``
            (no band axis for 2D data), and ``parameters`` by name.

        Raises
        ------
        KeyError
            If there is no such label.
        ValueError
            If a source was not fitted, or the number is not positive.
        """
        drawn = draw_samples(self, n_samples, self._listed(labels),
                             np.random.default_rng(rng))
        flux = drawn.flux[..., 0] if self.is_2d else drawn.flux
        return replace(drawn, flux=attach_unit(flux, self.unit))

    def colors(self, *bands):
        """
        AB colours with errors that count what bands have in common.

        Parameters
        ----------
        *bands : str or int
            Two bands or more; each pair that follows makes a colour.

        Returns
        -------
        `~astropy.table.QTable`
            ``label`` and, for each pair, ``'A-B'`` and ``'A-B_err'`` in
            magnitudes; NaN where a flux is not positive.

        Raises
        ------
        BandMismatchError
            If there is no such band, or fewer than two are given.
        ValueError
            If there are no magnitudes: give a zeropoint.
        """
        from vaephot.photometry.flux_tables import color_table

        return color_table(self, bands)

    def posterior_mean_fluxes(self, **prior):
        """
        Fluxes under the prior that faint sources are many.

        The fluxes in the table have no prior. These are means over the
        true fluxes that counts of galaxies make likely, source by source
        and band by band; they lie lower.

        Parameters
        ----------
        **prior
            ``slope`` and ``faint_limit`` of
            `~vaephot.photometry.posterior_mean.posterior_mean_flux`.

        Returns
        -------
        `~astropy.table.QTable`
            ``label`` and, for each band, ``flux`` and ``flux_err`` (the
            scatter of the posterior), named as in the table.
        """
        from vaephot.photometry.flux_tables import posterior_mean_table

        return posterior_mean_table(self, **prior)

    def non_negative_fluxes(self):
        """
        Fluxes of the best fit of which none is negative.

        Where a flux is raised to zero, those of the sources fitted along
        change with it, by the covariance of the fit. The fluxes in the
        table may be negative, which keeps means over sources unbiased;
        these do not.

        Returns
        -------
        `~astropy.table.QTable`
            ``label`` and a ``flux`` for each band.
        """
        from vaephot.photometry.flux_tables import non_negative_table

        return non_negative_table(self)

    # ------------------------------------------------------- catalogues
    def aperture_table(self, radii=(), *, kron=True, bands=None):
        """
        Table with aperture and Kron fluxes on the deblended images.

        Parameters
        ----------
        radii : sequence of float or `~astropy.units.Quantity`, optional
            Radii of circular apertures about the fitted positions, in
            pixels of the first band or as angles.
        kron : bool, optional
            Whether to add Kron fluxes. Their ellipses are those of the
            first band, as in photutils with a detection catalogue; bands
            on grids of their own each have one of their own.
        bands : sequence of str or int or None, optional
            Bands to measure; `None`: all.

        Returns
        -------
        `~astropy.table.QTable`
            The columns of ``table``, then ``aperture_flux_<i>`` and
            ``aperture_flux_err_<i>`` for the ``i``-th radius (from 0),
            and ``kron_flux``, ``kron_flux_err``, each with the name of
            the band behind. ``meta['aperture_radii']`` holds the radii.

        Raises
        ------
        ValueError
            If a radius is not positive, or an angle without a WCS.
        """
        from vaephot.photometry.apertures import aperture_table

        return aperture_table(self, radii, kron=kron, bands=bands)

    def euclid_table(self, *, kron=False):
        """
        Table with the names of the Euclid MER catalogues.

        Parameters
        ----------
        kron : bool, optional
            Whether to add Kron fluxes and radii, which takes longer.

        Returns
        -------
        `~astropy.table.QTable`
            See `vaephot.photometry.euclid` for its columns. Fluxes are in
            microjansky where the zeropoint is known.
        """
        from vaephot.photometry.euclid import euclid_table

        return euclid_table(self, kron=kron)

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
        from vaephot.results.plotting import plot_source

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
        from vaephot.results.plotting import plot_segments

        return plot_segments(self, band=band, ax=ax)

    # ----------------------------------------------------------- exports
    def to_regions(self, scale=1.0):
        """
        Ellipses of the sources, for ds9 and astropy.

        Parameters
        ----------
        scale : float, optional
            Semi-axes over those of the ellipse that holds half the light
            of a source, PSF removed.

        Returns
        -------
        `~regions.Regions`
            In pixels of the first band: an ellipse for each galaxy, a
            point for each star (``p_point`` above 0.5) and each source
            without a radius, with the label as its text. Sources without
            a position have none. ``to_sky(wcs)`` of each region turns it
            into one on the sky.

        Raises
        ------
        MissingDependencyError
            If the package regions is not installed.
        """
        from vaephot.results.exports import make_regions

        return make_regions(self, scale)

    def cutouts(self, labels=None):
        """
        Stamps of sources as FITS images.

        Parameters
        ----------
        labels : int or sequence of int or None, optional
            Sources; `None`: all.

        Returns
        -------
        `~astropy.io.fits.HDUList`
            For each source the extensions ``DATA_<label>``,
            ``IMAGE_<label>`` (its share of the data) and
            ``MODEL_<label>`` in its box, with the WCS of the box; with the
            name of the band behind where bands have grids of their own.

        Raises
        ------
        KeyError
            If there is no such label.
        """
        from vaephot.results.exports import make_cutouts

        return make_cutouts(self, self._listed(labels))

    def to_html(self, path, *, max_sources=500, overwrite=False):
        """
        Write a page with pictures of the frame and of each source.

        The page needs nothing besides itself. It shows three bands as
        red, green and blue (the last, middle and first one), fewer bands
        and those on grids of their own by the first.

        Parameters
        ----------
        path : path-like
            The file.
        max_sources : int, optional
            Sources shown at most, the first of the table.
        overwrite : bool, optional
            Whether an existing file may be replaced.

        Raises
        ------
        OutputExistsError
            If the file exists and ``overwrite`` is False.
        """
        from vaephot.results.html import result_page
        from vaephot.utils.atomic import atomic_write

        with atomic_write(path, overwrite=overwrite) as temporary:
            temporary.write_text(result_page(self, max_sources),
                                 encoding='utf-8')

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
        from vaephot.results.fits_io import write_result

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
        from vaephot.results.fits_io import read_result

        return cls(**read_result(path))
