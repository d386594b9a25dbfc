# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Bands on pixel grids of their own, from images to results."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from astropy import units as u
from astropy.nddata import NDData, StdDevUncertainty
from astropy.wcs import WCS
from numpy.testing import assert_allclose, assert_array_equal
from photutils.segmentation import SegmentationImage

from vaephot.deblend.fit.engine import NeighbourLight
from vaephot.deblend.inputs.read import prepare_observation
from vaephot.deblend.scene import empty_result
from vaephot.exceptions import DeblendWarning
from vaephot.results.result import DeblendResult

SCALES = {'g': 0.1, 'H': 0.25, 'r': 0.1}
SHAPES = {'g': (64, 80), 'H': (30, 36), 'r': (64, 80)}
ANGLES = {'g': 0, 'H': 15, 'r': 0}
# sigma in arcsec of galaxies and of the PSFs
PSF_SIGMA = {'g': 0.12, 'H': 0.3, 'r': 0.15}
# x, y on the grid of g, sigma in arcsec, fluxes
GALAXIES = ((30.3, 30.1, 0.15, {'g': 900.0, 'H': 1500.0, 'r': 700.0}),
            (37.4, 33.2, 0.12, {'g': 500.0, 'H': 400.0, 'r': 600.0}),
            (60.0, 20.0, 0.20, {'g': 700.0, 'H': 900.0, 'r': 800.0}))


def make_wcs(band):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = 'RA---TAN', 'DEC--TAN'
    wcs.wcs.crval = 10.0, 20.0
    ny, nx = SHAPES[band]
    wcs.wcs.crpix = (nx + 1) / 2, (ny + 1) / 2
    wcs.wcs.cdelt = -SCALES[band] / 3600, SCALES[band] / 3600
    c, s = (f(np.deg2rad(ANGLES[band])) for f in (np.cos, np.sin))
    wcs.wcs.pc = [[c, -s], [s, c]]
    return wcs


def draw(band):
    """Round Gaussians under a Gaussian PSF."""
    out = np.zeros(SHAPES[band])
    y, x = np.mgrid[:out.shape[0], :out.shape[1]]
    for gx, gy, sigma, flux in GALAXIES:
        sky = make_wcs('g').pixel_to_world(gx, gy)
        px, py = make_wcs(band).world_to_pixel(sky)
        s2 = (sigma ** 2 + PSF_SIGMA[band] ** 2) / SCALES[band] ** 2
        out += flux[band] / (2 * np.pi * s2) * np.exp(
            -((x - px) ** 2 + (y - py) ** 2) / (2 * s2))
    return out


def inputs(seed=1, bands=('g', 'H', 'r')):
    rng = np.random.default_rng(seed)
    data = {}
    for band in bands:
        image = draw(band)
        noisy = image + rng.standard_normal(image.shape)
        data[band] = NDData(noisy, wcs=make_wcs(band), unit=u.uJy,
                            uncertainty=StdDevUncertainty(
                                np.ones(image.shape)))
    psf = {band: PSF_SIGMA[band] / SCALES[band] * 2.3548 for band in bands}
    return {'data': data, 'psf': psf}


def segments():
    segm = np.zeros(SHAPES['g'], int)
    segm[20:42, 20:48] = 3
    segm[11:30, 50:71] = 8
    return segm


