# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Results as HTML: a table with thumbnails, and a page of its own."""

import struct
import zlib
from base64 import b64encode
from html import escape

import numpy as np

from vaephot.results.exports import source_ellipses
from vaephot.results.flags import decode_flags
from vaephot.results.painters import (
    MASKED_COLOR,
    RESIDUAL_RANGE,
    band_painter,
    box_window,
    color_painter,
    make_scene,
    plain_values,
    value_with_error,
)

__all__ = ['diverging_colors', 'encode_png', 'png_uri', 'result_page',
           'result_table']

# largest side of a thumbnail and of a picture of the frame, in pixels of
# the data; larger frames are thinned out
THUMBNAIL_SIDE = 64
FRAME_SIDE = 1024
SHOWN_PIXELS = 96
MASKED = tuple(bytes.fromhex(MASKED_COLOR[1:]))
PICTURES = ('data', 'model', 'residual', 'alone')
STYLE = """
body { font-family: sans-serif; margin: 2em; }
table { border-collapse: collapse; }
td, th { padding: 2px 8px; text-align: right; }
tr:target { background: #fff3c4; }
img, image { image-rendering: pixelated; }
svg { border: 1px solid #ccc; margin: 2px; }
ellipse { fill: none; stroke: #D55E00; }
ellipse:hover { stroke: #0072B2; }
"""


def encode_png(rgb):
    """Bytes of a PNG file of an image (h, w, 3) of uint8, top row first."""
    height, width, _ = rgb.shape
    # each row begins with the number of its filter: none
    rows = np.pad(rgb.reshape(height, -1), ((0, 0), (1, 0)))

    def chunk(kind, content):
        body = kind + content
        return (struct.pack('>I', len(content)) + body
                + struct.pack('>I', zlib.crc32(body)))
    header = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    return (b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header)
            + chunk(b'IDAT', zlib.compress(rows.tobytes()))
            + chunk(b'IEND', b''))


def png_uri(picture):
    """Data URI of a picture, (h, w) or (h, w, 3), first row at the bottom."""
    bad = ~np.isfinite(picture)
    rgb = (255 * np.nan_to_num(picture)).round().astype(np.uint8)
    if rgb.ndim == 2:  # bright is black, as in the figures
        rgb, bad = np.stack([255 - rgb] * 3, -1), bad[..., None]
    rgb = np.where(bad, np.uint8(MASKED), rgb)
    code = b64encode(encode_png(rgb[::-1])).decode()
    return f'data:image/png;base64,{code}'


def diverging_colors(residual):
    """Colours of a residual in sigma: blue below zero, red above."""
    level = np.clip(residual / RESIDUAL_RANGE, -1, 1)
    return np.stack([np.minimum(1, 1 + level), 1 - np.abs(level),
                     np.minimum(1, 1 - level)], -1)


def _pictures(painter, scene):
    """Data, model, residual and the first source alone."""
    painter = painter.scaled_to(scene.data)
    return [painter.image(scene.data), painter.image(scene.model),
            diverging_colors(painter.residual(scene.residual)),
            *map(painter.image, scene.images)]


def _view(result):
    """Result on one grid and its painter: in colours if three bands are."""
    if result.on_own_grids:
        result = result.band()
    if len(result.bands) < 3:
        return result, band_painter(result, 0)
    return result, color_painter(result)


def _thumbnail_window(source, shape):
    """Window about a source, not larger than thumbnails are."""
    window = []
    for part, middle in zip(box_window([source], shape), (
            source.y_centroid, source.x_centroid), strict=True):
        if part.stop - part.start > THUMBNAIL_SIDE:
            middle = int(np.nan_to_num(middle)) - THUMBNAIL_SIDE // 2
            first = int(np.clip(middle, part.start,
                                part.stop - THUMBNAIL_SIDE))
            part = slice(first, first + THUMBNAIL_SIDE)
        window.append(part)
    return tuple(window)


def _thumbnails(view, painter, label):
    """Table cells with the pictures of a source."""
    source = view[label]
    window = _thumbnail_window(source, view.data.shape[-2:])
    scene = make_scene(view, [source], window)
    return [f'<img src="{png_uri(picture)}" width="{SHOWN_PIXELS}">'
            for picture in _pictures(painter, scene)]


