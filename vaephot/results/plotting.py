# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Figures of results; matplotlib is loaded when one is drawn."""

from dataclasses import replace

import numpy as np

from vaephot.exceptions import BandMismatchError
from vaephot.results.painters import (
    MASKED_COLOR,
    RESIDUAL_RANGE,
    ColorPainter,
    band_painter,
    box_window,
    color_painter,
    make_scene,
    plain_values,
    unmasked_cube,
    value_with_error,
)
from vaephot.utils.optional_deps import import_optional

__all__ = ['plot_segments', 'plot_source']

PANEL_INCHES = 2.2
# Okabe & Ito 2008: colours that colour-blind readers can tell apart
COLORS = ('#E69F00', '#56B4E9', '#009E73', '#D55E00', '#CC79A7', '#0072B2',
          '#F0E442')
GREY = {'cmap': 'gray_r', 'vmin': 0, 'vmax': 1}
DIVERGING = {'cmap': 'RdBu_r', 'vmin': -RESIDUAL_RANGE,
             'vmax': RESIDUAL_RANGE}


def _brightness(source):
    flux = np.atleast_1d(plain_values(source.flux)).sum()
    return flux if np.isfinite(flux) else -np.inf


def _siblings(result, label):
    """Return the source, then the other children of its parent."""
    source = result[label]
    others = [s for s in result if source.parent_label > 0
              and s.parent_label == source.parent_label and s is not source]
    others = sorted(others, key=_brightness, reverse=True)
    return [source, *others]


def _show(ax, image, extent, style):
    ax.set_facecolor(MASKED_COLOR)
    ax.imshow(image, origin='lower', extent=extent,
              interpolation='nearest', **style)
    ax.set_xticks([])
    ax.set_yticks([])


def _bands(result, band):
    """Numbers of the bands to show."""
    if band is None:
        return range(len(result.bands))
    if isinstance(band, (str, int, np.integer)):
        return [result.band_index(band)]
    return [result.band_index(name) for name in band]


def _rows(result, band, rgb):
    """Result on one grid, and painter, of each row of panels."""
    if rgb and result.on_own_grids:
        msg = (f'rgb is {rgb}; bands on pixel grids of their own '
               f'({", ".join(result.bands)}) make no colour image.')
        raise BandMismatchError(msg, bands=result.bands)
    if rgb:
        return [(result, color_painter(result, rgb))]
    return [_band_row(result, index) for index in _bands(result, band)]


def _band_row(result, index):
    """Result on the grid of a band, and the painter of that band."""
    if not result.on_own_grids:
        return result, band_painter(result, index)
    view = result.band(index)
    painter = band_painter(view, 0)
    return view, replace(painter, name=result.bands[index])


def _title(source, painter):
    """Label and flux with its error."""
    if isinstance(painter, ColorPainter):
        return f'{source.label}'
    flux, error = (np.atleast_1d(plain_values(value))[painter.band]
                   for value in (source.flux, source.flux_err))
    return f'{source.label}:  {value_with_error(flux, error)}'


def _mark(ax, sources, colors, extent):
    """Crosses at the positions that lie in the panel."""
    for source, color in zip(sources, colors, strict=True):
        ax.plot(source.x_centroid, source.y_centroid, '+', color=color,
                ms=9, mew=1.6)
    ax.set_xlim(*extent[:2])
    ax.set_ylim(*extent[2:])


def _colors(n):
    return [COLORS[i % len(COLORS)] for i in range(n)]


def _frame_panels(axes, painter, scene):
    """Data, model and residual; return the image of the residual."""
    style = {} if isinstance(painter, ColorPainter) else GREY
    for ax, cube, title in ((axes[0], scene.data, 'data'),
                            (axes[1], scene.model, 'model')):
        _show(ax, painter.image(cube), scene.extent, style)
        ax.set_title(title)
    _show(axes[2], painter.residual(scene.residual), scene.extent,
          DIVERGING)
    axes[2].set_title(painter.residual_title)
    axes[0].set_ylabel(painter.name)
    return axes[2].images[0]


def _child_panels(axes, painter, scene, shown):
    """Each of the sources shown alone."""
    style = {} if isinstance(painter, ColorPainter) else GREY
    for ax, source, image, color in zip(
            axes, shown, scene.images, _colors(len(shown)), strict=True):
        _show(ax, painter.image(image), scene.extent, style)
        _mark(ax, [source], [color], scene.extent)
        ax.set_title(_title(source, painter), fontsize='medium')
        for spine in ax.spines.values():
            spine.set(color=color, linewidth=2)


