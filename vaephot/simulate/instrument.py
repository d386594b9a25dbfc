# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Sources on the sky, and how they are drawn through an instrument."""

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from photutils.aperture import BoundingBox

from vaephot.simulate._checks import check_count, check_number
from vaephot.simulate.catalog.mock import MockCatalog
from vaephot.simulate.catalog.population import band_wavelengths
from vaephot.simulate.fourier_drawing import PSFStack, Renderer
from vaephot.simulate.galaxies import Galaxy
from vaephot.simulate.star_counts import draw_star_mags
from vaephot.simulate.survey import ZEROPOINT, get_survey, survey_psfs

__all__ = ['BRIGHT_STAR_MAG', 'Instrument', 'PSFVariation', 'Source',
           'blendedness', 'box_slices', 'draw_galaxy_source', 'draw_source',
           'draw_star_source', 'source_bbox', 'source_of']

# Stars brighter than this are drawn with the wings of the PSF: at the
# edge of a box of 127 pixels those are 2 per cent of the noise of VIS.
BRIGHT_STAR_MAG = 19.0


@dataclass(frozen=True, kw_only=True)
class Source:
    """
    A galaxy or a star at a place of the image.

    Parameters
    ----------
    x, y : float
        Position in pixels, the first pixel centre being 0.
    mags : ndarray (n_bands,)
        AB magnitudes, total.
    galaxy : galaxy or None, optional
        Shape, a `~vaephot.simulate.galaxies.Galaxy` or a
        `~vaephot.simulate.real.RealGalaxy`. `None` is a star.
    bulge_fractions : ndarray (n_bands,) or None, optional
        Share of the bulge in each band. `None` for a star.
    kind : str, optional
        What the source is: ``galaxy``, ``star``, or in clusters
        ``bcg``, ``icl`` and ``member``.
    redshift : float, optional
        Redshift; NaN if there is none.
    parent : int, optional
        Number in the catalogue, -1 without one.
    """

    x: float
    y: float
    mags: np.ndarray
    galaxy: Galaxy | None = None
    bulge_fractions: np.ndarray | None = None
    kind: str = 'galaxy'
    redshift: float = np.nan
    parent: int = -1

    @property
    def is_star(self):
        """Whether the source is a point."""
        return self.galaxy is None

    @property
    def flux(self):
        """Total fluxes in microjansky, (n_bands,)."""
        return 10 ** (-0.4 * (self.mags - ZEROPOINT))

    def moved(self, x, y):
        """
        Return the source at another place.

        Parameters
        ----------
        x, y : float
            Position in pixels.

        Returns
        -------
        `Source`
        """
        return replace(self, x=float(x), y=float(y))


@dataclass(frozen=True, kw_only=True)
class PSFVariation:
    """
    How the PSF changes across a field.

    Parameters
    ----------
    n_nodes : int, optional
        Nodes along each axis; between them PSFs are interpolated
        bilinearly, as `photutils.psf.GriddedPSFModel` does.
    widening : float, optional
        The PSF is wider by this share at the corners than in the
        middle.
    ellipticity : float, optional
        Reduced shear of the PSF at the corners, along the direction to
        the middle; none in the middle.
    """

    n_nodes: int = 3
    widening: float = 0.03
    ellipticity: float = 0.03

    def __post_init__(self):
        check_count('a PSF variation', 'n_nodes', self.n_nodes, low=2)
        check_number('a PSF variation', 'widening', self.widening, low=-0.9)
        check_number('a PSF variation', 'ellipticity', self.ellipticity,
                     low=-0.9, high=0.9)

    def nodes(self, shape):
        """
        Places of the nodes and the PSF there.

        Parameters
        ----------
        shape : tuple of int
            (ny, nx) of the field.

        Returns
        -------
        places : ndarray (n, 2)
            x and y in pixels, x changing fastest.
        changes : list of dict
            ``widening``, ``g1``, ``g2`` at each node.
        """
        ny, nx = shape
        x, y = np.meshgrid(np.linspace(0, nx - 1, self.n_nodes),
                           np.linspace(0, ny - 1, self.n_nodes))
        u = 2 * x.ravel() / max(nx - 1, 1) - 1
        v = 2 * y.ravel() / max(ny - 1, 1) - 1
        square, angle = (u ** 2 + v ** 2) / 2, 2 * np.arctan2(v, u)
        shear = self.ellipticity * square
        return np.column_stack([x.ravel(), y.ravel()]), [
            {'widening': float(1 + self.widening * s), 'g1': float(g1),
             'g2': float(g2)} for s, g1, g2 in
            zip(square, shear * np.cos(angle), shear * np.sin(angle),
                strict=True)]


