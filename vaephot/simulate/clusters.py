# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Clusters of galaxies: a brightest galaxy, light between, and members.

Members follow a Schechter function, a projected Plummer law and one red
sequence; the brightest galaxy is a de Vaucouleurs law, the light
between the galaxies an exponential many times larger.
"""

from dataclasses import dataclass

import numpy as np

from vaephot.exceptions import CatalogError
from vaephot.simulate._checks import check_count, check_number
from vaephot.simulate.catalog.mock import MockCatalog
from vaephot.simulate.catalog.population import CatalogGalaxy
from vaephot.simulate.galaxies import Galaxy
from vaephot.simulate.instrument import Source, source_of

__all__ = ['Cluster', 'draw_cluster']

# Schechter function of the members: magnitude of the knee below that of
# the brightest galaxy, and faint slope (of red galaxies).
KNEE = 1.5
FAINT_SLOPE = -1.0

# Scatter of the red sequence in mag, and galaxies that it is chosen of.
SEQUENCE_SCATTER = 0.04
SEQUENCE_CHOICE = 40

# Smallest radius of a cluster's galaxy or of the cluster.
MIN_RADIUS_ARCSEC = 0.01

# Sersic index of the brightest galaxy and of the light between.
BCG_INDEX = 4.0
ICL_INDEX = 1.0


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """
    A cluster; magnitudes are VIS.

    Parameters
    ----------
    x, y : float or None, optional
        Place in pixels. `None` draws it.
    bcg_mag : float, optional
        Magnitude of the brightest galaxy.
    bcg_radius : float, optional
        Its half-light radius in arcsec.
    icl_share : float, optional
        Flux of the light between the galaxies over that of the
        brightest one.
    icl_radius : float, optional
        Its half-light radius in arcsec.
    n_members : int, optional
        Number of members.
    member_radius : float, optional
        Radius in arcsec that holds half of them.
    faintest_mag : float, optional
        Magnitude of the faintest member.
    """

    x: float | None = None
    y: float | None = None
    bcg_mag: float = 18.0
    bcg_radius: float = 3.0
    icl_share: float = 0.3
    icl_radius: float = 12.0
    n_members: int = 40
    member_radius: float = 20.0
    faintest_mag: float = 25.5

    def __post_init__(self):
        for name in ('bcg_radius', 'icl_radius', 'member_radius'):
            check_number('a cluster', name, getattr(self, name),
                         low=MIN_RADIUS_ARCSEC)
        check_count('a cluster', 'n_members', self.n_members)
        check_number('a cluster', 'icl_share', self.icl_share)
        if not self.bcg_mag < self.faintest_mag:
            msg = (f'bcg_mag is {self.bcg_mag} and faintest_mag '
                   f'{self.faintest_mag}; the first must be smaller.')
            raise CatalogError(msg, bcg_mag=self.bcg_mag)


def _member_mags(rng, cluster):
    """Magnitudes of the members, from the Schechter function."""
    grid = np.linspace(cluster.bcg_mag + 0.5, cluster.faintest_mag, 200)
    light = 10 ** (-0.4 * (grid - cluster.bcg_mag - KNEE))
    density = light ** (FAINT_SLOPE + 1) * np.exp(-light)
    total = np.cumsum(density)
    return np.interp(rng.random(cluster.n_members) * total[-1], total, grid)


def _member_places(rng, cluster, pixel_scale):
    """Offsets of the members from the middle, in pixels, (n, 2)."""
    u = rng.random(cluster.n_members)
    # projected Plummer: half of the members within member_radius; the
    # outermost five per cent are left out
    u = 0.95 * u
    radius = cluster.member_radius / pixel_scale * np.sqrt(u / (1 - u))
    angle = rng.uniform(0, 2 * np.pi, cluster.n_members)
    return np.column_stack([radius * np.cos(angle), radius * np.sin(angle)])


def _red_galaxy(rng, survey):
    """The reddest of some mock galaxies, with colours and a redshift."""
    found = MockCatalog().draw(rng, np.full(SEQUENCE_CHOICE, 20.5),
                               ['VIS', 'g', *survey.catalog_bands])
    return max(found, key=lambda item: item.mags[1] - item.mags[0])


def _early_type(rng, radius, index, axis_ratio, angle):
    return Galaxy(disk_radius=float(radius), bulge_radius=float(radius),
                  disk_axis_ratio=float(axis_ratio),
                  bulge_axis_ratio=float(axis_ratio),
                  position_angle=float(angle), bulge_fraction=1.0,
                  sersic_index=index)


def draw_cluster(rng, cluster, survey, x, y, *, population=None):
    """
    Draw the sources of a cluster.

    Parameters
    ----------
    rng : `numpy.random.Generator`
        Source of randomness.
    cluster : `Cluster`
        The cluster.
    survey : `~vaephot.simulate.survey.Survey`
        Gives bands and pixels.
    x, y : float
        Its middle in pixels.
    population : population or None, optional
        Where shapes of members come from. `None` is the mock catalogue.

    Returns
    -------
    list of `~vaephot.simulate.instrument.Source`
        The brightest galaxy first, then the light between, if any, and
        the members.
    """
    population = MockCatalog() if population is None else population
    red = _red_galaxy(rng, survey)
    color = red.mags[2:] - red.mags[0]
    n_bands = len(color)
    angle, ratio = rng.uniform(0, np.pi), rng.uniform(0.6, 0.95)

    def item(galaxy, mag, noise=0.0):
        shift = rng.normal(0, SEQUENCE_SCATTER, n_bands) * noise
        return CatalogGalaxy(galaxy=galaxy, mags=mag + color + shift,
                             bulge_fractions=np.ones(n_bands),
                             redshift=red.redshift)

    bcg = _early_type(rng, cluster.bcg_radius, BCG_INDEX, ratio, angle)
    out = [source_of(item(bcg, cluster.bcg_mag), x, y, 'bcg')]
    if cluster.icl_share > 0:
        icl = _early_type(rng, cluster.icl_radius, ICL_INDEX, ratio, angle)
        mag = cluster.bcg_mag - 2.5 * np.log10(cluster.icl_share)
        out.append(source_of(item(icl, mag), x, y, 'icl'))
    mags = _member_mags(rng, cluster)
    shapes = population.draw(rng, mags, survey.catalog_bands)
    for place, mag, shape in zip(_member_places(rng, cluster,
                                                survey.pixel_scale),
                                 mags, shapes, strict=True):
        placed = source_of(item(shape.galaxy, mag, 1.0), *(place + (x, y)),
                           'member')
        out.append(_with_bulge(placed, shape))
    return out


def _with_bulge(source, shape):
    """Give a member the bulge fractions of its shape."""
    return Source(x=source.x, y=source.y, mags=source.mags,
                  galaxy=shape.galaxy, kind=source.kind,
                  bulge_fractions=shape.bulge_fractions,
                  redshift=source.redshift, parent=shape.parent)
