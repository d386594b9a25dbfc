# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""A catalogue in HATS partitions, for LSDB."""

import tempfile
from pathlib import Path

import numpy as np

from vaephot.exceptions import OutputExistsError, VaephotError
from vaephot.scale.parquet import read_part, write_part
from vaephot.utils.optional_deps import import_optional

__all__ = ['write_hats']

PURPOSE = 'a HATS catalogue'


def write_hats(catalog, output):
    """
    Write a catalogue as HATS partitions.

    Parameters
    ----------
    catalog : path-like
        Folder of Parquet files, as `~vaephot.scale.deblend_mosaic` writes
        them; with positions on the sky.
    output : path-like
        Folder of the HATS catalogue, which must not be there. What has no
        position is left out.

    Raises
    ------
    OutputExistsError
        If the folder exists.
    VaephotError
        Without positions on the sky.
    MissingDependencyError
        Without hats-import: install the extra ``hats``.
    """
    arguments = import_optional('hats_import.catalog.arguments', PURPOSE)
    pipeline = import_optional('hats_import.pipeline', PURPOSE)
    catalog, output = Path(catalog), Path(output)
    if output.exists():
        msg = f'{output} exists already; remove it or choose another name.'
        raise OutputExistsError(msg, path=output)
    with tempfile.TemporaryDirectory(dir=output.parent) as folder:
        parts = _with_positions(catalog, Path(folder))
        pipeline.pipeline(arguments.ImportArguments(
            sort_columns='label', ra_column='ra', dec_column='dec',
            input_file_list=parts, file_reader='parquet',
            output_artifact_name=output.name, output_path=output.parent,
            tmp_dir=folder, dask_tmp=folder, progress_bar=False))


def _with_positions(catalog, folder):
    """Copies of the parts with the rows that have positions."""
    paths = []
    for path in sorted(catalog.glob('part-*.parquet')):
        table = read_part(path)
        if 'ra' not in table.colnames:
            msg = (f'{path} has no positions on the sky, which HATS needs; '
                   'the images have no WCS.')
            raise VaephotError(msg)
        table = table[np.isfinite(table['ra']) & np.isfinite(table['dec'])]
        if len(table):
            paths.append(folder / path.name)
            write_part(paths[-1], table)
    return paths
