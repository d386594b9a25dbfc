# Licensed under a 3-clause BSD style license - see LICENSE.rst
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from astropy import units as u
from astropy.table import QTable

from vaephot.cli._demo_field import Score
from vaephot.cli._demo_figure import draw_demo
from vaephot.exceptions import MissingDependencyError


@pytest.fixture
def parts():
    """Return field, result, scores and blends of a scene of two sources."""
    rng = np.random.default_rng(1)
    data = rng.normal(size=(2, 50, 70))
    data[:, 20:24, 30:34] += 50
    field = SimpleNamespace(
        data=data * u.uJy, sky_rms=np.ones(2), bands=('g', 'r'),
        true_xy=np.array([(31.5, 21.5), (60.0, 40.0)]),
        true_mag=lambda band: np.array([20.0, 24.0]))
    labels = np.zeros((50, 70), int)
    labels[18:26, 28:36] = 1
    table = QTable({'parent_label': [1, 2], 'x_centroid': [31.5, 60.0],
                    'y_centroid': [21.5, 40.0],
                    'flux_g': [800.0, 3.0] * u.uJy,
                    'flux_r': [800.0, -3.0] * u.uJy})
    result = SimpleNamespace(
        table=table, segmentation_image=SimpleNamespace(data=labels),
        model_image=data * u.uJy, residual_image=0 * data * u.uJy)
    scores = [Score(name=name, found=np.ones(2, bool), n_measured=2,
                    errors={'g': np.array([0.01, 7.0])})
              for name in ('ours', 'theirs')]
    return field, result, scores, np.array([True, False])


@pytest.mark.parametrize('n_scores', [1, 2])
def test_the_figure_has_six_panels_and_can_be_saved(parts, tmp_path,
                                                    n_scores):
    pytest.importorskip('matplotlib')
    field, result, scores, blended = parts
    figure = draw_demo(field, result, scores[:n_scores], blended)
    assert len(figure.axes) == 6
    errors = figure.axes[5].lines[0].get_ydata()
    assert errors.tolist() == [0.01]
    assert len(figure.axes[5].lines) == 2 * n_scores + 1
    figure.savefig(tmp_path / 'demo.png', dpi=40)


def test_without_matplotlib_the_error_names_the_extra(parts, monkeypatch):
    monkeypatch.setitem(sys.modules, 'matplotlib', None)
    monkeypatch.setitem(sys.modules, 'matplotlib.figure', None)
    with pytest.raises(MissingDependencyError, match=r'vaephot\[plot\]'):
        draw_demo(*parts)
