# Licensed under a 3-clause BSD style license - see LICENSE.rst
import bz2
import gzip
import logging

import numpy as np
import pytest
from astropy.table import Table

from vaephot.exceptions import CatalogError, MissingDependencyError
from vaephot.simulate.catalog import (
    FLAGSHIP_COLUMNS,
    CatalogSample,
    ColumnMapping,
    iterate_catalog,
    sample_catalog,
)
from vaephot.simulate.instrument import draw_galaxy_source, source_of
from vaephot.simulate.survey import get_survey
from vaephot.utils.optional_deps import has_package

BANDS = ('VIS', 'Y', 'J', 'H')
N = 60
# usable rows: two fluxes, one share, one size, one lens are impossible
N_GOOD = N - 5


def flagship(suffix=''):
    """Small table in the layout of a Flagship export of CosmoHub."""
    rng = np.random.default_rng(1)
    mags = np.linspace(19, 26, N)
    vis = 1e-29 * 10 ** (-0.4 * (mags - 23.9))
    table = {
        'halo_id': np.arange(N) // 3, 'galaxy_id': np.arange(N) % 3,
        'ra_gal': rng.uniform(230, 231, N),
        'dec_gal': rng.uniform(65, 66, N),
        'true_redshift_gal': rng.uniform(0.1, 2, N),
        'bulge_fraction': rng.uniform(0, 0.9, N),
        'bulge_r50': rng.uniform(0.05, 0.3, N),
        'disk_r50': rng.uniform(0.1, 0.6, N),
        'bulge_axis_ratio': rng.uniform(0.3, 1, N),
        'disk_axis_ratio': rng.uniform(0.2, 1, N),
        'disk_angle': rng.uniform(-90, 90, N),
        'bulge_nsersic': rng.uniform(0.5, 5, N),
        'kappa': rng.normal(0, 0.01, N), 'gamma1': rng.normal(0, 0.01, N),
        'gamma2': rng.normal(0, 0.01, N), f'euclid_vis{suffix}': vis}
    for band, factor in zip('yjh', (1.5, 1.8, 2.0), strict=True):
        table[f'euclid_nisp_{band}{suffix}'] = factor * vis
    table['disk_r50'][4] = 0.0                 # a bulge alone
    table['disk_r50'][5] = -1.0
    table['bulge_r50'][6] = 0.0                # a disk alone
    table[f'euclid_vis{suffix}'][7] = np.nan   # unusable rows
    table[f'euclid_nisp_j{suffix}'][8] = -1e-30
    table['bulge_fraction'][9] = 1.4
    table['disk_r50'][10] = table['bulge_r50'][10] = np.nan
    table['gamma1'][11] = 0.9
    return Table(table)


def write(table, path):
    if path.suffix == '.parquet':
        import pyarrow as pa
        from pyarrow import parquet

        arrow = pa.table({n: np.array(table[n])
                               for n in table.colnames})
        parquet.write_table(arrow, path)
    elif path.suffix == '.fits':
        table.write(path)
    else:
        text = '# made by a query\n' + '\n'.join(
            [','.join(table.colnames),
             *(','.join(repr(v.item()) if np.isfinite(v) else ''
                        for v in row) for row in table)]) + '\n'
        opener = {'.gz': gzip.open, '.bz2': bz2.open}.get(path.suffix, open)
        with opener(path, 'wt', encoding='utf-8') as file:
            file.write(text)
    return path


@pytest.fixture(params=['f.fits', 'f.csv', 'f.csv.gz', 'f.csv.bz2',
                        'f.parquet'])
def path(request, tmp_path):
    if request.param.endswith('parquet') and not has_package('pyarrow'):
        pytest.skip('pyarrow is not installed')
    return write(flagship(), tmp_path / request.param)


def test_every_format_gives_the_same_rows(path):
    pieces = list(iterate_catalog(path, BANDS, chunk_rows=13))
    assert len(pieces) == 5
    assert sum(dropped for _, dropped in pieces) == 5
    mags = np.concatenate([rows['mags'] for rows, _ in pieces])
    assert mags.shape == (N_GOOD, 4)
    assert mags[0, 0] == pytest.approx(19)
    assert mags[0, 0] - mags[0, 3] == pytest.approx(2.5 * np.log10(2))