@dataclass(frozen=True, kw_only=True)
class _Nodes:
    """Where PSFs are known, for the weights of a place."""

    places: np.ndarray = field(repr=False)
    n: int

    def weights(self, x, y):
        """Shares of the nodes at a place, (n_nodes,)."""
        out = []
        for value, line in ((x, self.places[:self.n, 0]),
                            (y, self.places[::self.n, 1])):
            place = np.interp(value, line, np.arange(self.n))
            out.append(np.maximum(1 - abs(np.arange(self.n) - place), 0))
        return (out[1][:, None] * out[0]).ravel()


class Instrument:
    """
    A survey with its PSFs ready to draw.

    Parameters
    ----------
    survey : str or `~vaephot.simulate.survey.Survey`
        The survey.
    psf_pixels : int
        Side of the box that the PSFs are cut at, in pixels.
    variation : `PSFVariation` or None, optional
        How the PSF changes across the field. `None` means that it does
        not.
    shape : tuple of int or None, optional
        (ny, nx) of the field; needed with a variation.
    wing_pixels : int or None, optional
        Side of the box that bright stars are drawn in. `None` takes
        ``psf_pixels``. The wings beyond those of the PSF are the same
        across the field.
    """

    def __init__(self, survey, psf_pixels, *, variation=None, shape=None,
                 wing_pixels=None):
        self.survey = get_survey(survey)
        self.psf_pixels = psf_pixels
        self.variation = variation
        self.wing_pixels = (psf_pixels if wing_pixels is None
                            else max(wing_pixels, psf_pixels))
        self.wavelengths = band_wavelengths(self.survey.catalog_bands)
        self.psfs = survey_psfs(self.survey, psf_pixels)
        nodes, self._nodes, self.node_places = [self.psfs], None, None
        if variation is not None:
            places, changes = variation.nodes(shape)
            nodes = [survey_psfs(self.survey, psf_pixels, **change)
                     for change in changes]
            self._nodes = _Nodes(places=places, n=variation.n_nodes)
            self.node_places = places
        self.renderer = Renderer(PSFStack(nodes))

    def __repr__(self):
        return (f'Instrument({self.survey.name!r}, '
                f'psf_pixels={self.psf_pixels})')

    @cached_property
    def wing_renderer(self):
        """Draws bright stars, and the factors of their fluxes."""
        if self.wing_pixels == self.psf_pixels:
            return self.renderer, np.ones(len(self.psfs))
        wide = survey_psfs(self.survey, self.wing_pixels)
        # the same core as the PSF that is given away, wings beyond
        factors = [narrow.peak / psf.peak for narrow, psf in
                   zip(self.psfs, wide, strict=True)]
        return Renderer(PSFStack([wide])), np.array(factors)

    @cached_property
    def _middle_renderer(self):
        """Draws with the PSFs of the middle."""
        return Renderer(PSFStack([self.psfs]))

    def draw_star(self, source, bbox):
        """
        Draw a star without noise.

        Parameters
        ----------
        source : `Source`
            The star.
        bbox : `photutils.aperture.BoundingBox`
            Pixels to draw.

        Returns
        -------
        ndarray (n_bands, ny, nx)
            In microjansky.
        """
        def draw(renderer, flux, weights=None):
            return renderer.draw([], {'point': flux}, bbox, source.x,
                                 source.y, 0.0, weights=weights)

        weights = self.weights(source.x, source.y)
        if not self.has_wings(source):
            return draw(self.renderer, source.flux, weights)
        wide, factors = self.wing_renderer
        star = draw(wide, source.flux * factors)
        if weights is None:
            return star
        # the core of this place instead of that of the middle
        return (star + draw(self.renderer, source.flux, weights)
                - draw(self._middle_renderer, source.flux))

    @cached_property
    def psf_images(self):
        """Sampled PSFs of the middle, (n_bands, P, P), each of sum 1."""
        return np.array([psf.image for psf in self.psfs])

    @cached_property
    def node_images(self):
        """Sampled PSFs at the nodes, (n_bands, n_nodes, P, P), or None."""
        if self._nodes is None:
            return None
        return np.array([[psf.image for psf in node]
                         for node in self.renderer.stack.psfs]
                        ).swapaxes(0, 1)

    @property
    def oversampling(self):
        """Samples of the PSF per pixel."""
        return self.psfs[0].oversampling

    @cached_property
    def saturation_levels(self):
        """Largest pixel values in microjansky, (n_bands,)."""
        levels = []
        for band, psf in zip(self.survey.bands, self.psfs, strict=True):
            mag = band.saturation_mag
            levels.append(np.inf if mag is None
                          else 10 ** (-0.4 * (mag - ZEROPOINT)) * psf.peak)
        return np.array(levels)

    def weights(self, x, y):
        """
        Shares of the nodes of the PSF at a place.

        Parameters
        ----------
        x, y : float
            Position in pixels.

        Returns
        -------
        ndarray (n_nodes,) or None
            `None` if the PSF is the same everywhere.
        """
        return None if self._nodes is None else self._nodes.weights(x, y)

    def has_wings(self, source):
        """
        Whether a source is drawn with the wings of the PSF.

        Parameters
        ----------
        source : `Source`
            The source.

        Returns
        -------
        bool
        """
        return (source.is_star and self.wing_pixels > self.psf_pixels
                and source.mags.min() < BRIGHT_STAR_MAG)


