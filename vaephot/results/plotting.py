# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Figures of results; matplotlib is loaded when one is drawn."""

import numpy as np
from astropy.stats import mad_std

from vaephot.exceptions import BandMismatchError
from vaephot.utils.optional_deps import import_optional

__all__ = ['asinh_stretch', 'make_rgb', 'noise_of', 'plot_segments',
           'plot_source']

# faintest level shown and the linear range of the stretch, in sigma
BLACK_LEVEL = -1.5
LINEAR_RANGE = 3.0
# residuals are shown from minus to plus this many sigma
RESIDUAL_RANGE = 6.0
# pixels around the boxes of the children
MARGIN = 4
PANEL_INCHES = 2.2
# colour of pixels without data
MASKED_COLOR = '#b9d4ea'
# Okabe & Ito 2008: colours that colour-blind readers can tell apart
COLORS = ('#E69F00', '#56B4E9', '#009E73', '#D55E00', '#CC79A7', '#0072B2',
          '#F0E442')


def _plain(value):
    """Value without its unit."""
    return np.asarray(getattr(value, 'value', value))


def _cube(frame):
    """Frame with a band axis, without unit."""
    frame = _plain(frame)
    return frame[None] if frame.ndim == 2 else frame


def noise_of(image):
    """
    Noise of an image that is mostly sky.

    Parameters
    ----------
    image : `numpy.ndarray`
        Any shape.

    Returns
    -------
    float
        Scaled median absolute deviation, clipped below so that it is
        positive.
    """
    finite = image[np.isfinite(image)]
    if not finite.size:
        return 1.0
    sigma = mad_std(finite)
    largest = np.abs(finite).max()
    return float(sigma or 1e-3 * largest or 1.0)


def asinh_stretch(image, sigma, brightest):
    """
    Compress an image so that noise and peaks are both seen.

    Parameters
    ----------
    image : `numpy.ndarray`
        Sky-subtracted image.
    sigma : float
        Its noise.
    brightest : float
        Value that becomes 1.

    Returns
    -------
    `numpy.ndarray`
        Values from 0, 1.5 sigma below the sky, to 1.

    References
    ----------
    Lupton, Gunn & Szalay 1999, AJ 118, 1406, the asinh magnitude.
    """
    low = np.arcsinh(BLACK_LEVEL / LINEAR_RANGE)
    high = np.arcsinh(max(brightest / sigma, LINEAR_RANGE) / LINEAR_RANGE)
    scaled = np.arcsinh(image / sigma / LINEAR_RANGE)
    return np.clip((scaled - low) / (high - low), 0, 1)


def make_rgb(images, scales, sigma, brightest):
    """
    Colour image that keeps the colour of bright pixels.

    Parameters
    ----------
    images : sequence of `numpy.ndarray`, (ny, nx)
        For red, green and blue.
    scales : sequence of float
        Factors that balance the bands.
    sigma : float
        Noise of the mean of the scaled images.
    brightest : float
        Value of that mean that becomes white.

    Returns
    -------
    `numpy.ndarray`, (ny, nx, 3)
        Values between 0 and 1.

    References
    ----------
    Lupton et al. 2004, PASP 116, 133, eq. 2: the stretch is that of the
    mean, and pixels too bright for one colour keep their hue.
    """
    scaled = np.stack([image * scale for image, scale in
                       zip(images, scales, strict=True)])
    mean = scaled.mean(0)
    stretched = asinh_stretch(mean, sigma, brightest)
    offset = asinh_stretch(np.zeros(1), sigma, brightest)[0]
    ratio = (stretched - offset) / np.where(np.abs(mean) > 0, mean, 1)
    rgb = np.clip(offset + scaled * ratio, 0, None)
    rgb /= np.maximum(rgb.max(0), 1)
    return np.moveaxis(rgb, 0, -1)