def test_radii_along_the_major_axis_are_circularised(tmp_path):
    table = flagship()
    path = write(table, tmp_path / 'f.fits')
    rows = next(iterate_catalog(path, BANDS))[0]
    expected = table['disk_r50'][0] * np.sqrt(table['disk_axis_ratio'][0])
    assert rows['disk_radius'][0] == pytest.approx(expected)
    mapping = ColumnMapping(radii_along_major=False)
    plain = next(iterate_catalog(path, BANDS, mapping=mapping))[0]
    assert plain['disk_radius'][0] == pytest.approx(table['disk_r50'][0])


def test_galaxies_of_one_part_are_bulges_or_disks(tmp_path):
    path = write(flagship(), tmp_path / 'f.fits')
    rows = next(iterate_catalog(path, BANDS))[0]
    assert rows['bulge_fraction'][[4, 5, 6]].tolist() == [1, 1, 0]
    assert (rows['disk_radius'] > 0).all()
    assert (rows['bulge_radius'] > 0).all()


def test_numbers_of_galaxies_are_unique_across_haloes(path):
    sample = sample_catalog(path, 1000, BANDS, seed=1)
    assert len(sample) == N_GOOD
    assert len(np.unique(sample.rows['parent'])) == N_GOOD


def test_a_sample_does_not_depend_on_the_pieces(path):
    one, two = (sample_catalog(path, 20, BANDS, seed=3, chunk_rows=n)
                for n in (7, 1000))
    assert len(one) == 20
    assert (one.rows['parent'] == two.rows['parent']).all()
    other = sample_catalog(path, 20, BANDS, seed=4)
    assert set(other.rows['parent']) != set(one.rows['parent'])


def test_dropped_rows_are_told_once(tmp_path, caplog):
    path = write(flagship(), tmp_path / 'f.fits')
    with caplog.at_level(logging.WARNING):
        sample = sample_catalog(path, 20, BANDS, seed=3, chunk_rows=7)
    assert sample.n_dropped == 5
    assert [r.getMessage() for r in caplog.records
            if '5 of 60 rows' in r.getMessage()]


@pytest.mark.parametrize(('kind', 'convert'), [
    ('microjansky', lambda f: f / 1e-29),
    ('mag', lambda f: 23.9 - 2.5 * np.log10(f / 1e-29))])
def test_fluxes_may_be_microjansky_or_magnitudes(tmp_path, kind, convert):
    table = flagship()
    for name in table.colnames:
        if name.startswith('euclid'):
            with np.errstate(invalid='ignore'):
                table[name] = convert(np.array(table[name]))
    path = write(table, tmp_path / 'f.fits')
    rows = next(iterate_catalog(path, BANDS, mapping=ColumnMapping(
        flux_kind=kind)))[0]
    assert rows['mags'][0, 0] == pytest.approx(19)


def test_variants_of_the_fluxes_are_read_by_their_suffix(tmp_path):
    path = write(flagship('_el_model3_ext'), tmp_path / 'f.fits')
    mapping = ColumnMapping(suffix='_el_model3_ext')
    assert len(sample_catalog(path, 99, BANDS, seed=1,
                              mapping=mapping)) == N_GOOD
    with pytest.raises(CatalogError, match=r"'euclid_vis' \(mapping flux_V"):
        sample_catalog(path, 99, BANDS, seed=1)


def test_missing_columns_are_named_with_the_mapping(tmp_path):
    table = flagship()
    table.remove_columns(['bulge_nsersic', 'gamma1'])
    path = write(table, tmp_path / 'f.fits')
    with pytest.raises(CatalogError, match='mapping bulge_index') as info:
        sample_catalog(path, 9, BANDS, seed=1)
    assert set(info.value.missing) == {'bulge_index', 'gamma1'}
    mapping = ColumnMapping(bulge_index=None, gamma1=None)
    assert len(sample_catalog(path, 9, BANDS, seed=1, mapping=mapping)) == 9


def test_mappings_name_what_they_cannot_be(tmp_path):
    with pytest.raises(CatalogError, match="no column 'size'"):
        ColumnMapping().renamed({'size': 'r50'})
    with pytest.raises(CatalogError, match='without disk_radius'):
        ColumnMapping().renamed({'disk_radius': ''})


def test_empty_selections_are_refused(tmp_path):
    path = write(flagship(), tmp_path / 'f.fits')
    with pytest.raises(CatalogError, match='no galaxy is left'):
        sample_catalog(path, 9, BANDS, seed=1, mag_limits=(10, 12))
    with pytest.raises(CatalogError, match='first'):
        sample_catalog(path, 9, BANDS, seed=1, mag_limits=(24, 22))