def draw_galaxy_source(rng, survey, mag, x, y, *, disk_radius=None,
                       population=None):
    """
    Draw a galaxy of a catalogue.

    Parameters
    ----------
    rng : `numpy.random.Generator`
        Source of randomness.
    survey : `~vaephot.simulate.survey.Survey`
        Survey whose bands it is seen in.
    mag : float
        AB magnitude in VIS.
    x, y : float
        Position in pixels.
    disk_radius : float or None, optional
        Half-light radius of the disk in arcsec. `None` draws it.
    population : population or None, optional
        Where galaxies come from. `None` is the mock catalogue.

    Returns
    -------
    `Source`
    """
    population = MockCatalog() if population is None else population
    item = population.draw(rng, [mag], survey.catalog_bands)[0]
    if disk_radius is not None:
        size = getattr(item.galaxy, 'disk_radius',
                       item.galaxy.half_light_radius)
        item = replace(item, galaxy=item.galaxy.scaled(disk_radius / size))
    return source_of(item, x, y)


def source_of(item, x, y, kind='galaxy'):
    """
    Put a galaxy of a catalogue at a place.

    Parameters
    ----------
    item : `~vaephot.simulate.catalog.population.CatalogGalaxy`
        The galaxy.
    x, y : float
        Position in pixels.
    kind : str, optional
        What it is.

    Returns
    -------
    `Source`
    """
    return Source(x=float(x), y=float(y), mags=item.mags, kind=kind,
                  galaxy=item.galaxy, bulge_fractions=item.bulge_fractions,
                  redshift=item.redshift, parent=item.parent)


