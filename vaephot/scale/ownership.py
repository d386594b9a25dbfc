# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Which tile a source belongs to, and the final parts of catalogue and labels.

Two tiles that see a source at their border may put its centre a hundredth of
a pixel apart, and both keep it, or none. So what lies close to a border is
matched, and belongs to the tile whose core holds the mean of the places.
"""

import numpy as np
from astropy.table import vstack
from scipy import ndimage
from scipy.spatial import KDTree

from vaephot.scale.parquet import describe, read_part, write_part
from vaephot.scale.sections import Window
from vaephot.scale.tile_work import PLACES
from vaephot.utils.atomic import atomic_write

__all__ = ['finish_tile']

# places of one source in two tiles are closer than this, in pixels
SAME_PLACE = 1.0


def _rows_file(plan, number):
    return plan.path('work', 'tiles', f'rows-{number:06d}.parquet')


def _places(table):
    """Places of sources, (n, 2)."""
    return np.column_stack([np.asarray(table[name], float)
                            for name in PLACES])


def _match(one, other):
    """
    Rows of a table of the same sources in another one, (n,); else -1.

    The nearest of one parent; matched both ways, so that the result does
    not depend on who asks.
    """
    out = np.full(len(one), -1)
    if not len(one) or not len(other):
        return out
    scale = 1e6  # parents are never close to each other
    points = [np.column_stack([_places(table), scale * np.asarray(
        table['parent_label'], float)]) for table in (one, other)]
    distance, there = KDTree(points[1]).query(points[0])
    back = KDTree(points[0]).query(points[1])[1]
    same = (distance < SAME_PLACE) & (back[there] == np.arange(len(one)))
    out[same] = there[same]
    return out


class _Neighbours:
    """A tile and those around it, with who owns what."""

    def __init__(self, plan, number):
        self.plan, self.grid = plan, plan.tiles
        self.tables = {}
        self.load(number)

    def load(self, number):
        """Rows of a tile, `None` if it was set aside."""
        if number not in self.tables:
            path = _rows_file(self.plan, number)
            self.tables[number] = read_part(path) if path.exists() else None
        return self.tables[number]

    def owners(self, number):
        """Owner of each row of a tile, and its label there."""
        table = self.load(number)
        places = _places(table)
        total, count = places.copy(), np.ones(len(places))
        near = [k for k in self.grid.neighbours(number)
                if self.load(k) is not None]
        matches = {k: _match(table, self.tables[k]) for k in near}
        for k, rows in matches.items():
            seen = rows >= 0
            total[seen] += _places(self.tables[k])[rows[seen]]
            count[seen] += 1
        mean = total / count[:, None]
        # sums in another order may differ by the last bit
        owner = self.grid.owner(*np.round(mean, 6).T)
        labels = np.array(table['label'])
        for k, rows in matches.items():
            moved = (owner == k) & (rows >= 0)
            labels[moved] = np.asarray(self.tables[k]['label'])[rows[moved]]
        lost = (owner != number) & (labels == np.asarray(table['label']))
        return owner, np.where(lost, 0, labels)


def _large_rows(plan, number):
    """Rows of large parents that belong to a tile, list of tables."""
    out = []
    for path in sorted(plan.path('work', 'large').glob('rows-*.parquet')):
        table = read_part(path)
        mine = plan.tiles.owner(*_places(table).T) == number
        if mine.any():
            out.append(table[mine])
    return out


def _stamp_large(plan, labels, core):
    """Put the labels of large parents on those of a core, in place."""
    for path in sorted(plan.path('work', 'large').glob('large-*.npz')):
        with np.load(path) as stored:
            there = Window(**dict(zip(('y0', 'y1', 'x0', 'x1'),
                                      stored['window'].tolist(),
                                      strict=True)))
            if there.meets(core):
                part = stored['labels'][core.inside(there)]
                view = labels[there.inside(core)]
                view[part > 0] = part[part > 0]


def _fill_lost(labels, table, final):
    """
    Labels of a core with final names, (ny, nx).

    Pixels of what no tile keeps go to the nearest pixel of a source of the
    same parent.
    """
    known = np.asarray(table['label'])
    size = int(max(labels.max(initial=0), known.max(initial=0))) + 1
    base = int(known.min(initial=size)) if len(known) else 0
    lookup = np.zeros(size - base, np.int64)
    parent_of = np.zeros(size - base, np.int64)
    lookup[known - base] = final
    parent_of[known - base] = table['parent_label']
    lit = labels > 0
    out = np.zeros(labels.shape, np.int64)
    out[lit] = lookup[labels[lit] - base]
    for parent in np.unique(parent_of[labels[lit & (out == 0)] - base]):
        here = np.zeros(labels.shape, bool)
        here[lit] = parent_of[labels[lit] - base] == parent
        named = here & (out > 0)
        if named.any():
            y, x = ndimage.distance_transform_edt(
                ~named, return_distances=False, return_indices=True)
            blank = here & (out == 0)
            out[blank] = out[y[blank], x[blank]]
    return out


def finish_tile(plan, number):
    """
    Write the final part of the catalogue of a tile, and its labels.

    Returns a record.
    """
    around, core = _Neighbours(plan, number), plan.tiles.core(number)
    table = around.load(number)
    owner, final = around.owners(number)
    kept = table[owner == number]
    part = vstack([kept, *_large_rows(plan, number)],
                  metadata_conflicts='silent')
    part.remove_columns(PLACES)
    part['tile'] = np.full(len(part), number)
    part = part[np.argsort(part['label'], kind='stable')]
    part.meta = {}
    describe(part, plan.bands)
    write_part(plan.path('catalog', f'part-{number:06d}.parquet'), part)
    with np.load(plan.path('work', 'tiles',
                           f'images-{number:06d}.npz')) as stored:
        labels = _fill_lost(stored['labels'], table, final)
    _stamp_large(plan, labels, core)
    with atomic_write(plan.path('work', 'tiles',
                                f'labels-{number:06d}.npz'),
                      overwrite=True) as temporary:
        np.savez_compressed(temporary, labels=labels)
    return {'sources': len(part)}