def _fill_row(axes, view, painter, family):
    """Fill one row of panels; return the image of the residual."""
    own = [view[source.label] for source in family]
    shown = own[:len(axes) - 3]
    scene = make_scene(view, shown, box_window(own, view.data.shape[-2:]))
    painter = painter.scaled_to(scene.data)
    drawn = _frame_panels(axes[:3], painter, scene)
    _child_panels(axes[3:], painter, scene, shown)
    _mark(axes[0], own, _colors(len(own)), scene.extent)
    return drawn


def _suptitle(result, label, n_family, n_shown):
    """What the figure shows."""
    more = n_family - n_shown
    unit = '' if result.unit is None else f', fluxes in {result.unit}'
    return (f'parent {result[label].parent_label}: {n_family} '
            f'source{"s" * (n_family != 1)}'
            + (f' ({more} more not shown)' if more else '') + unit)


def plot_source(result, label, *, band=None, rgb=False, max_children=8):
    """Figure of a parent; see `DeblendResult.plot`."""
    family = _siblings(result, label)
    plt = import_optional('matplotlib.figure', 'DeblendResult.plot')
    n_shown = min(max(1, max_children), len(family))
    rows = _rows(result, band, rgb)
    y, x = box_window([rows[0][0][s.label] for s in family],
                      rows[0][0].data.shape[-2:])
    aspect = (y.stop - y.start) / (x.stop - x.start)
    figure = plt.Figure(
        figsize=(PANEL_INCHES * (3 + n_shown) + 0.6,
                 (PANEL_INCHES * aspect + 0.35) * len(rows) + 0.5),
        layout='constrained')
    axes = figure.subplots(len(rows), 3 + n_shown, squeeze=False)
    for row, (view, painter) in zip(axes, rows, strict=True):
        drawn = _fill_row(row, view, painter, family)
        figure.colorbar(drawn, ax=row[2], shrink=0.8, pad=0.02)
    figure.suptitle(_suptitle(result, label, len(family), n_shown))
    return figure


def _outline(ax, region, window, color):
    """Draw the outline of the pixels of a source along their edges."""
    padded = np.pad(region, 1).astype(int)
    y0, x0 = window[0].start - 0.5, window[1].start - 0.5
    lines = []
    iy, ix = np.nonzero(np.diff(padded, axis=0))
    lines += [((x + x0 - 1, y + y0), (x + x0, y + y0))
              for y, x in zip(iy, ix, strict=True)]
    iy, ix = np.nonzero(np.diff(padded, axis=1))
    lines += [((x + x0, y + y0 - 1), (x + x0, y + y0))
              for y, x in zip(iy, ix, strict=True)]
    collections = import_optional('matplotlib.collections', 'plot_segments')
    ax.add_collection(collections.LineCollection(
        lines, colors=color, linewidths=1.2, capstyle='round'))


def _segments_axes(shape):
    """Axes of a new figure for an image of a shape."""
    plt = import_optional('matplotlib.figure', 'DeblendResult.plot_segments')
    ny, nx = shape
    width = 8 * min(1, nx / ny)
    return plt.Figure(figsize=(width + 0.8, width * ny / nx + 0.6),
                      layout='constrained').subplots()


def _draw_outlines(ax, result):
    """Outlines of the segments and crosses at the sources."""
    segm = result.segmentation_image
    color_of = dict(zip(segm.labels.tolist(), _colors(segm.n_labels),
                        strict=True))
    for label, window in zip(color_of, segm.slices, strict=True):
        _outline(ax, segm.data[window] == label, window, color_of[label])
    for source in result:
        ax.plot(source.x_centroid, source.y_centroid, '+', ms=6,
                color=color_of.get(source.label, 'black'))


def plot_segments(result, *, band=None, ax=None):
    """Figure of the frame; see `DeblendResult.plot_segments`."""
    view, painter = _band_row(result, result.band_index(band))
    data = unmasked_cube(view, view.data)
    ny, nx = data.shape[1:]
    ax = _segments_axes((ny, nx)) if ax is None else ax
    ax.set_facecolor(MASKED_COLOR)
    ax.imshow(painter.scaled_to(data).image(data), origin='lower',
              interpolation='nearest', **GREY)
    _draw_outlines(ax, view)
    ax.set(xlabel='x [pixels]', ylabel='y [pixels]',
           xlim=(-0.5, nx - 0.5), ylim=(-0.5, ny - 0.5))
    name = f', band {painter.name}' if painter.name else ''
    ax.set_title(f'{len(view)} sources{name}')
    return ax.figure
