# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Parts of a catalogue as Parquet files.

Units and descriptions of columns are metadata of the fields and of the
schema; the latter in the form that astropy reads.
"""

from pathlib import Path

import numpy as np
from astropy.table import Column, QTable, Table, meta, vstack

from vaephot.utils.atomic import atomic_write
from vaephot.utils.optional_deps import import_optional

__all__ = ['describe', 'read_catalog', 'read_part', 'write_part']

PURPOSE = 'a catalogue in Parquet'
# what columns are; those of a band end in its name
DESCRIPTIONS = {
    'label': 'label of the source, unique in the catalogue and the label map',
    'parent_label': 'label of the segment of the source, 0 for none',
    'x_centroid': 'column in the mosaic, the first pixel is 0',
    'y_centroid': 'row in the mosaic, the first pixel is 0',
    'x_err': '1-sigma error of x_centroid',
    'y_err': '1-sigma error of y_centroid',
    'ra': 'right ascension (ICRS)',
    'dec': 'declination (ICRS)',
    'n_blended': 'sources in the segment',
    'p_source': 'probability to be a source of its own',
    'p_point': 'probability to be a point source',
    'area': 'pixels of the source in the label map',
    'half_light_radius': 'radius of half the light, without PSF',
    'axis_ratio': 'minor over major axis, without PSF',
    'orientation': 'of the major axis, from the x axis',
    'flux': 'total flux',
    'flux_err': '1-sigma error of the flux',
    'mag': 'AB magnitude',
    'mag_err': '1-sigma error of the magnitude',
    'snr': 'signal-to-noise ratio of the flux',
    'blendedness': 'share of light of others at the place of the source',
    'reduced_chi2': 'reduced chi-square of all bands around the source',
    'flags': 'bits of vaephot.decode_flags',
    'input_row': 'row of the positions that were given, from 0',
    'tile': 'number of the tile whose core holds the source',
}


def describe(table, bands):
    """Give the columns of a table their descriptions, in place."""
    for name in table.colnames:
        kind = name
        for band in bands:
            kind = kind.removesuffix(f'_{band}')
        text = DESCRIPTIONS.get(kind)
        if text is not None:
            table[name].description = (text if kind == name else
                                       f'{text}, {name[len(kind) + 1:]}')


def write_part(path, table):
    """
    Write a table as a Parquet file, atomically; the same bytes each time.

    ``table`` has plain columns.
    """
    arrow = import_optional('pyarrow', PURPOSE)
    parquet = import_optional('pyarrow.parquet', PURPOSE)
    fields, columns = [], []
    for name in table.colnames:
        column = table[name]
        array = arrow.array(np.ascontiguousarray(column.data))
        about = {'unit': str(column.unit or ''),
                 'description': column.description or ''}
        fields.append(arrow.field(name, array.type, metadata={
            key: text for key, text in about.items() if text}))
        columns.append(array)
    schema = arrow.schema(fields, metadata={
        'table_meta_yaml': '\n'.join(meta.get_yaml_from_table(table))})
    made = arrow.Table.from_arrays(columns, schema=schema)
    with atomic_write(path, overwrite=True) as temporary:
        parquet.write_table(made, temporary)


def _column(column, field):
    """Column of a table from one of Arrow, with unit and description."""
    about = {key.decode(): text.decode()
             for key, text in (field.metadata or {}).items()}
    return Column(column.to_numpy(), unit=about.get('unit'),
                  description=about.get('description'))


def read_part(path):
    """Read what `write_part` wrote, a `~astropy.table.Table`."""
    parquet = import_optional('pyarrow.parquet', PURPOSE)
    # one file, whatever the names of the folders around it
    found = parquet.ParquetFile(path).read()
    return Table({field.name: _column(found[field.name], field)
                  for field in found.schema})


def read_catalog(folder):
    """
    Read the catalogue of a mosaic, whole.

    Parameters
    ----------
    folder : path-like
        Folder ``catalog`` of the output, with one file for each tile.

    Returns
    -------
    `~astropy.table.QTable`
        Sources of all tiles, by their labels.
    """
    parts = [read_part(path) for path in sorted(Path(folder).glob(
        'part-*.parquet'))]
    if not parts:
        msg = f'{folder} holds no file part-*.parquet.'
        raise FileNotFoundError(msg)
    table = QTable(vstack(parts, metadata_conflicts='silent'))
    return table[np.argsort(table['label'])]