def _photometry(result):
    """Name of the photometry: magnitudes where there are some."""
    suffixes = [''] if result.is_2d else [f'_{b}' for b in result.bands]
    name = 'mag' if f'mag{suffixes[0]}' in result.table.colnames else 'flux'
    return [(f'{name}{end}', f'{name}_err{end}') for end in suffixes]


def _numbers(row, photometry):
    """Table cells with what was measured of a source."""
    cells = [str(row['label']), str(row['parent_label'])]
    cells += [f'{row[name]:.2f}' for name in ('x_centroid', 'y_centroid')]
    cells += [value_with_error(*(float(plain_values(row[name]))
                                 for name in pair)) for pair in photometry]
    cells += [f'{row[name]:.2f}' for name in ('p_source', 'p_point')]
    return [*cells, ', '.join(decode_flags([row['flags']])[0])]


def _row(cells, tag='td', attributes=''):
    """Row of an HTML table."""
    return (f'<tr{attributes}>'
            + ''.join(f'<{tag}>{cell}</{tag}>' for cell in cells) + '</tr>')


def result_table(result, n_rows):
    """HTML table with thumbnails of the first sources."""
    view, painter = _view(result)
    photometry = _photometry(result)
    head = ['label', 'parent', 'x', 'y', *(name for name, _ in photometry),
            'p_source', 'p_point', 'flags', *PICTURES]
    rows = [_row(map(escape, head), 'th')]
    for row, label in zip(result.table[:n_rows],
                          result.labels[:n_rows].tolist(), strict=True):
        numbers = map(escape, _numbers(row, photometry))
        rows.append(_row([*numbers, *_thumbnails(view, painter, label)],
                         attributes=f' id="source-{label}"'))
    left = len(result) - n_rows
    more = f'<p>{left} more sources are not shown.</p>' if left > 0 else ''
    return f'<table>{"".join(rows)}</table>{more}'


def _outlines(result, ny):
    """SVG ellipses of the sources, each a link to its row."""
    parts = []
    for label, (x, y, major, minor, angle) in source_ellipses(
            result).items():
        if np.isfinite([x, y]).all():
            # y runs downwards in SVG
            place = f'translate({x + 0.5:.2f} {ny - y - 0.5:.2f})'
            parts.append(
                f'<a href="#source-{label}"><ellipse rx="{max(major, 1):.2f}"'
                f' ry="{max(minor, 1):.2f}" transform="{place} '
                f'rotate({-angle:.1f})" vector-effect="non-scaling-stroke">'
                f'<title>{label}</title></ellipse></a>')
    return ''.join(parts)


def _frame_pictures(result):
    """Data with the sources, model and residual of the whole frame."""
    view, painter = _view(result)
    ny, nx = view.data.shape[-2:]
    step = -(-max(ny, nx) // FRAME_SIDE)
    whole = slice(0, ny, step), slice(0, nx, step)
    pictures = _pictures(painter, make_scene(view, [], whole))
    layers = [_outlines(result, ny), '', '']
    return ''.join(
        f'<svg viewBox="0 0 {nx} {ny}" width="{min(2 * nx, 600)}">'
        f'<title>{name}</title><image href="{png_uri(picture)}" '
        f'width="{nx}" height="{ny}" preserveAspectRatio="none"/>'
        f'{layer}</svg>'
        for name, picture, layer in zip(PICTURES[:3], pictures, layers,
                                        strict=True))


def _settings(meta):
    """HTML list of the meta data of the table."""
    items = ''.join(f'<li>{escape(str(name))}: {escape(str(value))}</li>'
                    for name, value in meta.items())
    return f'<details><summary>Settings</summary><ul>{items}</ul></details>'


def result_page(result, n_rows):
    """Text of a page with pictures of the frame and a table of sources."""
    title = escape(repr(result).strip('<>'))
    return (f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
            f'<title>{title}</title><style>{STYLE}</style></head><body>'
            f'<h1>{title}</h1>{_settings(result.table.meta)}'
            f'<div>{_frame_pictures(result)}</div>'
            f'{result_table(result, n_rows)}</body></html>\n')