def test_other_trouble_is_named(tmp_path):
    with pytest.raises(CatalogError, match='there is no catalogue'):
        sample_catalog(tmp_path / 'no.fits', 9, BANDS, seed=1)
    (tmp_path / 'f.txt').write_text('x')
    with pytest.raises(CatalogError, match='must end in'):
        sample_catalog(tmp_path / 'f.txt', 9, BANDS, seed=1)
    path = write(flagship(), tmp_path / 'f.csv')
    path.write_text(path.read_text()[:-40])
    with pytest.raises(CatalogError, match='damaged or cut'):
        sample_catalog(path, 9, BANDS, seed=1)
    with pytest.raises(CatalogError, match='no flux of band'):
        FLAGSHIP_COLUMNS.columns(['K'])
    with pytest.raises(CatalogError, match='flux_kind'):
        ColumnMapping(flux_kind='Jy')


def test_galaxies_without_light_in_a_blue_band_are_kept(tmp_path):
    table = flagship()
    table['lsst_u'] = np.where(np.arange(N) % 2, table['euclid_vis'], 0.0)
    path = write(table, tmp_path / 'f.fits')
    sample = sample_catalog(path, 99, [*BANDS, 'u'], seed=1)
    assert len(sample) == N_GOOD
    dark = np.isinf(sample.rows['mags'][:, sample.bands.index('u')])
    assert dark.sum() == pytest.approx(N_GOOD / 2, abs=3)
    one = CatalogSample(rows={k: v[dark][:1] for k, v in
                              sample.rows.items()}, bands=sample.bands)
    item = one.draw(np.random.default_rng(1), [22.0], ('VIS', 'u'))[0]
    assert source_of(item, 0, 0).flux[1] == 0


def test_an_empty_sample_cannot_be_asked_for(tmp_path):
    with pytest.raises(CatalogError, match='n_galaxies of a sample is 0'):
        sample_catalog(tmp_path / 'f.fits', 0, BANDS, seed=1)


@pytest.mark.skipif(has_package('pyarrow'), reason='pyarrow is installed')
def test_parquet_without_pyarrow_names_the_extra(tmp_path):
    (tmp_path / 'f.parquet').write_bytes(b'PAR1')
    with pytest.raises(MissingDependencyError, match='parquet'):
        sample_catalog(tmp_path / 'f.parquet', 9, BANDS, seed=1)


@pytest.fixture
def sample(tmp_path):
    path = write(flagship(), tmp_path / 'f.fits')
    return sample_catalog(path, 999, BANDS, seed=1)


def test_drawn_galaxies_have_the_wanted_magnitude_and_their_colours(sample):
    items = sample.draw(np.random.default_rng(1), [22.0, 25.5], ('H', 'VIS'))
    for item, mag in zip(items, (22.0, 25.5), strict=True):
        assert item.mags[1] == pytest.approx(mag)
        assert item.mags[1] - item.mags[0] == pytest.approx(
            2.5 * np.log10(2))
        assert item.parent in sample.rows['parent']
    with pytest.raises(CatalogError, match='Sample the catalogue again'):
        sample.draw(np.random.default_rng(1), [22.0], ('u',))


def test_angles_count_from_north_to_east(sample):
    row = {name: values[:1] for name, values in sample.rows.items()}
    row['angle'] = np.array([30.0])
    from dataclasses import replace

    one = replace(sample, rows=row).without_structure()
    galaxy = one.draw(np.random.default_rng(1), [20.0], ('VIS',))[0].galaxy
    # north is +y and east -x: 30 degrees past north are 120 from +x
    assert np.rad2deg(galaxy.position_angle) == pytest.approx(120)
    assert galaxy.structure.smooth_fraction == 1


def test_counts_are_those_of_the_sample(sample):
    mags = sample.draw_mags(np.random.default_rng(1), 500, (20, 22))
    assert mags.min() >= 20
    assert mags.max() <= 22
    assert sample.counts_ratio((18.9, 26.1), 26.1) == pytest.approx(1)
    with pytest.raises(CatalogError, match='fainter density_mag'):
        sample.counts_ratio((20, 22), 15.0)
    with pytest.raises(CatalogError, match='it reaches from'):
        sample.draw_mags(np.random.default_rng(1), 5, (10, 12))


@pytest.mark.galsim
def test_a_scene_can_be_drawn_from_a_sample(sample):
    source = draw_galaxy_source(
        np.random.default_rng(1), get_survey('euclid-wide'), 22.5, 10, 12,
        population=sample)
    assert source.mags[0] == pytest.approx(22.5)
    assert np.isfinite(source.redshift)
