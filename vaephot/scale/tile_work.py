# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Deblend one tile, or one large parent: the work of a Dask worker."""

import time
import warnings
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from astropy import units as u
from astropy.table import Table
from photutils.segmentation import SegmentationImage

from vaephot.deblend.deblender import VAEDeblender
from vaephot.exceptions import VaephotError, VaephotWarning
from vaephot.results.flags import encode_flags
from vaephot.scale.parquet import write_part
from vaephot.scale.seams import Parents, read_labels
from vaephot.scale.sections import Window
from vaephot.scale.survey_page import make_thumbnail
from vaephot.scale.tile_data import observe
from vaephot.utils.atomic import atomic_write

__all__ = ['ID_STEP', 'MARGIN', 'PLACES', 'deblend_large', 'deblend_tile',
           'large_parents', 'load_parents']

# labels of a tile's sources begin at its number, plus one, times this
ID_STEP = 1_000_000
# sources this close to a core [px] may be in it as another tile sees them
MARGIN = 2.0
# pixels around a parent where its light still matters for its fit
AROUND = 8
# parents larger than so many halos are fitted alone, before the tiles; the
# windows of tiles grow to hold smaller ones
LARGE = 4.0
# area of the window of a large parent, in windows of tiles, that is too much
MAX_LARGE = 2.0
# columns that say where a source is, for the owner
PLACES = ('x_place', 'y_place')


@lru_cache(maxsize=2)
def _deblender(settings):
    """Deblender with settings, (name, value) each; kept by the worker."""
    return VAEDeblender(**dict(settings))


def _device(plan):
    """Torch device of this worker, or that of the settings."""
    n_gpus = plan.settings.get('n_gpus')
    if not n_gpus:
        return plan.settings.get('device')
    from distributed import get_worker

    return f'cuda:{int(get_worker().name) % n_gpus}'


def _make_deblender(plan):
    settings = {name: value for name, value in plan.settings.items()
                if name != 'n_gpus'}
    settings['device'] = _device(plan)
    return _deblender(tuple(sorted(settings.items(), key=lambda s: s[0])))


@lru_cache(maxsize=1)
def _parents(path, _stamp):
    return Parents.load(path)


def load_parents(plan):
    """`Parents` of the mosaic; those read last are kept."""
    path = plan.path('work', 'parents.npz')
    return _parents(path, path.stat().st_mtime_ns)


def large_parents(plan, parents):
    """
    Rows of parents that are much larger than the halo.

    Returns those that are fitted alone, and those too large for that.
    """
    rows = np.flatnonzero(parents.side > LARGE * plan.halo)
    height, width = (parents.box[rows, 1::2] - parents.box[rows, ::2]
                     + 2 * plan.halo).T
    most = MAX_LARGE * (plan.tile + 2 * plan.halo) ** 2
    fits = height * width <= most
    return rows[fits], rows[~fits]


# ---------------------------------------------------------------- what is in
@dataclass(frozen=True, kw_only=True, eq=False)
class _Scope:
    """Window of a job; labels in it, (ny, nx); pixels that are left out."""

    window: Window
    labels: np.ndarray
    left_out: np.ndarray


def _hull(window, boxes, shape):
    """Window that holds another one and boxes (n, 4) with some margin."""
    if not len(boxes):
        return window
    low, high = boxes.min(0), boxes.max(0)
    grown = Window(y0=int(low[0]), y1=int(high[1]), x0=int(low[2]),
                   x1=int(high[3])).grown(AROUND, shape)
    return Window(y0=min(window.y0, grown.y0), y1=max(window.y1, grown.y1),
                  x0=min(window.x0, grown.x0), x1=max(window.x1, grown.x1))


