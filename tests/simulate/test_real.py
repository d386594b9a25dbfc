# Licensed under a 3-clause BSD style license - see LICENSE.rst
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from photutils.aperture import BoundingBox

from vaephot.exceptions import CatalogError
from vaephot.simulate.blends import draw_blends
from vaephot.simulate.fourier_drawing import PSFStack, Renderer
from vaephot.simulate.real import (
    RealGalaxies,
    RealGalaxy,
    RealStamp,
    denoise,
    starlet,
)
from vaephot.simulate.survey import get_survey, survey_psfs

galsim = pytest.importorskip('galsim')
pytestmark = pytest.mark.galsim


def folder():
    path = Path(os.environ.get('VAEPHOT_TEST_DATA', '')) / (
        'cosmos_realgalaxy')
    if not path.is_dir():
        pytest.skip('VAEPHOT_TEST_DATA has no cosmos_realgalaxy')
    return path


def smooth_stamp(size=64):
    law = galsim.Convolve(galsim.Exponential(half_light_radius=0.25),
                          galsim.Gaussian(fwhm=0.1)).shear(g1=0.2, g2=0.1)
    return law.drawImage(nx=size, ny=size, scale=0.03,
                         dtype=float).array


def test_wavelets_add_to_the_image():
    image = np.random.default_rng(1).normal(size=(30, 41))
    assert starlet(image, 3).sum(axis=0) == pytest.approx(image)


@pytest.mark.parametrize('snr', [30, 100])
def test_denoising_takes_the_noise_and_keeps_the_galaxy(snr):
    truth = smooth_stamp()
    rms = np.sqrt((truth ** 2).sum()) / snr
    rng = np.random.default_rng(2)
    noise = rng.normal(0, rms, (300, 300))
    clean, left = denoise(truth + rng.normal(0, rms, truth.shape), noise)
    assert (clean >= 0).all()
    assert clean.sum() == pytest.approx(truth.sum(), rel=0.08)
    error = (clean - truth)[truth > 0.05 * truth.max()].std()
    assert error < 0.7 * rms
    assert left < 0.45


def make_stamp():
    truth = smooth_stamp()
    psf = galsim.Gaussian(fwhm=0.1).drawImage(
        nx=41, ny=41, scale=0.03, dtype=float).array
    return RealStamp(row=0, mag=22.0, image=truth / truth.sum(),
                     psf=psf / psf.sum(), pixel_scale=0.03, noise_left=0.1)


def test_the_shape_of_a_stamp_is_measured():
    galaxy = RealGalaxy(stamp=make_stamp())
    assert galaxy.half_light_radius == pytest.approx(0.25, rel=0.08)
    eta = 2 * np.arctanh(np.hypot(0.2, 0.1))
    assert np.hypot(*galaxy.conformal_shear) == pytest.approx(eta, rel=0.25)


def test_turning_and_flipping_move_the_shape_along():
    stamp = make_stamp()
    plain = complex(*RealGalaxy(stamp=stamp).conformal_shear)
    turned = RealGalaxy(stamp=stamp, angle=0.3)
    assert complex(*turned.conformal_shear) == pytest.approx(
        plain * np.exp(0.6j))
    renderer = Renderer(PSFStack([survey_psfs('hsc-wide', 31)]))
    for galaxy in (turned, RealGalaxy(stamp=stamp, flip=True, angle=0.4)):
        image = renderer.draw(
            galaxy.components(), galaxy.part_fluxes(np.ones(5)),
            BoundingBox(0, 61, 0, 61), 30, 30, galaxy.extent)[0]
        assert image.sum() == pytest.approx(1, abs=0.01)
        y, x = np.indices(image.shape) - 30
        window = np.exp(-0.5 * (x ** 2 + y ** 2) / 6 ** 2) * image
        moment = complex((window * (x * x - y * y)).sum(),
                         (window * 2 * x * y).sum())
        wanted = complex(*galaxy.conformal_shear)
        assert abs(np.angle(moment / wanted)) < 0.1


def test_a_folder_without_catalogue_is_refused(tmp_path):
    with pytest.raises(CatalogError, match='holds no catalogue'):
        RealGalaxies(tmp_path)
    with pytest.raises(CatalogError, match='choose train'):
        RealGalaxies(tmp_path, split='both')


def test_even_rows_are_for_training_and_odd_ones_for_tests():
    train = RealGalaxies(folder(), split='train')
    test = RealGalaxies(folder(), split='test')
    assert set(train.rows % 2) == {0}
    assert set(test.rows % 2) == {1}
    assert len(train) + len(test) == len(RealGalaxies(folder(),
                                                      split='all'))


def test_real_galaxies_are_dimmed_never_brightened():
    real = RealGalaxies(folder(), split='all')
    mags = np.linspace(22, 26, 30)
    items = real.draw(np.random.default_rng(1), mags, ['VIS'])
    found = [(item, mag) for item, mag in zip(items, mags, strict=True)
             if isinstance(item.galaxy, RealGalaxy)]
    assert len(found) > 15
    for item, mag in found:
        assert item.galaxy.stamp.mag < mag
        assert item.galaxy.dilation < 1
        assert item.mags[0] == pytest.approx(mag)
        assert item.parent in real.rows


def test_the_noise_left_in_the_truth_is_far_below_that_of_the_sky():
    real = RealGalaxies(folder(), split='all')
    survey = get_survey('euclid-wide').select(['VIS'])
    renderer = Renderer(PSFStack([survey_psfs(survey, 61)]))
    ratios = []
    for row in real.rows:
        stamp = real.stamp(row)
        variance = real._catalog.getNoiseProperties(row)[2]
        total = real._catalog.getGalImage(row).array.sum()
        noise = np.random.default_rng(row).normal(
            0, np.sqrt(variance) * stamp.noise_left / total,
            stamp.image.shape)
        # through the same steps as the galaxy, at its own magnitude
        only = RealStamp(row=row, mag=stamp.mag, psf=stamp.psf,
                         image=stamp.image + noise, pixel_scale=0.03,
                         noise_left=0.0)
        images = [renderer.draw(
            g.components(), {'whole': np.ones(1)},
            BoundingBox(0, 41, 0, 41), 20, 20, g.extent)[0]
            for g in (RealGalaxy(stamp=only), RealGalaxy(stamp=stamp))]
        flux = 10 ** (-0.4 * (stamp.mag - 23.9))
        ratios.append(flux * (images[0] * (1 + noise.sum()) - images[1])
                      [10:31, 10:31].std() / survey.sky_rms[0])
    assert np.median(ratios) < 0.3
    assert max(ratios) < 1


def test_populations_survive_pickling_and_draw_blends():
    real = RealGalaxies(folder(), split='test')
    again = pickle.loads(pickle.dumps(real))  # noqa: S301
    assert (again.rows == real.rows).all()
    blends = draw_blends('faint', 4, seed=3, population=again)
    assert np.isfinite(blends.image).all()
    odd = blends.parent[blends.parent >= 0]
    assert len(odd) > 0
    assert (odd % 2 == 1).all()
