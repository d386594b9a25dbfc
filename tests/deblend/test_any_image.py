# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Images of which nothing is said: units, noise, PSF and background."""

import warnings
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import astropy.units as u
import numpy as np
import pytest
from astropy.convolution import convolve
from numpy.testing import assert_allclose, assert_array_equal
from photutils.segmentation import (
    SegmentationImage,
    detect_sources,
    make_2dgaussian_kernel,
)

from vaephot import VAEDeblender, deblend_sources
from vaephot.exceptions import VaephotWarning

scenes = SimpleNamespace(**run_path(
    str(Path(__file__).with_name('_scenes.py'))))
# places of point sources in an image of side 20, the first of them double
PLACES = ((5, 5), (15, 6), (6, 15), (15.5, 15))
# distance of that companion in FWHM
COMPANION = (2.0, 0.4)
PEAKS = (60, 50, 45, 55, 40)


def make_stars(fwhm, noise=1.0, seed=2):
    """Image of the stars, and where they are."""
    sigma = fwhm / 2.3548
    # wide enough apart to be measured alone
    step = max(4 * fwhm, 16) / 4
    side = int(20 * step)
    xy = np.array(PLACES) * step
    xy = np.vstack([xy, xy[0] + np.multiply(COMPANION, fwhm)])
    galaxies = [(*place, 0.0, 2 * np.pi * sigma ** 2 * peak)
                for place, peak in zip(xy, PEAKS, strict=True)]
    data = scenes.draw(galaxies, (side, side), sigma)
    rng = np.random.default_rng(seed)
    return data + noise * rng.standard_normal(data.shape), xy


def children_of(data, threshold, n_pixels=5, **options):
    segm = detect_sources(data, threshold, n_pixels)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        return segm, deblend_sources(data, segm, n_pixels,
                                     progress_bar=False, **options)


def labels_at(segm, xy):
    ix, iy = np.rint(xy).astype(int).T
    return segm.data[iy, ix]


@pytest.fixture(scope='module')
def plain():
    data, xy = make_stars(3.0)
    return data, xy, *children_of(data, 4.0)


def test_noise_and_psf_are_estimated_and_told(plain):
    _, xy, segm, children = plain
    assert children.n_labels == segm.n_labels + 1 == 5
    assert len(set(labels_at(children, xy))) == 5
    (said,) = children.info['estimated'].values()
    assert_allclose(said['noise'], 1, rtol=0.1)
    assert_allclose(said['psf_fwhm'], 3, rtol=0.1)
    assert said['smoothing_fwhm'] == 0


@pytest.mark.parametrize('scale', [1e-30, 1e-6, 1e6, 1e30])
@pytest.mark.parametrize('unit', [None, u.MJy / u.sr, u.electron, u.adu])
def test_the_unit_plays_no_part(plain, scale, unit):
    data, _, segm, children = plain
    scaled = scale * data if unit is None else scale * data << unit
    out = deblend_sources(scaled, segm, 5, progress_bar=False)
    assert_array_equal(out.data, children.data)
    noise = out.info['estimated']['band1']['noise']
    assert getattr(noise, 'unit', None) == unit
    assert_allclose(getattr(noise, 'value', noise), scale, rtol=0.1)


def test_whole_counts_are_enough(plain):
    data, xy, segm, _ = plain
    out = deblend_sources(np.rint(10 * data).astype(np.int32), segm, 5,
                          progress_bar=False)
    assert len(set(labels_at(out, xy))) == 5 == out.n_labels


@pytest.mark.parametrize('background', [-1.0, -0.3])
def test_a_background_somewhat_below_zero_does_no_harm(
        plain, background):
    data, xy, segm, _ = plain
    out = deblend_sources(data + background, segm, 5, progress_bar=False)
    assert len(set(labels_at(out, xy))) == 5 == out.n_labels


@pytest.mark.parametrize('fwhm', [1.3, 8.0])
def test_the_psf_may_be_narrow_or_wide(fwhm):
    data, xy = make_stars(fwhm)
    segm, children = children_of(data, 4.0, 2)
    assert segm.n_labels == 4
    assert len(set(labels_at(children, xy))) == 5 == children.n_labels
    assert_allclose(children.info['estimated']['band1']['psf_fwhm'], fwhm,
                    rtol=0.16)


def test_an_image_without_noise_works_without_a_warning():
    data, xy = make_stars(3.0, noise=0.0)
    _, children = children_of(data, 4.0)
    assert len(set(labels_at(children, xy))) == 5 == children.n_labels
    (said,) = children.info['estimated'].values()
    assert said['noise'] > 0
    assert said['smoothing_fwhm'] == 0


def test_a_convolved_image_is_recognised():
    data, xy = make_stars(3.0)
    smooth = convolve(data, make_2dgaussian_kernel(3, size=5))
    segm, children = children_of(smooth, 1.5)
    assert children.n_labels == segm.n_labels + 1
    assert len(set(labels_at(children, xy))) == 5
    (said,) = children.info['estimated'].values()
    # the kernel of the guide is cut off at 5 pixels
    assert_allclose(said['smoothing_fwhm'], 3, rtol=0.2)
    assert_allclose(said['psf_fwhm'], 3 * np.sqrt(2), rtol=0.15)


def test_the_parents_of_an_image_alone_are_found_too():
    data, xy = make_stars(3.0)
    result = VAEDeblender(refine=False, device='cpu')(data)
    children = result.segmentation_image
    assert isinstance(children, SegmentationImage)
    assert len(set(labels_at(children, xy)) - {0}) == 5
    assert set(children.info['estimated']['band1']) == {
        'noise', 'smoothing_fwhm', 'psf_fwhm'}


@pytest.mark.parametrize('scale', [1e-30, 1e-18, 1e18, 1e30])
@pytest.mark.parametrize('refine', [False, True])
def test_results_are_the_same_in_any_unit(plain, scale, refine):
    data, xy, segm, _ = plain
    deblend = VAEDeblender(refine=refine, device='cpu')
    wanted, found = (deblend(
        data * unit << u.adu, segm, psf=3.0, error=unit * u.adu,
        gain=5 / unit, zeropoint=25.0, positions=xy) for unit in (1, scale))
    for name in ('flux', 'flux_err'):
        assert found.table[name].unit == u.adu
        assert_allclose(found.table[name] / scale, wanted.table[name],
                        rtol=1e-4)
    assert_allclose(found.table['mag'].value + 2.5 * np.log10(scale),
                    wanted.table['mag'].value, atol=1e-4)
    for name in ('data', 'model_image', 'residual_image'):
        assert_allclose(getattr(found, name) / scale, getattr(wanted, name),
                        atol=1e-3)
    assert_allclose(found[1].image.sum() / scale, wanted[1].image.sum(),
                    rtol=1e-4)


@pytest.mark.parametrize('value', [3e6, 1e18, np.float32(3.4e38)])
def test_one_extreme_pixel_plays_no_part(plain, value):
    data, _, segm, children = plain
    hot = data.copy()
    hot[1, 2] = value
    with pytest.warns(VaephotWarning, match=r'\(2, 1\)'):
        out = deblend_sources(hot, segm, 5, progress_bar=False)
    assert_array_equal(out.data, children.data)


def test_a_very_bright_star_does_not_hide_sources_without_noise():
    data, xy = make_stars(3.0, noise=0.0)
    sigma = 3.0 / 2.3548
    star = (60.0, 42.0)
    data += scenes.draw([(*star, 0.0, 2 * np.pi * sigma**2 * 3e6)],
                        data.shape, sigma)
    _, children = children_of(data, 4.0)
    assert len(set(labels_at(children, xy[:3]))) == 3
