# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np

from vaephot.deblend.inputs.psf.from_stars.hollow_tops import hollow_tops


def star(fields, peak=3e5):
    image = np.random.default_rng(0).normal(0, 1, (60, 60))
    fields.add(image, 30.2, 29.7, peak,
               lambda dx, dy: fields.moffat(dx, dy, 2.2, 3.0))
    return image


def test_a_core_that_has_overflowed_is_found(fields):
    image = star(fields)
    over = image > 65536
    image[over] %= 65536
    found = hollow_tops(image, 1.0)
    assert found[over].mean() > 0.8
    assert found.sum() < 60


def test_a_star_a_pair_and_a_dead_pixel_are_not_hollow(fields):
    image = star(fields)
    assert not hollow_tops(image, 1.0).any()
    fields.add(image, 32.2, 29.7, 3e5,
               lambda dx, dy: fields.moffat(dx, dy, 2.2, 3.0))
    assert not hollow_tops(image, 1.0).any()
    image[30, 30] = 0
    assert not hollow_tops(image, 1.0).any()


def test_noise_is_not_hollow():
    image = np.random.default_rng(0).normal(0, 1, (20, 30))
    assert not hollow_tops(image, np.ones(image.shape)).any()
