# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest

from vaephot.deblend.select.gain import chi2_gain

PARAMETERS = np.array([[22.3, 30.6, 0.8, 0.1, -0.1, 0, 0],
                       [29.1, 32.2, 0.4, -0.1, 0.2, 0, 0]])
FLUX = np.array([[9000.0], [2500.0]])


def test_gain_belongs_to_the_source_that_was_added(make):
    engine, fit = make(PARAMETERS, FLUX)
    pixels = engine.pixels
    one, both = fit(PARAMETERS[:1, :2]), fit(PARAMETERS[:, :2])
    gain = chi2_gain(pixels, one, both, 1)
    weight = pixels.weight(both.model_image)
    saved = sum(s * (weight * (pixels.data - m.model_image) ** 2).sum()
                for s, m in ((1, one), (-1, both)))
    assert gain.shape == (1,)
    assert gain[0] == pytest.approx(saved, rel=0.05)
    assert chi2_gain(pixels, both, both, 2).shape == (0,)


def test_each_pixel_belongs_to_the_nearest_new_source(make):
    engine, fit = make(PARAMETERS, FLUX)
    one = fit(PARAMETERS[:1, :2])
    # the second place is empty
    more = fit(np.vstack([PARAMETERS[:, :2], (17.0, 40.0)]))
    gain = chi2_gain(engine.pixels, one, more, 1)
    assert gain[0] > 5 * abs(gain[1])