def draw_star_source(rng, survey, mag, x, y, *, star_field=None):
    """
    Draw a star.

    Parameters
    ----------
    rng : `numpy.random.Generator`
        Source of randomness.
    survey : `~vaephot.simulate.survey.Survey`
        Survey whose bands it is seen in.
    mag : float
        AB magnitude in VIS.
    x, y : float
        Position in pixels.
    star_field : `~vaephot.simulate.star_counts.StarField` or None, optional
        Direction on the sky, which sets the colours.

    Returns
    -------
    `Source`
    """
    mags = draw_star_mags(rng, [mag], survey.catalog_bands,
                          field=star_field)[0]
    return Source(x=float(x), y=float(y), mags=mags, kind='star',
                  redshift=0.0)


def source_bbox(source, instrument, shape):
    """
    Box that holds the light of a source, cut at the image.

    Parameters
    ----------
    source : `Source`
        The source.
    instrument : `Instrument`
        Gives the size of the PSF.
    shape : tuple of int
        (ny, nx) of the image.

    Returns
    -------
    `photutils.aperture.BoundingBox` or None
        `None` if nothing of it falls on the image.
    """
    half = (instrument.wing_pixels if instrument.has_wings(source)
            else instrument.psf_pixels) / 2
    if not source.is_star:
        half += source.galaxy.extent / instrument.survey.pixel_scale
    box = (max(int(np.floor(source.x - half)), 0),
           min(int(np.ceil(source.x + half)) + 1, shape[1]),
           max(int(np.floor(source.y - half)), 0),
           min(int(np.ceil(source.y + half)) + 1, shape[0]))
    if box[0] >= box[1] or box[2] >= box[3]:
        return None
    return BoundingBox(*box)


def draw_source(source, instrument, bbox):
    """
    Draw one source without noise.

    Parameters
    ----------
    source : `Source`
        The source.
    instrument : `Instrument`
        Survey and PSFs.
    bbox : `photutils.aperture.BoundingBox`
        Pixels to draw.

    Returns
    -------
    ndarray (n_bands, ny, nx)
        In microjansky.
    """
    if source.is_star:
        return instrument.draw_star(source, bbox)
    parts = source.galaxy.part_fluxes(source.bulge_fractions,
                                      instrument.wavelengths)
    return instrument.renderer.draw(
        source.galaxy.components(),
        {name: source.flux * share for name, share in parts.items()}, bbox,
        source.x, source.y, source.galaxy.extent,
        weights=instrument.weights(source.x, source.y))


def box_slices(bbox):
    """
    Index of the pixels of a box in all bands.

    Parameters
    ----------
    bbox : `photutils.aperture.BoundingBox`
        Box within the image.

    Returns
    -------
    tuple
        For arrays (n_bands, ny, nx).
    """
    return np.s_[:, bbox.iymin:bbox.iymax, bbox.ixmin:bbox.ixmax]


def blendedness(model, total):
    """
    How much of the light under a source is of others.

    Parameters
    ----------
    model : ndarray (n_bands, ny, nx)
        The source alone.
    total : ndarray (n_bands, ny, nx)
        All sources.

    Returns
    -------
    ndarray (n_bands,)
        1 - sum(s ** 2) / sum(s total), from 0 (alone) to 1; NaN where
        the source has no light.

    Examples
    --------
    >>> import numpy as np
    >>> from vaephot.simulate.instrument import blendedness
    >>> one = np.ones((1, 2, 2))
    >>> blendedness(one, 2 * one).tolist()
    [0.5]
    """
    model = np.asarray(model, float)
    own = (model ** 2).sum(axis=(-2, -1))
    shared = (model * total).sum(axis=(-2, -1))
    with np.errstate(divide='ignore', invalid='ignore'):
        return np.where(own > 0, 1 - own / shared, np.nan)
