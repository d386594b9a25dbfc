# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
from photutils.segmentation import make_2dgaussian_kernel

from vaephot.evaluate.mosaic import (
    GAP,
    DetectSettings,
    detect_segments,
    image_psfs,
    make_mosaic,
    smoothing_line,
)


def test_blends_are_found_again_and_gaps_are_masked(make_observed):
    observed = make_observed(5)
    mosaic = make_mosaic(observed)
    ny, nx = observed.shape
    for k, (x, y) in enumerate(mosaic.corners):
        assert np.array_equal(mosaic.image[:, y:y + ny, x:x + nx],
                              observed.image[k])
        assert not mosaic.gap[y:y + ny, x:x + nx].any()
    assert (~mosaic.gap).sum() == 5 * ny * nx
    assert mosaic.mask[:, mosaic.gap].all()
    assert not mosaic.image[:, mosaic.gap].any()


def test_a_catalogue_is_taken_apart(make_observed):
    observed = make_observed(5)
    mosaic = make_mosaic(observed)
    xy = mosaic.corners[observed.truth.blend] + observed.truth.xy
    xy = np.concatenate([xy, [(GAP / 2, GAP / 2)]])  # in a gap
    for k, rows in enumerate(mosaic.split(xy)):
        assert rows.tolist() == list(range(
            observed.truth.rows(k).start, observed.truth.rows(k).stop))


def test_a_single_image_is_left_as_it_is(make_observed):
    observed = make_observed(1)
    mosaic = make_mosaic(observed)
    assert np.array_equal(mosaic.image, observed.image[0])
    assert not mosaic.gap.any()


def test_sources_are_detected_and_noise_is_not(make_observed):
    observed = make_observed(4)
    mosaic = make_mosaic(observed)
    _, segm = detect_segments(mosaic, observed.sky_rms[0])
    for xy, corner in zip(observed.positions, mosaic.corners, strict=True):
        x, y = np.round(xy[0] + corner).astype(int)
        assert segm.data[y, x] > 0
    empty = make_mosaic(make_observed(2, flux=1e-9))
    smooth, segm = detect_segments(empty, observed.sky_rms[0],
                                   DetectSettings(threshold=5.0))
    assert segm is None
    assert smooth.shape == empty.gap.shape


def test_psfs_have_unit_flux_as_photutils_counts(make_observed):
    psf = image_psfs(make_observed(1))[0]
    y, x = np.mgrid[-7:8, -7:8]
    assert psf.evaluate(x, y, 1, 0, 0).sum() == pytest.approx(1, rel=0.01)


def test_the_kernel_is_that_of_photutils():
    line = smoothing_line()
    kernel = make_2dgaussian_kernel(2.0, size=5)
    assert np.outer(line, line) == pytest.approx(kernel.array, abs=2e-4)
