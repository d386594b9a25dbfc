# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The figure of ``vaephot demo``."""

import numpy as np

from vaephot.utils.optional_deps import import_optional

__all__ = ['draw_demo']

# brightness that saturates the colours, in units of the noise of the sky,
# and the level below which they are linear
WHITE_SIGMA, LINEAR_SIGMA = 40.0, 1.5
RESIDUAL_SIGMA = 5.0
COLOURS = ('tab:blue', 'tab:orange')
# shown range of df/f
LIMIT = 0.6


def _balance(table, bands):
    """Brightness of each band relative to the first, of the sources."""
    flux = np.array([np.asarray(getattr(column, 'value', column), float)
                     for column in (table[f'flux_{b}'] for b in bands)])
    good = (flux > 0).all(0)
    if not good.any():
        return np.ones(len(bands))
    return np.median(flux[:, good] / flux[0, good], axis=1)


def _colour_image(data, noise, balance):
    """Red, green, blue from the last, a middle and the first band."""
    picks = [-1, len(data) // 2, 0]
    noisiest = max(noise[k] / balance[k] for k in picks)
    planes = np.stack([data[k] / balance[k] / noisiest for k in picks],
                      axis=-1)
    bright = np.maximum(planes.mean(-1), 1e-6)
    stretched = (np.arcsinh(bright / LINEAR_SIGMA)
                 / np.arcsinh(WHITE_SIGMA / LINEAR_SIGMA))
    scaled = planes * (stretched / bright)[..., None]
    return np.clip(scaled + 0.03, 0, 1)


def _show(axis, image, title, **options):
    axis.imshow(image, origin='lower', interpolation='nearest', **options)
    axis.set_title(title, fontsize='medium')
    axis.set_xticks([])
    axis.set_yticks([])


def _outline(axis, labels, box=None, width=0.7):
    """Draw the border of each segment."""
    y0, y1, x0, x1 = box or (0, labels.shape[0], 0, labels.shape[1])
    for label in np.unique(labels[y0:y1, x0:x1]):
        if label:
            axis.contour(np.arange(x0, x1), np.arange(y0, y1),
                         labels[y0:y1, x0:x1] == label, [0.5],
                         colors=[f'C{label % 10}'], linewidths=width)


def _busiest_box(result, field, half=20):
    """Square about the blend with the most children that fit in it."""
    table = result.table
    xy = np.column_stack([np.asarray(table['x_centroid'], float),
                          np.asarray(table['y_centroid'], float)])
    parents = np.asarray(table['parent_label'])
    best, centre = 0, xy[0] if len(xy) else np.zeros(2)
    for parent in np.unique(parents):
        own = xy[parents == parent]
        if len(own) > best and np.ptp(own, axis=0).max() < 1.6 * half:
            best, centre = len(own), (own.min(0) + own.max(0)) / 2
    ny, nx = field.data.shape[1:]
    x0, y0 = (int(np.clip(c - half, 0, max(0, n - 2 * half)))
              for c, n in zip(centre, (nx, ny), strict=True))
    return y0, min(y0 + 2 * half, ny), x0, min(x0 + 2 * half, nx)


def _draw_errors(axis, field, scores, blended):
    """df/f against the true magnitude."""
    band = field.bands[0]
    mag = field.true_mag(band)
    for score, colour in zip(scores, COLOURS, strict=False):
        error = np.clip(score.errors[band], -LIMIT, LIMIT)
        for rows, marker, label in (
                (blended, 's', f'{score.name}, blended'),
                (~blended, '.', f'{score.name}, alone')):
            axis.plot(mag[rows], error[rows], marker, color=colour,
                      alpha=0.8, ms=5, mfc=colour if marker == '.' else
                      'none', label=label)
    axis.axhline(0, color='0.5', lw=0.8)
    axis.set_ylim(-1.05 * LIMIT, 1.05 * LIMIT)
    axis.set_xlabel(f'true {band} magnitude')
    axis.set_ylabel(f'df/f in {band} (cut at ±{LIMIT:g})')
    axis.legend(fontsize='small')


def draw_demo(field, result, scores, blended):
    """
    Draw data, model, residual, children and flux errors.

    Parameters
    ----------
    field : `~vaephot.cli._demo_field.DemoField`
        The field.
    result : `~vaephot.results.result.DeblendResult`
        What was found.
    scores : list of `~vaephot.cli._demo_field.Score`
        Flux errors of one or two methods.
    blended : `~numpy.ndarray` of bool
        True sources that are blended.

    Returns
    -------
    `matplotlib.figure.Figure`
    """
    figures = import_optional('matplotlib.figure', 'the figure of the demo')
    figure = figures.Figure(figsize=(15, 10), layout='constrained')
    axes = figure.subplots(2, 3).ravel()
    data, noise = field.data.value, field.sky_rms
    model, residual = (np.asarray(getattr(image, 'value', image))
                       for image in (result.model_image,
                                     result.residual_image))
    labels = np.asarray(result.segmentation_image.data)
    colours = f'{field.bands[-1]}, {field.bands[len(data) // 2]}, ' \
        f'{field.bands[0]}'
    balance = _balance(result.table, field.bands)
    _show(axes[0], _colour_image(data, noise, balance), f'data ({colours})')
    _show(axes[1], _colour_image(model, noise, balance), 'model')
    _show(axes[2], residual[0] / noise[0], f'residual in {field.bands[0]}, '
          f'±{RESIDUAL_SIGMA:g} sigma of the sky', cmap='RdBu_r',
          vmin=-RESIDUAL_SIGMA, vmax=RESIDUAL_SIGMA)
    first = np.arcsinh(data[0] / noise[0])
    _show(axes[3], first, f'children over {field.bands[0]}', cmap='gray')
    _outline(axes[3], labels)
    box = _busiest_box(result, field)
    y0, y1, x0, x1 = box
    _show(axes[4], first[y0:y1, x0:x1], 'a blend and its children',
          cmap='gray', extent=(x0 - 0.5, x1 - 0.5, y0 - 0.5, y1 - 0.5))
    _outline(axes[4], labels, box, width=1.5)
    _mark_positions(axes[4], field, result, box)
    _draw_errors(axes[5], field, scores, blended)
    return figure


def _mark_positions(axis, field, result, box):
    """Mark true and measured positions in a box."""
    y0, y1, x0, x1 = box
    table = result.table
    measured = np.column_stack([np.asarray(table['x_centroid']),
                                np.asarray(table['y_centroid'])])
    for xy, marker, label in ((field.true_xy, 'c+', 'true'),
                              (measured, 'rx', 'measured')):
        inside = ((xy >= (x0, y0)) & (xy < (x1, y1))).all(1)
        axis.plot(*xy[inside].T, marker, ms=9, mew=1.5, label=label)
    axis.legend(fontsize='small')
