# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Read galaxy catalogues such as Euclid's Flagship as CosmoHub exports it.

``FLAGSHIP_COLUMNS`` names the columns; another catalogue needs another
mapping. Conventions of Flagship [1]_: half-light radii along the major
axis in arcsec; axis ratios minor over major; ``disk_angle`` from north
to east in degrees, for bulge and disk; fluxes per frequency in
erg/s/cm2/Hz; a galaxy whose ``disk_r50`` is not positive is a bulge
alone, one whose ``bulge_r50`` is not positive a disk alone;
``galaxy_id`` repeats between haloes.

References
----------
.. [1] Castander et al. 2025, A&A 697, A5 (arXiv:2405.13495).
"""

import hashlib
import logging
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np

from vaephot.exceptions import CatalogError
from vaephot.simulate._checks import check_count
from vaephot.simulate.catalog.population import (
    REFERENCE_BAND,
    CatalogGalaxy,
    check_mag_limits,
)
from vaephot.simulate.catalog.readers import (
    CHUNK_ROWS,
    iterate_columns,
    read_column_names,
)
from vaephot.simulate.disk_features import Structure, draw_structure
from vaephot.simulate.galaxies import Galaxy, round_index

__all__ = ['FLAGSHIP_COLUMNS', 'CatalogSample', 'ColumnMapping',
           'iterate_catalog', 'sample_catalog']

logger = logging.getLogger(__name__)

# Bands of the package and their names in Flagship.
_FLUXES = {'VIS': 'euclid_vis', 'Y': 'euclid_nisp_y', 'J': 'euclid_nisp_j',
           'H': 'euclid_nisp_h',
           **{band: f'lsst_{band}' for band in 'ugrizy'}}

# erg/s/cm2/Hz in a microjansky, and AB magnitude of a microjansky.
FNU_PER_MICROJANSKY = 1e-29
ZEROPOINT = 23.9

# What columns other than fluxes can mean.
PLAIN_COLUMNS = ('id', 'halo', 'redshift', 'bulge_fraction', 'bulge_radius',
                 'disk_radius', 'bulge_axis_ratio', 'disk_axis_ratio',
                 'bulge_index', 'angle', 'gamma1', 'gamma2', 'kappa')
NEEDED_COLUMNS = ('bulge_fraction', 'bulge_radius', 'disk_radius')

# Rows with larger reduced shear are dropped: such images are arcs.
MAX_SHEAR = 0.5

# Smallest axis ratio that is drawn, and the sizes that are allowed.
MIN_AXIS_RATIO = 0.05
MAX_RADIUS_ARCSEC = 60.0


@dataclass(frozen=True, kw_only=True)
class ColumnMapping:
    """
    Columns of a catalogue, by what they mean.

    `None` stands for a column that the catalogue lacks.

    Parameters
    ----------
    id, halo : str or None, optional
        Numbers that together are of one galaxy alone.
    redshift : str or None, optional
        Redshift.
    bulge_fraction : str, optional
        Share of the bulge in the flux, of all bands.
    bulge_radius, disk_radius : str, optional
        Half-light radii in arcsec.
    bulge_axis_ratio, disk_axis_ratio : str or None, optional
        Axis ratios; the bulge takes that of the disk without one, and
        both are round without any.
    bulge_index : str or None, optional
        Sersic index of the bulge; 4 without one.
    angle : str or None, optional
        Position angle in degrees from north to east; random without
        one.
    gamma1, gamma2, kappa : str or None, optional
        Shear and convergence of gravitational lenses, along right
        ascension and declination as drawn by `draw_field` (x to the
        west).
    fluxes : mapping of str to str, optional
        Columns of the bands.
    suffix : str, optional
        What is put behind the names of the fluxes, such as
        ``_el_model3_ext`` for fluxes with emission lines and dust.
    flux_kind : {'fnu', 'microjansky', 'mag'}, optional
        Fluxes in erg/s/cm2/Hz, in microjansky, or AB magnitudes.
    radii_along_major : bool, optional
        Whether radii are along the major axis, not circularised.
    """

    id: str | None = 'galaxy_id'
    halo: str | None = 'halo_id'
    redshift: str | None = 'true_redshift_gal'
    bulge_fraction: str = 'bulge_fraction'
    bulge_radius: str = 'bulge_r50'
    disk_radius: str = 'disk_r50'
    bulge_axis_ratio: str | None = 'bulge_axis_ratio'
    disk_axis_ratio: str | None = 'disk_axis_ratio'
    bulge_index: str | None = 'bulge_nsersic'
    angle: str | None = 'disk_angle'
    gamma1: str | None = 'gamma1'
    gamma2: str | None = 'gamma2'
    kappa: str | None = 'kappa'
    fluxes: MappingProxyType = field(
        default_factory=lambda: MappingProxyType(_FLUXES))
    suffix: str = ''
    flux_kind: str = 'fnu'
    radii_along_major: bool = True

    def __post_init__(self):
        if self.flux_kind not in ('fnu', 'microjansky', 'mag'):
            msg = (f'flux_kind is {self.flux_kind!r}; choose fnu, '
                   f'microjansky or mag.')
            raise CatalogError(msg, flux_kind=self.flux_kind)
        for name in NEEDED_COLUMNS:
            if getattr(self, name) is None:
                msg = f'a catalogue cannot be read without {name}.'
                raise CatalogError(msg, missing=name)

    def renamed(self, columns):
        """
        Return the mapping with other columns.

        Parameters
        ----------
        columns : dict of str
            Columns by what they mean: parameters of the mapping, or
            ``flux_`` and a band. `None` or an empty name stands for a
            column that the catalogue lacks.

        Returns
        -------
        `ColumnMapping`

        Raises
        ------
        CatalogError
            If a key is unknown.

        Examples
        --------
        >>> from vaephot.simulate import ColumnMapping
        >>> mine = ColumnMapping().renamed({'redshift': 'z', 'halo': '',
        ...                                 'flux_VIS': 'vis'})
        >>> mine.redshift, mine.halo, mine.fluxes['VIS']
        ('z', None, 'vis')
        """
        fluxes, plain = dict(self.fluxes), {}
        for key, name in columns.items():
            if key.startswith('flux_') and name:
                fluxes[key.removeprefix('flux_')] = name
            elif key in PLAIN_COLUMNS:
                plain[key] = name or None
            else:
                msg = (f'a mapping has no column {key!r}; it has '
                       f'{", ".join(PLAIN_COLUMNS)} and flux_BAND.')
                raise CatalogError(msg, key=key)
        return replace(self, fluxes=MappingProxyType(fluxes), **plain)

    def columns(self, bands):
        """
        Columns to read, by what they mean.

        Parameters
        ----------
        bands : sequence of str
            Bands to read.

        Returns
        -------
        dict of str

        Raises
        ------
        CatalogError
            If a band has no column.
        """
        out = {name: getattr(self, name) for name in PLAIN_COLUMNS
               if getattr(self, name) is not None}
        for band in bands:
            if band not in self.fluxes:
                msg = (f'the mapping has no flux of band {band}; it has '
                       f'{", ".join(self.fluxes)}. Add it to fluxes=.')
                raise CatalogError(msg, band=band)
            out[f'flux_{band}'] = self.fluxes[band] + self.suffix
        return out


FLAGSHIP_COLUMNS = ColumnMapping()


def _check_columns(path, columns):
    """Refuse a file that lacks columns, and name what to set."""
    have = set(read_column_names(path))
    missing = {key: name for key, name in columns.items()
               if name not in have}
    if missing:
        wanted = ', '.join(f'{name!r} (mapping {key})'
                           for key, name in missing.items())
        msg = (f'{path} lacks the columns {wanted}; name those it has '
               f'instead in a ColumnMapping (--column on the command '
               f'line), or set an optional one to None. It has '
               f'{", ".join(sorted(have))}.')
        raise CatalogError(msg, path=str(path), missing=missing)


def _standard_rows(raw, mapping, bands):
    """Columns of a piece in the units of the package, and what is used."""
    n = len(next(iter(raw.values())))

    def get(name, default):
        return np.asarray(raw.get(name, np.full(n, default)), float)

    rows = {name: get(name, default) for name, default in (
        ('redshift', np.nan), ('bulge_fraction', np.nan),
        ('bulge_radius', np.nan), ('disk_radius', np.nan),
        ('disk_axis_ratio', 1.0), ('bulge_index', 4.0),
        ('angle', np.nan), ('gamma1', 0.0), ('gamma2', 0.0),
        ('kappa', 0.0))}
    rows['bulge_axis_ratio'] = np.asarray(
        raw.get('bulge_axis_ratio', rows['disk_axis_ratio']), float)
    flux = np.array([np.asarray(raw[f'flux_{band}'], float)
                     for band in bands])
    rows['mags'] = _magnitudes(flux, mapping.flux_kind).T
    rows['parent'] = _parents(raw, n)
    return rows


def _magnitudes(flux, kind):
    """AB magnitudes; infinite where a flux is 0, NaN if impossible."""
    if kind == 'mag':
        return np.where((flux > 0) & (flux < 50), flux, np.nan)
    scale = FNU_PER_MICROJANSKY if kind == 'fnu' else 1.0
    with np.errstate(divide='ignore', invalid='ignore'):
        mags = ZEROPOINT - 2.5 * np.log10(flux / scale)
    return np.where(np.isneginf(mags), np.nan, mags)


def _parents(raw, n):
    """Numbers of the galaxies; -1 without columns of numbers."""
    number = np.asarray(raw.get('id', np.full(n, -1)))
    halo = np.asarray(raw.get('halo', np.zeros(n)))
    with np.errstate(invalid='ignore', over='ignore'):
        number, halo = number.astype(np.int64), halo.astype(np.int64)
        # galaxies are counted within haloes: mix both numbers
        mixed = (number + halo * 10_007) & (2 ** 62 - 1)
    return mixed if 'id' in raw else np.full(n, -1, np.int64)


def _clean(rows, mapping):
    """Repair the known quirks; True where a row can be used."""
    share = rows['bulge_fraction']
    bulge, disk = rows['bulge_radius'], rows['disk_radius']
    no_disk, no_bulge = ~(disk > 0), ~(bulge > 0)
    share = np.where(no_disk, 1.0, np.where(no_bulge, 0.0, share))
    rows['bulge_fraction'] = share
    for part, other in (('disk', bulge), ('bulge', disk)):
        radius = rows[f'{part}_radius']
        ratio = rows[f'{part}_axis_ratio']
        ratio = np.where((ratio > 0) & (ratio <= 1), ratio, 1.0)
        rows[f'{part}_axis_ratio'] = np.maximum(ratio, MIN_AXIS_RATIO)
        rows[f'{part}_radius'] = np.where(radius > 0, radius, other)
        if mapping.radii_along_major:
            rows[f'{part}_radius'] = rows[f'{part}_radius'] * np.sqrt(
                rows[f'{part}_axis_ratio'])
    rows['bulge_index'] = np.where(np.isfinite(rows['bulge_index']),
                                   rows['bulge_index'], 4.0)
    with np.errstate(divide='ignore', invalid='ignore'):
        g1, g2 = (rows[name] / (1 - rows['kappa'])
                  for name in ('gamma1', 'gamma2'))
    rows['g1'], rows['g2'] = g1, g2
    small = (rows['disk_radius'] < MAX_RADIUS_ARCSEC) & (
        rows['bulge_radius'] < MAX_RADIUS_ARCSEC)
    # dropouts have no light at all in blue bands, but a magnitude in VIS
    bright = (np.isfinite(rows['mags'][:, 0])
              & ~np.isnan(rows['mags']).any(axis=1))
    return (bright & (share >= 0)
            & (share <= 1) & ~(no_disk & no_bulge) & small
            & (np.hypot(g1, g2) < MAX_SHEAR))


def iterate_catalog(path, bands, *, mapping=FLAGSHIP_COLUMNS,
                    chunk_rows=CHUNK_ROWS):
    """
    Go through a catalogue piece by piece.

    Parameters
    ----------
    path : path-like
        FITS, parquet or CSV file, also compressed.
    bands : sequence of str
        Bands whose fluxes are read; in the first each galaxy has light.
    mapping : `ColumnMapping`, optional
        Names of the columns; those of Flagship by default.
    chunk_rows : int, optional
        Most rows of a piece.

    Yields
    ------
    rows : dict of ndarray
        Usable rows: radii circularised in arcsec, ``mags`` of shape
        (n, n_bands), infinite without light, ``g1``, ``g2`` of lenses,
        ``parent`` and others.
    n_dropped : int
        Rows of the piece that cannot be used: negative or unknown
        fluxes, none in the first band, shares outside 0 to 1, no
        positive radius, strong lensing.

    Raises
    ------
    CatalogError
        If the file is missing, damaged, or lacks columns.
    """
    columns = mapping.columns(bands)
    _check_columns(path, columns)
    for raw in iterate_columns(path, list(dict.fromkeys(columns.values())),
                               chunk_rows=chunk_rows):
        named = {key: raw[name] for key, name in columns.items()}
        rows = _standard_rows(named, mapping, bands)
        good = _clean(rows, mapping)
        yield ({name: values[good] for name, values in rows.items()},
               int((~good).sum()))


def sample_catalog(path, n_galaxies, bands, *, seed, mag_limits=None,
                   mapping=FLAGSHIP_COLUMNS, chunk_rows=CHUNK_ROWS):
    """
    Draw galaxies of a catalogue at random, in one pass.

    Only the sample is held in memory, and it does not depend on the
    size of the pieces.

    Parameters
    ----------
    path : path-like
        FITS, parquet or CSV file, also compressed.
    n_galaxies : int
        Size of the sample; all usable rows if there are fewer.
    bands : sequence of str
        Bands to keep; the reference band, VIS, is always read.
    seed : int
        Seed of the choice.
    mag_limits : tuple of float or None, optional
        Brightest and faintest reference magnitude. `None` keeps all.
    mapping : `ColumnMapping`, optional
        Names of the columns; those of Flagship by default.
    chunk_rows : int, optional
        Rows of a piece.

    Returns
    -------
    `CatalogSample`

    Raises
    ------
    CatalogError
        If no row is left, or as for `iterate_catalog`.
    """
    check_count('a sample', 'n_galaxies', n_galaxies, low=1)
    bands = list(dict.fromkeys([REFERENCE_BAND, *bands]))
    if mag_limits is not None:
        check_mag_limits(mag_limits)
    rng, kept = np.random.default_rng(seed), None
    n_seen, n_dropped = 0, 0
    for rows, dropped in iterate_catalog(path, bands, mapping=mapping,
                                         chunk_rows=chunk_rows):
        n_dropped += dropped
        n_seen += dropped + len(rows['parent'])
        # one number per usable row; the smallest ones win
        rows['key'] = rng.random(len(rows['parent']))
        if mag_limits is not None:
            mag = rows['mags'][:, 0]
            rows = _take(rows, (mag >= mag_limits[0])
                         & (mag <= mag_limits[1]))
        kept = rows if kept is None else {
            name: np.concatenate([kept[name], rows[name]]) for name in rows}
        if len(kept['key']) > n_galaxies:
            best = np.argpartition(kept['key'], n_galaxies)[:n_galaxies]
            kept = _take(kept, np.sort(best))
    if kept is None or len(kept['key']) == 0:
        limits = '' if mag_limits is None else (
            f' with {REFERENCE_BAND} from {mag_limits[0]} to '
            f'{mag_limits[1]}')
        msg = (f'no galaxy is left of the {n_seen} rows of {path}{limits}; '
               f'{n_dropped} could not be used. Widen mag_limits or check '
               f'flux_kind and the mapping.')
        raise CatalogError(msg, path=str(path), n_rows=n_seen)
    if n_dropped:
        logger.warning('%s: %d of %d rows cannot be used and were dropped',
                       path, n_dropped, n_seen)
    return CatalogSample(rows=kept, bands=tuple(bands), n_dropped=n_dropped)


def _take(rows, chosen):
    return {name: values[chosen] for name, values in rows.items()}


@dataclass(frozen=True, kw_only=True)
class CatalogSample:
    """
    Galaxies of a catalogue that scenes can be drawn from.

    Parameters
    ----------
    rows : dict of ndarray
        As `iterate_catalog` yields them.
    bands : tuple of str
        Bands of ``mags``, the reference band first.
    n_dropped : int
        Rows of the catalogue that could not be used.
    with_structure : bool, optional
        Whether disks get knots, arms and bars, which Flagship lacks.
    """

    rows: dict = field(repr=False)
    bands: tuple[str, ...]
    n_dropped: int = 0
    with_structure: bool = True

    def __len__(self):
        return len(self.rows['parent'])

    @property
    def fingerprint(self):
        """SHA-256 of all that scenes follow from, a str."""
        digest = hashlib.sha256(repr(
            (self.bands, self.with_structure)).encode())
        for name in sorted(self.rows):
            digest.update(np.ascontiguousarray(self.rows[name]))
        return digest.hexdigest()

    def draw(self, rng, mags, bands):
        """
        Draw galaxies of given magnitudes.

        Parameters
        ----------
        rng : `numpy.random.Generator`
            Source of randomness.
        mags : array_like (n,)
            AB magnitudes in the reference band. Each galaxy is one of
            the twenty nearest in magnitude, brought to the wanted one
            with its colours.
        bands : sequence of str
            Bands to return.

        Returns
        -------
        list of `~vaephot.simulate.catalog.population.CatalogGalaxy`

        Raises
        ------
        CatalogError
            If a band was not read.
        """
        unknown = [band for band in bands if band not in self.bands]
        if unknown:
            msg = (f'the sample has no band {unknown}; it has '
                   f'{", ".join(self.bands)}. Sample the catalogue again '
                   f'with these bands.')
            raise CatalogError(msg, bands=unknown)
        order = np.argsort(self.rows['mags'][:, 0], kind='stable')
        sorted_mags = self.rows['mags'][order, 0]
        columns = [self.bands.index(band) for band in bands]
        out = []
        for mag in np.asarray(mags, float):
            place = int(np.searchsorted(sorted_mags, mag))
            low = min(max(place - 10, 0), max(len(self) - 20, 0))
            row = int(order[rng.integers(low, min(low + 20, len(self)))])
            out.append(self._galaxy(rng, row, mag, columns))
        return out

    def _galaxy(self, rng, row, mag, columns):
        """One row, brought to a magnitude."""
        r = {name: values[row] for name, values in self.rows.items()}
        angle = r['angle']
        # from north over east, east being -x: 90 degrees more from +x
        angle = (rng.uniform(0, np.pi) if np.isnan(angle)
                 else np.deg2rad(90 + angle) % np.pi)
        structure = draw_structure(rng) if self.with_structure else Structure()
        galaxy = Galaxy(
            disk_radius=float(r['disk_radius']),
            bulge_radius=float(r['bulge_radius']),
            disk_axis_ratio=float(r['disk_axis_ratio']),
            bulge_axis_ratio=float(r['bulge_axis_ratio']),
            bulge_fraction=float(r['bulge_fraction']),
            bulge_index=round_index(r['bulge_index']),
            position_angle=float(angle), structure=structure,
            shear=(float(r['g1']), float(r['g2'])))
        mags = r['mags'][columns] + (mag - r['mags'][0])
        return CatalogGalaxy(
            galaxy=galaxy, mags=mags, redshift=float(r['redshift']),
            bulge_fractions=np.full(len(columns), r['bulge_fraction']),
            parent=int(r['parent']))

    def draw_mags(self, rng, n_galaxies, mag_limits):
        """
        Draw magnitudes as they are in the sample.

        Parameters
        ----------
        rng : `numpy.random.Generator`
            Source of randomness.
        n_galaxies : int
            Number of galaxies.
        mag_limits : tuple of float
            Bright and faint limit.

        Returns
        -------
        ndarray (n_galaxies,)

        Raises
        ------
        CatalogError
            If the sample has none within the limits.
        """
        inside = self._within(mag_limits)
        if len(inside) == 0 and n_galaxies > 0:
            mags = self.rows['mags'][:, 0]
            msg = (f'the sample has no galaxy with {REFERENCE_BAND} from '
                   f'{mag_limits[0]} to {mag_limits[1]}; it reaches from '
                   f'{mags.min():.2f} to {mags.max():.2f}.')
            raise CatalogError(msg, mag_limits=mag_limits)
        if n_galaxies == 0:
            return np.empty(0)
        return rng.choice(inside, n_galaxies)

    def _within(self, mag_limits):
        check_mag_limits(mag_limits)
        mags = self.rows['mags'][:, 0]
        return mags[(mags >= mag_limits[0]) & (mags <= mag_limits[1])]

    def counts_ratio(self, mag_limits, density_mag):
        """
        Galaxies within limits, over all brighter than a magnitude.

        Parameters
        ----------
        mag_limits : tuple of float
            Bright and faint limit.
        density_mag : float
            The magnitude.

        Returns
        -------
        float

        Raises
        ------
        CatalogError
            If no galaxy is brighter than the magnitude.
        """
        brighter = int((self.rows['mags'][:, 0] < density_mag).sum())
        if brighter == 0:
            msg = (f'the sample has no galaxy brighter than {density_mag}, '
                   f'so it has no density there; choose a fainter '
                   f'density_mag.')
            raise CatalogError(msg, density_mag=density_mag)
        return len(self._within(mag_limits)) / brighter

    def without_structure(self):
        """
        Return the sample with smooth disks.

        Returns
        -------
        `CatalogSample`
        """
        return replace(self, with_structure=False)
