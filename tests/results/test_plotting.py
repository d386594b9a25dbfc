# Licensed under a 3-clause BSD style license - see LICENSE.rst
import io
import subprocess
import sys
from pathlib import Path
from runpy import run_path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from vaephot.exceptions import BandMismatchError

make_result = run_path(
    str(Path(__file__).parents[1] / '_blends.py'))['make_result']
pytest.importorskip('matplotlib')


@pytest.fixture(name='result', scope='module')
def _result():
    return make_result(mask_some=True)


def draw(figure):
    """Draw for real: layout and text errors show only then."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=40)
    return buffer.getvalue()


def panels(figure):
    return [ax for ax in figure.axes if ax.images and ax.get_title()]


def test_all_bands_and_children_are_shown(result):
    figure = result.plot(3)
    assert len(panels(figure)) == 3 * (3 + 3)
    assert draw(figure).startswith(b'\x89PNG')
    titles = [ax.get_title() for ax in panels(figure)[:6]]
    assert titles[:2] == ['data', 'model']
    assert [title.split(':')[0] for title in titles[3:]] == ['3', '2', '4']
    assert 'parent 4: 3 sources' in figure.get_suptitle()


def test_residual_scale_is_symmetric(result):
    image = panels(result.plot(3))[2].images[0]
    assert image.norm.vmin == -image.norm.vmax
    values = image.get_array()
    assert_allclose(np.ma.std(values), 1, atol=0.05)


def test_panels_of_a_band_share_their_stretch(result):
    row = panels(result.plot(3, band='Y'))
    assert len(row) == 6
    shown = row[3].images[0].get_array()
    data = row[0].images[0].get_array()
    model = row[1].images[0].get_array()
    assert shown.max() <= data.max()
    assert abs(model.max() - np.nanmax(data)) < 0.1


def test_masked_pixels_are_blank(result):
    data = panels(result.plot(2, band=0))[0].images[0].get_array()
    assert np.isnan(np.ma.getdata(data)).sum() == 8


def test_centroids_are_marked_where_they_are(result):
    axes = panels(result.plot(3, band='VIS'))
    (mark,) = axes[3].lines
    assert (mark.get_xdata()[0], mark.get_ydata()[0]) == (40.5, 35.1)
    assert len(axes[0].lines) == 3
    x0, x1, y0, y1 = axes[0].images[0].get_extent()
    assert x0 < 40.5 < x1
    assert y0 < 35.1 < y1


def test_colour_images(result):
    figure = result.plot(3, rgb=True)
    assert len(panels(figure)) == 6
    assert panels(figure)[0].images[0].get_array().shape[2] == 3
    draw(figure)
    draw(result.plot(3, rgb=('VIS', 'Y', 'H')))
    with pytest.raises(BandMismatchError, match='three'):
        result.plot(3, rgb=('VIS', 'Y'))


def test_few_children_are_chosen_by_brightness(result):
    figure = result.plot(4, band='VIS', max_children=2)
    titles = [ax.get_title() for ax in panels(figure)[3:]]
    assert [title.split(':')[0] for title in titles] == ['4', '2']
    assert '1 more not shown' in figure.get_suptitle()


def test_2d_result_and_loose_source():
    result = make_result(1, is_2d=True, unit=None)
    for label in (1, 5):
        figure = result.plot(label)
        assert len(panels(figure)) == 4
        draw(figure)
    with pytest.raises(KeyError, match='1, 2, 3, 4, 5'):
        result.plot(77)


def test_segments_are_outlined_along_pixel_edges(result):
    figure = result.plot_segments(band='H')
    (ax,) = figure.axes
    segm = result.segmentation_image
    assert len(ax.collections) == segm.n_labels
    inside = segm.data == segm.labels[0]
    edges = sum(np.abs(np.diff(np.pad(inside, 1).astype(int), axis=k)).sum()
                for k in (0, 1))
    segments = ax.collections[0].get_segments()
    assert len(segments) == edges
    corners = np.concatenate(segments)
    iy, ix = np.nonzero(inside)
    assert_allclose(corners.min(0), [ix.min() - 0.5, iy.min() - 0.5])
    assert_allclose(corners.max(0), [ix.max() + 0.5, iy.max() + 0.5])
    assert len(ax.lines) == 5
    draw(figure)


def test_segments_on_given_axes(result):
    from matplotlib.figure import Figure

    figure = Figure()
    ax = figure.subplots()
    assert result.plot_segments(ax=ax) is figure
    assert ax.images


def test_matplotlib_is_loaded_only_to_plot():
    code = ('import sys, vaephot.results.result; '
            'sys.exit("matplotlib" in sys.modules)')
    assert subprocess.run([sys.executable, '-c', code],
                          check=False).returncode == 0


def test_grids_of_their_own_have_a_row_each():
    native = run_path(str(Path(__file__).parents[1] / '_blends.py'))[
        'make_native_result']()
    figure = native.plot(3)
    shown = panels(figure)
    assert len(shown) == 2 * (3 + 3)
    shapes = [ax.images[0].get_array().shape for ax in (shown[0], shown[6])]
    assert shapes[0][0] > shapes[1][0]
    assert draw(figure).startswith(b'\x89PNG')
    with pytest.raises(BandMismatchError, match='grids'):
        native.plot(3, rgb=True)
    axes = native.plot_segments(band='H').axes[0]
    assert axes.get_xlim()[1] == 33.5
    assert axes.get_title().endswith('band H')