def _scope(plan, parents, core, excluded, too_large):
    """
    What is fitted for a core.

    The window holds all of the parents that come near; others that its edge
    cuts, those ``excluded`` by their labels, and those that are too large
    are not fitted.
    """
    excluded = np.union1d(excluded, too_large)
    window = core.grown(plan.halo, plan.shape)
    near = parents.meeting(core.grown(plan.halo // 2, plan.shape))
    near &= ~np.isin(parents.label, excluded)
    window = _hull(window, parents.box[near], plan.shape)
    labels = read_labels(plan, parents, window)
    cut = parents.label[parents.meeting(window) & ~parents.within(window)]
    # their pixels would only disturb the others
    left_out = np.isin(labels, np.union1d(np.setdiff1d(cut, excluded),
                                          too_large))
    labels[np.isin(labels, np.union1d(cut, excluded))] = 0
    return _Scope(window=window, labels=labels, left_out=left_out)


def _positions(plan, window):
    """Given positions in a window, in its pixels, and their rows."""
    if plan.positions is None:
        return None, None
    x, y = plan.positions['x'], plan.positions['y']
    rows = np.flatnonzero(
        (x >= window.x0 - 0.5) & (x < window.x1 - 0.5)
        & (y >= window.y0 - 0.5) & (y < window.y1 - 0.5))
    table = plan.positions[rows]
    table['x'], table['y'] = table['x'] - window.x0, table['y'] - window.y0
    return table, rows


def _light(plan, window):
    """Light of large parents in a window, and the pixels they had."""
    light = None
    for path in sorted(plan.path('work', 'large').glob('large-*.npz')):
        with np.load(path) as stored:
            there = Window(**dict(zip(('y0', 'y1', 'x0', 'x1'),
                                      stored['window'].tolist(),
                                      strict=True)))
            if not there.meets(window):
                continue
            if light is None:
                light = np.zeros((len(plan.bands), *window.shape))
            light[(slice(None), *there.inside(window))] += stored['model'][
                (slice(None), *window.inside(there))]
    return light


# ------------------------------------------------------------------ the fit
def _fit(plan, scope, light):
    """Result of the deblender, parents in its own numbers, its rows."""
    seen = observe(plan, scope.window, light=light)
    seen.mask[:, scope.left_out] = True
    seen.data[:, scope.left_out] = 0
    values, own = np.unique(scope.labels, return_inverse=True)
    # 0 is always a value, or else all pixels are of parents
    shift = 0 if len(values) and values[0] == 0 else 1
    segm = SegmentationImage((own.reshape(scope.labels.shape)
                              + shift).astype(np.int32))
    names = np.concatenate([[0], values[values > 0]])
    positions, rows = _positions(plan, scope.window)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', VaephotWarning)
        result = _make_deblender(plan).deblend_observation(
            seen, segm, positions=positions)
    return result, names, rows


def _plain(table, plan):
    """Table of plain columns with units and descriptions."""
    out = Table()
    for name in table.colnames:
        column = table[name]
        if name == 'sky_centroid':
            icrs = column.icrs
            out['ra'], out['dec'] = icrs.ra.deg, icrs.dec.deg
            out['ra'].unit = out['dec'].unit = u.deg
            continue
        unit = getattr(column, 'unit', None)
        if isinstance(unit, u.function.FunctionUnitBase):
            unit = u.mag
        out[name] = np.asarray(getattr(column, 'value', column))
        out[name].unit = unit
    return out


def _rows(plan, result, names, given, window, parents):
    """Rows of a result in pixels of the mosaic and labels of parents."""
    table = _plain(result.table, plan)
    table['parent_label'] = names[table['parent_label']]
    x, y = (np.asarray(table[f'{axis}_centroid'], float) + start
            for axis, start in (('x', window.x0), ('y', window.y0)))
    table['x_centroid'], table['y_centroid'] = x, y
    # what is no source has no place; it belongs to where its parent is
    middle = parents.middle(np.asarray(table['parent_label']))
    places = np.where(np.isfinite(x), [x, y], middle)
    if given is not None:
        table['input_row'] = given
        places = np.array([plan.positions['x'][given],
                           plan.positions['y'][given]])
    table[PLACES[0]], table[PLACES[1]] = places
    _flag_edges(table, result, window, plan)
    return table


def _flag_edges(table, result, window, plan):
    """Edges of a window are no edges, unless they are the mosaic's."""
    ny, nx = plan.shape
    x, y = np.asarray(table['x_centroid']), np.asarray(table['y_centroid'])
    own = np.minimum.reduce([x - window.x0, window.x1 - 1 - x,
                             y - window.y0, window.y1 - 1 - y])
    whole = np.minimum.reduce([x, nx - 1 - x, y, ny - 1 - y])
    inner = ~(own >= whole)
    table['flags'][inner] &= ~encode_flags('edge')


def _model_of(result, rows, n_bands):
    """Sum of the models of some rows of a result, (n_bands, ny, nx)."""
    out = np.zeros((n_bands, *result.data.shape[-2:]), np.float32)
    for row in rows:
        source = result.sources[row]
        out[(slice(None), *source.slices)] += _stack(source.model)
    return out


# --------------------------------------------------------------- the jobs
def deblend_large(plan, number):
    """
    Deblend one of the parents that are much larger than the halo.

    Keeps its rows, labels and model in ``work/large``, and returns a record.
    """
    start = time.perf_counter()
    parents = load_parents(plan)
    large, too_large = large_parents(plan, parents)
    row = large[number]
    y0, y1, x0, x1 = parents.box[row].tolist()
    box = Window(y0=y0, y1=y1, x0=x0, x1=x1)
    scope = _scope(plan, parents, box, [], parents.label[too_large])
    result, names, given = _fit(plan, scope, None)
    table = _rows(plan, result, names, given, scope.window, parents)
    own = np.flatnonzero(np.asarray(table['parent_label'])
                         == parents.label[row])
    labels = np.asarray(result.segmentation_image.data)
    # labels of sources follow those of all tiles
    first = (len(plan.tiles) + number + 1) * ID_STEP
    ids = np.zeros(max(labels.max(), table['label'].max(initial=0)) + 1, int)
    ids[table['label'][own]] = first + np.arange(len(own))
    table['label'] = ids[table['label']]
    write_part(plan.path('work', 'large', f'rows-{number:06d}.parquet'),
               table[own])
    with atomic_write(plan.path('work', 'large', f'large-{number:06d}.npz'),
                      overwrite=True) as temporary:
        np.savez_compressed(
            temporary, window=list(vars(scope.window).values()),
            labels=ids[labels],
            model=_model_of(result, own, len(plan.bands)))
    return {'sources': len(own), 'seconds': time.perf_counter() - start}


def deblend_tile(plan, number):
    """
    Deblend a tile with its halo.

    Keeps its rows, the labels of its core and its model in ``work/tiles``,
    and returns a record.
    """
    times = [time.perf_counter()]
    parents, core = load_parents(plan), plan.tiles.core(number)
    large, too_large = (parents.label[rows]
                        for rows in large_parents(plan, parents))
    scope = _scope(plan, parents, core, large, too_large)
    light = _light(plan, scope.window)
    times.append(time.perf_counter())
    result, names, given = _fit(plan, scope, light)
    times.append(time.perf_counter())
    table = _rows(plan, result, names, given, scope.window, parents)
    inner = core.inside(scope.window)
    labels = np.asarray(result.segmentation_image.data)[inner]
    kept = _relevant(table, labels, core)
    if len(kept) >= ID_STEP:
        msg = (f'tile {number} has {len(kept)} sources; at most {ID_STEP} '
               'can be numbered. Choose a smaller tile.')
        raise VaephotError(msg)
    ids = np.zeros(max(labels.max(initial=0),
                       table['label'].max(initial=0)) + 1, int)
    ids[table['label'][kept]] = (number + 1) * ID_STEP + np.arange(len(kept))
    table['label'] = ids[table['label']]
    record = _record(plan, result, table[kept], core, scope)
    images = {'labels': ids[labels],
              'thumbnail': _thumbnail(plan, result, inner)}
    if plan.images:
        images['model'] = _model(result, light, inner)
    _write_tile(plan, number, table[kept], images)
    times.append(time.perf_counter())
    return {**record, **dict(zip(('read', 'deblend', 'write'), np.diff(
        times).tolist(), strict=True))}


def _relevant(table, labels, core):
    """Rows of sources in or close to a core, or with pixels in it."""
    x, y = (np.asarray(table[name]) for name in PLACES)
    close = ((x > core.x0 - 0.5 - MARGIN) & (x < core.x1 - 0.5 + MARGIN)
             & (y > core.y0 - 0.5 - MARGIN) & (y < core.y1 - 0.5 + MARGIN))
    return np.flatnonzero(close | np.isin(table['label'], labels))


def _stack(image):
    """Image of a result as (n_bands, ny, nx) without a unit."""
    image = np.asarray(getattr(image, 'value', image))
    return image[None] if image.ndim == 2 else image


def _model(result, light, inner):
    """Model of a core, (n_bands, ny, nx)."""
    model = _stack(result.model_image)[(slice(None), *inner)]
    if light is not None:
        model = model + light[(slice(None), *inner)]
    return model.astype(np.float32)


def _thumbnail(plan, result, inner):
    """Small pictures of a core in the first band."""
    data, model, mask = (_stack(image)[0][inner] for image in (
        result.data, result.model_image, result.mask))
    return make_thumbnail(plan, data, model, mask)


def _record(plan, result, table, core, scope):
    """What the summary says of a tile."""
    x, y = (np.asarray(table[name]) for name in PLACES)
    inside = ((x >= core.x0 - 0.5) & (x < core.x1 - 0.5)
              & (y >= core.y0 - 0.5) & (y < core.y1 - 0.5))
    flags = np.asarray(table['flags'])[inside]
    bits, counts = np.unique(
        [1 << b for b in range(32) for f in flags if f >> b & 1],
        return_counts=True)
    chi2 = np.asarray(table['reduced_chi2'], float)[inside]
    name = 'flux_err' if plan.is_2d else f'flux_err_{plan.bands[0]}'
    errors = np.asarray(table[name], float)[inside]
    errors = errors[np.isfinite(errors) & (errors > 0)]
    mask = np.asarray(result.mask)
    return {
        'sources': int(inside.sum()), 'fitted': len(result),
        'chi2': float(np.nanmedian(chi2)) if np.isfinite(chi2).any()
        else None,
        'error': float(np.median(errors)) if len(errors) else None,
        'flags': {str(b): int(n) for b, n in zip(bits, counts, strict=True)},
        'covered': float(1 - mask.mean()), 'pixels': scope.labels.size}


def _write_tile(plan, number, table, images):
    """Keep what a tile found."""
    name = f'{number:06d}'
    write_part(plan.path('work', 'tiles', f'rows-{name}.parquet'), table)
    with atomic_write(plan.path('work', 'tiles', f'images-{name}.npz'),
                      overwrite=True) as temporary:
        np.savez_compressed(temporary, **images)
