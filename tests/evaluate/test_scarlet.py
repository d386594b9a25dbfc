# Licensed under a 3-clause BSD style license - see LICENSE.rst
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from vaephot.evaluate.scarlet import scarlet_lite
from vaephot.exceptions import MissingDependencyError


def test_without_scarlet_the_error_says_where_it_is(make_observed,
                                                    monkeypatch):
    monkeypatch.setitem(sys.modules, 'scarlet', None)
    with pytest.raises(MissingDependencyError, match='pmelchior/scarlet'):
        scarlet_lite(make_observed(1))


class Blend:
    def __init__(self, sources, observation):
        self.sources = sources

    def fit_spectra(self):
        return self

    def fit(self, max_steps, **settings):
        if len(self.sources) > 1:
            msg = 'did not converge'
            raise RuntimeError(msg)


@pytest.fixture
def lite(monkeypatch):
    """Stand in for scarlet.lite: it sees a flux of 3 and 4 everywhere."""
    calls = []

    def observe(image, variance, weights, psf, model_psf):
        calls.append({'variance': variance, 'weights': weights, 'psf': psf})
        return SimpleNamespace(bbox=None, convolve=lambda model: model)

    def source(center):
        model = np.zeros((2, 4, 4))
        model[:, 0, 0] = 3, 4
        return SimpleNamespace(components=[1], center=center,
                               get_model=lambda bbox: model)

    module = ModuleType('scarlet.lite')
    module.LiteObservation, module.LiteBlend = observe, Blend
    module.integrated_circular_gaussian = lambda sigma: np.ones((3, 3))
    module.init_adaprox_component = lambda *args, **keywords: None
    module.init_all_sources_main = lambda observation, centers: [
        source(center) for center in centers]
    module.parameterize_sources = lambda sources, *args: sources
    package = ModuleType('scarlet')
    package.lite = module
    monkeypatch.setitem(sys.modules, 'scarlet', package)
    monkeypatch.setitem(sys.modules, 'scarlet.lite', module)
    return calls


def test_fluxes_are_sums_of_models_and_failures_are_nan(make_observed,
                                                        lite):
    rows = scarlet_lite(make_observed(2))
    assert rows[0]['flux'].tolist() == [[3, 4]]
    assert rows[1]['flux'].shape == (2, 2)
    assert np.isnan(rows[1]['flux']).all()
    assert lite[0]['psf'].sum((1, 2)) == pytest.approx([1, 1])
    assert (lite[0]['variance'] > 0).all()


@pytest.mark.usefixtures('lite')
def test_sources_outside_are_left_out(make_observed):
    observed = make_observed(1)
    observed.positions[0][0] = -5, 3
    assert np.isnan(scarlet_lite(observed)[0]['flux']).all()