def _without_masked(result, frame):
    """Frame with a band axis and NaN in masked pixels."""
    cube = _cube(frame)
    if result.mask is None:
        return cube
    mask = result.mask if result.mask.ndim == 3 else result.mask[None]
    return np.where(mask, np.nan, cube)


def _window(sources, shape):
    """Slices around the boxes of sources."""
    y0 = min(s.slices[0].start for s in sources) - MARGIN
    y1 = max(s.slices[0].stop for s in sources) + MARGIN
    x0 = min(s.slices[1].start for s in sources) - MARGIN
    x1 = max(s.slices[1].stop for s in sources) + MARGIN
    return (slice(max(y0, 0), min(y1, shape[0])),
            slice(max(x0, 0), min(x1, shape[1])))


def _brightness(source):
    flux = np.atleast_1d(_plain(source.flux)).sum()
    return flux if np.isfinite(flux) else -np.inf


def _siblings(result, label):
    """Return the source, then the other children of its parent."""
    source = result[label]
    others = [s for s in result if source.parent_label > 0
              and s.parent_label == source.parent_label and s is not source]
    others = sorted(others, key=_brightness, reverse=True)
    return [source, *others]


def _crop(result, source, window):
    """Image of a source alone, on a window of the frame."""
    out = np.zeros((len(result.bands), *result.data.shape[-2:]))
    out[:, *source.slices] = _cube(source.image)
    return out[:, *window]


