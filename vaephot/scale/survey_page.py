# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""A page on a mosaic: maps of its tiles, numbers, failures and pictures."""

from html import escape

import numpy as np

from vaephot.results.flags import FLAGS
from vaephot.results.html import STYLE, diverging_colors, png_uri
from vaephot.results.painters import asinh_stretch
from vaephot.utils.atomic import atomic_write

__all__ = ['make_thumbnail', 'write_page']

# longest side of the pictures of the whole mosaic, in their pixels
PICTURE_SIDE = 1024
# width of maps and pictures on the page, in pixels of the screen
SHOWN = 420
# sources of this signal-to-noise ratio tell the depth
DEPTH_SIGMA = 5.0
# colours of the least and the largest value of a map, and without a value
LOW, HIGH, NOTHING = (253, 231, 178), (120, 28, 109), '#cccccc'


# --------------------------------------------------------------- thumbnails
def _step(plan):
    """Pixels of the mosaic on the side of one of the pictures."""
    return -(-max(plan.shape) // PICTURE_SIDE)


def _binned(image, step):
    """Mean of squares of pixels; those at the upper edges may be cut."""
    ny, nx = image.shape
    pad = [(0, -ny % step), (0, -nx % step)]
    image = np.pad(image, pad, constant_values=np.nan)
    blocks = image.reshape(image.shape[0] // step, step, -1, step)
    good = np.isfinite(blocks)
    count = good.sum((1, 3))
    total = np.where(good, blocks, 0).sum((1, 3))
    return np.divide(total, count, out=np.full(count.shape, np.nan),
                     where=count > 0)


def make_thumbnail(plan, data, model, mask):
    """
    Small pictures of the first band of a core, (2, h, w).

    Data, and data less model, in units of the noise of the pictures.
    """
    step, noise = _step(plan), plan.sky.noise[0] * plan.sky.factor[0]
    pictures = np.stack([data, data - model])
    pictures = np.where(mask, np.nan, pictures) * step / noise
    return np.stack([_binned(p, step) for p in pictures]).astype(np.float32)


def _pictures(plan, records):
    """Data and residual of the whole mosaic, or None."""
    step = _step(plan)
    out = np.full((2, *(-(-n // step) for n in plan.shape)), np.nan)
    for number in records:
        with np.load(plan.path('work', 'tiles',
                               f'images-{number:06d}.npz')) as stored:
            part = stored['thumbnail']
        core = plan.tiles.core(number)
        y, x = core.y0 // step, core.x0 // step
        view = out[:, y:y + part.shape[1], x:x + part.shape[2]]
        view[:] = part[:, :view.shape[1], :view.shape[2]]
    if not np.isfinite(out).any():
        return ''
    brightest = max(float(np.nanpercentile(out[0], 99.9)), 10.0)
    stretched = asinh_stretch(out[0], 1.0, brightest)
    uris = {'data': png_uri(np.where(np.isfinite(out[0]), stretched,
                                     np.nan)),
            'residual': png_uri(diverging_colors(out[1]))}
    return ''.join(f'<figure><img src="{uri}" width="{SHOWN}" '
                   f'alt="{name}"><figcaption>{name}, first band'
                   f'</figcaption></figure>' for name, uri in uris.items())


# --------------------------------------------------------------------- maps
def _color(value, low, high):
    """Colour of a value between two others."""
    if value is None or not np.isfinite(value):
        return NOTHING
    share = (value - low) / (high - low) if high > low else 0.5
    mixed = np.array(LOW) + share * (np.array(HIGH) - LOW)
    return '#' + ''.join(f'{round(c):02x}' for c in mixed)


def _map(plan, values, title, form):
    """SVG map of the tiles by a value of each (None: none)."""
    ny, nx = plan.shape
    known = [v for v in values.values() if v is not None]
    low, high = (min(known), max(known)) if known else (0, 0)
    cells = []
    for number in range(len(plan.tiles)):
        core, value = plan.tiles.core(number), values.get(number)
        text = 'set aside' if value is None else format(value, form)
        (height, width) = core.shape
        cells.append(
            f'<a href="#tile-{number}"><rect x="{core.x0}" '
            f'y="{ny - core.y1}" width="{width}" height="{height}" '
            f'fill="{_color(value, low, high)}">'
            f'<title>tile {number}: {text}</title></rect></a>')
    limits = (f' ({format(low, form)} to {format(high, form)})'
              if known else '')
    return (f'<figure><svg viewBox="0 0 {nx} {ny}" width="{SHOWN}" '
            f'stroke="white" stroke-width="{max(nx, ny) / 200:.1f}">'
            f'{"".join(cells)}</svg><figcaption>{escape(title)}{limits}'
            '</figcaption></figure>')


# ------------------------------------------------------------------- tables
def _depth(plan, record):
    """Magnitude of five sigma in the first band, or None."""
    error = record.get('error')
    zeropoint = _zeropoint(plan)
    if not error or zeropoint is None:
        return None
    return zeropoint - 2.5 * np.log10(DEPTH_SIGMA * error)


def _zeropoint(plan):
    """AB magnitude of one unit of the data, or None."""
    from astropy import units as u

    if plan.zeropoint is not None:
        return plan.zeropoint[0]
    if plan.unit is None or not u.Unit(plan.unit).is_equivalent(u.Jy):
        return None
    return float((1 * u.Unit(plan.unit)).to_value(u.ABmag))


def _seconds(record):
    """Time of a tile from reading to writing."""
    return sum(record[name] for name in ('read', 'deblend', 'write'))


def _cells(values, tag='td'):
    return ''.join(f'<{tag}>{value}</{tag}>' for value in values)


def _tile_table(plan, records, failed):
    """HTML table of the tiles."""
    rows = ['<tr>' + _cells(
        ('tile', 'columns', 'rows', 'sources', 'chi2', 'depth', 'seconds',
         'sources/s'), 'th') + '</tr>']
    for number in range(len(plan.tiles)):
        core, record = plan.tiles.core(number), records.get(number)
        place = (number, f'{core.x0} to {core.x1 - 1}',
                 f'{core.y0} to {core.y1 - 1}')
        if record is None:
            why = failed.get(f'tile {number}', 'not done')
            cells = _cells(place) + f'<td colspan="5">{escape(why)}</td>'
        else:
            seconds, depth = _seconds(record), _depth(plan, record)
            chi2 = record['chi2']
            cells = _cells((
                *place, record['sources'],
                '' if chi2 is None else f'{chi2:.2f}',
                '' if depth is None else f'{depth:.2f}', f'{seconds:.1f}',
                f'{record["sources"] / seconds:.1f}'))
        rows.append(f'<tr id="tile-{number}">{cells}</tr>')
    return f'<table>{"".join(rows)}</table>'


def _flag_table(records):
    """HTML table of the flags and how many sources have them."""
    rows = []
    for flag in FLAGS:
        n = sum(record['flags'].get(str(flag.bit_value), 0)
                for record in records.values())
        if n:
            rows.append('<tr>' + _cells((n, flag.name, escape(
                flag.description))) + '</tr>')
    return f'<table>{"".join(rows)}</table>' if rows else '<p>none</p>'


def _failures(failed):
    """HTML list of what was set aside."""
    if not failed:
        return '<p>Nothing was set aside.</p>'
    items = ''.join(f'<li>{escape(name)}: {escape(why)}</li>'
                    for name, why in failed.items())
    return f'<ul>{items}</ul>'


def _shares(records):
    """Sentence on where the time went."""
    parts = {name: sum(record[name] for record in records.values())
             for name in ('read', 'deblend', 'write')}
    total = sum(parts.values())
    if not total:
        return ''
    text = ', '.join(f'{name} {seconds / total:.0%}'
                     for name, seconds in parts.items())
    return (f'<p>{total:.0f} seconds of workers on tiles with their halos: '
            f'{text}.</p>')


def write_page(plan, records, failed, n_sources):
    """
    Write ``summary.html``.

    ``records`` of the tiles by their numbers, as
    `~vaephot.scale.tile_work.deblend_tile` returns them; ``failed``: why
    jobs were set aside.
    """
    ny, nx = plan.shape
    title = (f'{n_sources} sources in {nx} x {ny} pixels, '
             f'bands {", ".join(plan.bands)}')
    values = {
        'sources': ({k: r['sources'] for k, r in records.items()}, 'd'),
        'median reduced chi2': ({k: r['chi2'] for k, r in records.items()},
                                '.2f'),
        f'depth in {plan.bands[0]} (5 sigma, median error of sources)': (
            {k: _depth(plan, r) for k, r in records.items()}, '.2f'),
        'seconds': ({k: _seconds(r) for k, r in records.items()}, '.1f')}
    maps = ''.join(_map(plan, found, name, form)
                   for name, (found, form) in values.items())
    body = (
        f'<h1>{escape(title)}</h1>{_shares(records)}'
        f'<h2>Set aside</h2>{_failures(failed)}'
        f'<h2>Tiles</h2><div class="row">{maps}</div>'
        f'<h2>Images</h2><div class="row">{_pictures(plan, records)}</div>'
        f'<h2>Flags</h2>{_flag_table(records)}'
        f'<h2>By tile</h2>{_tile_table(plan, records, failed)}')
    text = (f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
            f'<title>{escape(title)}</title><style>{STYLE}'
            '.row { display: flex; flex-wrap: wrap; }'
            'figure { margin: 4px 12px; } rect:hover { opacity: 0.7; }'
            f'</style></head><body>{body}</body></html>\n')
    with atomic_write(plan.path('summary.html'),
                      overwrite=True) as temporary:
        temporary.write_text(text, encoding='utf-8')