def measure(deblend, **given):
    """Call a deblender; Gaussians are not what it was trained on."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', DeblendWarning)
        return deblend(**given, segmentation_image=segments(),
                       positions=[row[:2] for row in GALAXIES])


@pytest.fixture(name='result', scope='module')
def _result(deblend):
    return measure(deblend, **inputs())


def test_fluxes_of_all_grids_are_right(result):
    assert result.bands == ('g', 'H', 'r')
    for band in result.bands:
        true = np.array([row[3][band] for row in GALAXIES])
        assert_allclose(result.table[f'flux_{band}'].value, true, rtol=0.15)
        assert (result.table[f'snr_{band}'] > 10).all()
        assert_allclose(result.table[f'mag_{band}'].value,
                        23.9 - 2.5 * np.log10(
                            result.table[f'flux_{band}'].value))


def test_images_are_mappings_in_the_pixels_of_each_band(result):
    assert result.on_own_grids
    for frames in (result.data, result.model_image, result.residual_image,
                   result.make_source_image(1)):
        assert {b: f.shape for b, f in frames.items()} == SHAPES
    for band in result.bands:
        total = sum(result.make_source_image(label, kind='model')[band]
                    for label in result.labels)
        assert_allclose(total.value, result.model_image[band].value,
                        atol=1e-3)
        assert result.residual_image[band].value.std() == pytest.approx(
            1, abs=0.12)


def test_shares_add_up_to_the_data_on_each_grid(result):
    for band in result.bands:
        view = result.band(band)
        children = view.segmentation_image.parent_to_deblended_labels[3]
        assert len(children) == 2
        total = sum(view.make_source_image(int(label)).value
                    for label in children)
        inside = np.isin(view.segmentation_image.data, children)
        assert inside.sum() > 10
        assert_allclose(total[inside], view.data.value[inside], atol=1e-3)


def test_labels_are_those_of_the_first_band(result):
    assert result.segmentation_image.shape == SHAPES['g']
    assert_array_equal(result.segmentation_image.data > 0, segments() > 0)
    sky = make_wcs('g').pixel_to_world(*np.transpose(
        [row[:2] for row in GALAXIES]))
    assert (result.table['sky_centroid'].separation(sky).arcsec < 0.05).all()


def test_colours_know_the_covariance_of_the_grids(result):
    table = result.colors('g', 'H')
    assert np.isfinite(table['g-H_err'].value).all()
    cov = result.flux_cov(1).value
    assert cov.shape == (3, 3)
    assert cov[0, 1] > 0


def test_a_result_of_several_grids_can_be_kept_and_shown(result, tmp_path):
    result.write(tmp_path / 'result.fits')
    again = DeblendResult.read(tmp_path / 'result.fits')
    assert_array_equal(again.model_image['H'], result.model_image['H'])
    assert_array_equal(again[2].image['H'], result[2].image['H'])
    pytest.importorskip('matplotlib')
    figure = result.plot(1)
    assert [ax.get_ylabel() for ax in figure.axes if ax.get_ylabel()] == [
        'g', 'H', 'r']
    assert result.plot_segments(band='H') is not None


def test_equal_grids_give_what_a_stack_gives(deblend, errors_of_noise):
    given = inputs(bands=('g', 'r'))
    stack = measure(deblend, **given)
    near = make_wcs('g')
    near.wcs.crpix = near.wcs.crpix + 0.06
    given['data']['r'] = NDData(given['data']['r'], wcs=near)
    apart = measure(deblend, **given)
    assert apart.on_own_grids
    assert not stack.on_own_grids
    for band in stack.bands:
        assert_allclose(apart.table[f'flux_{band}'],
                        stack.table[f'flux_{band}'], rtol=0.05)
        assert_allclose(apart.table[f'flux_err_{band}'],
                        stack.table[f'flux_err_{band}'], rtol=0.12)
    assert_allclose([source.oddity for source in apart],
                    [source.oddity for source in stack], rtol=0.2, atol=0.05)


def test_masks_and_no_data_are_those_of_each_band(fast):
    given = inputs()
    masks = {band: np.zeros(SHAPES[band], bool) for band in SHAPES}
    masks['H'][:] = True
    masks['H'][:, 23:] = False
    result = measure(fast, **given, mask=masks)
    x, _ = make_wcs('H').world_to_pixel(make_wcs('g').pixel_to_world(
        *np.transpose([row[:2] for row in GALAXIES])))
    seen = np.isfinite(result.table['flux_H'])
    assert_array_equal(seen, x > 18)
    assert np.isfinite(result.table['flux_g']).all()


# ------------------------------------------------------- what is drawn on them
PARAMETERS = np.array([[30.3, 30.1, 0.5, 0.4, -0.3, 0, 0],
                       [60.0, 20.0, 0.5, 0.4, -0.3, 0, 0]])
FLUX = np.array([[900.0, 1500, 700], [500.0, 400, 600]])


@pytest.fixture
def engine(make_engine):
    """Return what fits the bands, and knows of their grids."""
    return make_engine(prepare_observation(**inputs()),
                       SegmentationImage(segments()))


def make_drawn(engine):
    """Models of two sources on each grid."""
    fit = replace(empty_result(2, 3, 7), flux=FLUX,
                  band_parameters=np.repeat(PARAMETERS[:, None], 3, 1))
    return engine.draw(fit)


def test_models_lie_at_the_same_place_on_the_sky(engine):
    drawn = make_drawn(engine)
    observation = engine.observation
    frames = observation.by_band([d.image for d in drawn])
    for k, band in enumerate(observation.bands):
        image = frames[band]
        assert image.sum() == pytest.approx(FLUX[:, k].sum(), rel=0.015)
        y, x = np.mgrid[:image.shape[0], :image.shape[1]]
        sky = make_wcs('g').pixel_to_world(*PARAMETERS[:, :2].T)
        want = np.average(np.stack(make_wcs(band).world_to_pixel(sky)), 1,
                          FLUX[:, k])
        got = [(image * axis).sum() / image.sum() for axis in (x, y)]
        assert_allclose(got, want, atol=0.05)


def test_light_of_other_groups_is_taken_off_on_every_grid(engine):
    drawn = make_drawn(engine)
    light = NeighbourLight(drawn, engine._where, engine.fitter.units)
    for band, (grid, row) in enumerate(engine._where):
        shape = drawn[grid].image.shape[1:]
        found = light(band, (0,), 0, 0, shape) * engine.fitter.units[band]
        box, model = drawn[grid].boxes[1], drawn[grid].models[1][row]
        want = np.zeros(shape)
        want[box.iymin:box.iymax, box.ixmin:box.ixmax] = model
        assert want.max() > 5
        assert_allclose(found, want, atol=1e-3)