def _channels(result, rgb):
    """Bands for red, green and blue."""
    if rgb is True:
        n_bands = len(result.bands)
        return [n_bands - 1, n_bands // 2, 0]
    bands = [result.band_index(band) for band in rgb]
    if len(bands) != 3:
        msg = (f'rgb needs three bands, for red, green and blue, not '
               f'{len(bands)}.')
        raise BandMismatchError(msg, bands=rgb)
    return bands


def _brightest(image):
    """Largest finite value, or 0."""
    return np.max(image, initial=0, where=np.isfinite(image))


class _BandPainter:
    """Turns images of one band into what a panel shows."""

    def __init__(self, result, band, data):
        self.band = band
        self.name = '' if result.is_2d else result.bands[band]
        self.sigma = _band_noise(result, band)
        self.brightest = _brightest(data[band])

    def image(self, cube):
        """Grey image."""
        return asinh_stretch(cube[self.band], self.sigma, self.brightest)

    def residual(self, cube):
        """Residual in sigma."""
        return cube[self.band] / self.sigma

    style = {'cmap': 'gray_r', 'vmin': 0, 'vmax': 1}
    residual_style = {'cmap': 'RdBu_r', 'vmin': -RESIDUAL_RANGE,
                      'vmax': RESIDUAL_RANGE}
    residual_title = r'residual / $\sigma$'


class _ColorPainter:
    """Turns images of three bands into colours."""

    def __init__(self, result, bands, data):
        self.bands = bands
        self.name = '-'.join(result.bands[band] for band in bands)
        model = np.clip(_cube(result.model_image)[bands], 0, None)
        # the average source is grey
        total = model.sum((1, 2)) + np.finfo(float).tiny
        self.scales = total.mean() / total
        noise = np.array([_band_noise(result, band) for band in bands])
        self.sigma = np.sqrt(((noise * self.scales) ** 2).sum()) / 3
        self.brightest = _brightest(np.tensordot(
            self.scales, data[bands], 1)) / 3

    def image(self, cube):
        """Colour image."""
        return make_rgb(np.nan_to_num(cube[self.bands]), self.scales,
                        self.sigma, self.brightest)

    def residual(self, cube):
        """Residual of the mean in sigma."""
        return np.tensordot(self.scales, cube[self.bands], 1) / 3 / self.sigma

    style = {}
    residual_style = _BandPainter.residual_style
    residual_title = r'residual of mean / $\sigma$'


def _band_noise(result, band):
    """Noise of a pixel: the median error, or measured on the residual."""
    if result.error is not None:
        error = _cube(result.error)
        return float(np.median(error[band]))
    return noise_of(_without_masked(result, result.residual_image)[band])


def _bands(result, band):
    """Numbers of the bands to show."""
    if band is None:
        return range(len(result.bands))
    if isinstance(band, (str, int, np.integer)):
        return [result.band_index(band)]
    return [result.band_index(name) for name in band]


class _Scene:
    """What is seen around some sources, on one pixel grid."""

    def __init__(self, result, family, n_shown):
        self.family = [result[source.label] for source in family]
        self.shown = self.family[:n_shown]
        window = _window(self.family, result.data.shape[-2:])
        data, residual = (
            _without_masked(result, frame)[:, *window]
            for frame in (result.data, result.residual_image))
        self.frames = (data, _cube(result.model_image)[:, *window], residual,
                       [_crop(result, source, window)
                        for source in self.shown])
        self.extent = (window[1].start - 0.5, window[1].stop - 0.5,
                       window[0].start - 0.5, window[0].stop - 0.5)


def _rows(result, band, rgb, family, n_shown):
    """Scene and painter of each row of panels."""
    if result.on_own_grids:
        if rgb:
            msg = (f'rgb is {rgb}; bands on pixel grids of their own '
                   f'({", ".join(result.bands)}) make no colour image.')
            raise BandMismatchError(msg, bands=result.bands)
        rows = []
        for index in _bands(result, band):
            view = result.band(index)
            scene = _Scene(view, family, n_shown)
            painter = _BandPainter(view, 0, scene.frames[0])
            painter.name = result.bands[index]
            rows.append((scene, painter))
        return rows
    scene = _Scene(result, family, n_shown)
    if rgb:
        return [(scene, _ColorPainter(result, _channels(result, rgb),
                                      scene.frames[0]))]
    return [(scene, _BandPainter(result, index, scene.frames[0]))
            for index in _bands(result, band)]


def _show(ax, image, extent, style):
    ax.set_facecolor(MASKED_COLOR)
    ax.imshow(image, origin='lower', extent=extent,
              interpolation='nearest', **style)
    ax.set_xticks([])
    ax.set_yticks([])


def _with_error(value, error):
    """Value and error as text, to two digits of the error."""
    if not (np.isfinite(value) and np.isfinite(error) and error > 0):
        return f'{value:.3g}'
    places = 1 - int(np.floor(np.log10(error)))
    if places > 6 or max(abs(value), error) >= 1e6:
        return f'{value:.3g} $\\pm$ {error:.2g}'
    places = max(places, 0)
    return f'{value:.{places}f} $\\pm$ {error:.{places}f}'


def _title(source, painter):
    """Label and flux with its error."""
    if isinstance(painter, _ColorPainter):
        return f'{source.label}'
    flux, error = (np.atleast_1d(_plain(value))[painter.band]
                   for value in (source.flux, source.flux_err))
    return f'{source.label}:  {_with_error(flux, error)}'


def _mark(ax, sources, colors, extent):
    """Crosses at the positions that lie in the panel."""
    for source, color in zip(sources, colors, strict=True):
        ax.plot(source.x_centroid, source.y_centroid, '+', color=color,
                ms=9, mew=1.6)
    ax.set_xlim(*extent[:2])
    ax.set_ylim(*extent[2:])


def _colors(n):
    return [COLORS[i % len(COLORS)] for i in range(n)]


def _row(axes, painter, scene, colors):
    """Fill one row of panels; return the image of the residual."""
    data, model, residual, images = scene.frames
    extent, shown = scene.extent, scene.shown
    for ax, cube, title in ((axes[0], data, 'data'),
                            (axes[1], model, 'model')):
        _show(ax, painter.image(cube), extent, painter.style)
        ax.set_title(title)
    _show(axes[2], painter.residual(residual), extent,
          painter.residual_style)
    axes[2].set_title(painter.residual_title)
    for ax, source, image, color in zip(axes[3:], shown, images,
                                        colors[:len(shown)], strict=True):
        _show(ax, painter.image(image), extent, painter.style)
        _mark(ax, [source], [color], extent)
        ax.set_title(_title(source, painter), fontsize='medium')
        for spine in ax.spines.values():
            spine.set(color=color, linewidth=2)
    axes[0].set_ylabel(painter.name)
    _mark(axes[0], scene.family, colors, extent)
    return axes[2].images[0]


def plot_source(result, label, *, band=None, rgb=False, max_children=8):
    """
    Plot the parent of a source, its model, and each child.

    Parameters
    ----------
    result : `~vaephot.results.result.DeblendResult`
        The sources.
    label : int
        Label of the source.
    band : str, int, sequence or None, optional
        Bands to show; `None` shows all.
    rgb : bool or sequence, optional
        Show one colour image instead.
    max_children : int, optional
        Children shown at most.

    Returns
    -------
    `matplotlib.figure.Figure`
    """
    family = _siblings(result, label)
    plt = import_optional('matplotlib.figure', 'DeblendResult.plot')
    n_shown = min(max(1, max_children), len(family))
    rows = _rows(result, band, rgb, family, n_shown)
    ny, nx = rows[0][0].frames[0].shape[1:]
    figure = plt.Figure(
        figsize=(PANEL_INCHES * (3 + n_shown) + 0.6,
                 (PANEL_INCHES * ny / nx + 0.35) * len(rows) + 0.5),
        layout='constrained')
    axes = figure.subplots(len(rows), 3 + n_shown, squeeze=False)
    for row, (scene, painter) in zip(axes, rows, strict=True):
        drawn = _row(row, painter, scene, _colors(len(family)))
        figure.colorbar(drawn, ax=row[2], shrink=0.8, pad=0.02)
    more = len(family) - n_shown
    unit = '' if result.unit is None else f', fluxes in {result.unit}'
    figure.suptitle(
        f'parent {result[label].parent_label}: {len(family)} '
        f'source{"s" * (len(family) != 1)}'
        + (f' ({more} more not shown)' if more else '') + unit)
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


def plot_segments(result, *, band=None, ax=None):
    """
    Plot the outlines of the children over the image.

    Parameters
    ----------
    result : `~vaephot.results.result.DeblendResult`
        The sources.
    band : str, int or None, optional
        Band to show; `None` is the first.
    ax : `matplotlib.axes.Axes` or None, optional
        Where to draw; `None` makes a figure.

    Returns
    -------
    `matplotlib.figure.Figure`
    """
    index = result.band_index(band)
    name = '' if result.is_2d else f', band {result.bands[index]}'
    if result.on_own_grids:
        result, index = result.band(index), 0
    data = _without_masked(result, result.data)
    if ax is None:
        plt = import_optional('matplotlib.figure',
                              'DeblendResult.plot_segments')
        ny, nx = data.shape[1:]
        width = 8 * min(1, nx / ny)
        figure = plt.Figure(figsize=(width + 0.8, width * ny / nx + 0.6),
                            layout='constrained')
        ax = figure.subplots()
    painter = _BandPainter(result, index, data)
    ax.set_facecolor(MASKED_COLOR)
    ax.imshow(painter.image(data), origin='lower', interpolation='nearest',
              **painter.style)
    segm = result.segmentation_image
    color_of = {}
    for i, (label, window) in enumerate(zip(
            segm.labels.tolist(), segm.slices, strict=True)):
        color_of[label] = COLORS[i % len(COLORS)]
        _outline(ax, segm.data[window] == label, window, color_of[label])
    for source in result:
        ax.plot(source.x_centroid, source.y_centroid, '+', ms=6,
                color=color_of.get(source.label, 'black'))
    ax.set(xlabel='x [pixels]', ylabel='y [pixels]',
           xlim=(-0.5, data.shape[2] - 0.5),
           ylim=(-0.5, data.shape[1] - 0.5))
    ax.set_title(f'{len(result)} sources{name}')
    return ax.figure
