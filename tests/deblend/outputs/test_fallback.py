# Licensed under a 3-clause BSD style license - see LICENSE.rst
from dataclasses import replace
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from photutils.segmentation import SegmentationImage
from photutils.segmentation import deblend_sources as photutils_deblend

from vaephot.deblend.deblender import FAILURES, VAEDeblender
from vaephot.deblend.outputs import fallback
from vaephot.exceptions import DeblendWarning
from vaephot.results.flags import decode_flags

scenes = SimpleNamespace(**run_path(
    str(Path(__file__).parents[1] / '_scenes.py')))
BLEND, SINGLE, FWHM = scenes.BLEND, scenes.SINGLE, scenes.FWHM


class Troubled(VAEDeblender):
    """Deblender that cannot fit some of the parents."""

    trouble = BLEND
    how = 'raise'

    def _deblend(self, engine, chosen):
        there = np.isin(chosen.sources.parent, self.trouble)
        if there.any() and self.how == 'raise':
            msg = 'the matrix is singular'
            raise torch.linalg.LinAlgError(msg)
        scene = super()._deblend(engine, chosen)
        if there.any():
            # what shares a group with the source is lost too
            flux = np.full_like(scene.fit.flux, np.nan)
            scene = replace(scene, fit=replace(scene.fit, flux=flux))
        return scene


@pytest.fixture(params=['raise', 'nan'])
def troubled(request):
    made = Troubled(device='cpu', refine=False)
    made.how = request.param
    return made


def run(deblend, data, segm, **options):
    options = {'error': 1.0, 'psf': FWHM, **options}
    with pytest.warns(DeblendWarning, match=(
            rf'1 parents could not be modelled .*labels {BLEND}\)')):
        return deblend(data, segm, **options)


def smooth(data):
    # something that the watershed does not split into noise
    return scenes.draw(scenes.GALAXIES) + 0.01 * data


def rows_of(result, parent):
    return result.table[result.table['parent_label'] == parent]


def test_a_parent_without_a_model_is_left_to_the_watershed(
        troubled, fast, data, segm):
    data = smooth(data)
    result = run(troubled, data, segm)
    scenes.check_laws(result, segm)
    theirs = photutils_deblend(data, SegmentationImage(segm), 5,
                               labels=[BLEND], mode='linear')
    own = segm == BLEND
    ours = result.segmentation_image.data
    assert_array_equal(np.unique(ours[own], return_inverse=True)[1],
                       np.unique(theirs.data[own], return_inverse=True)[1])
    assert_array_equal(result.segmentation_image.info['fallback_labels'],
                       [BLEND])
    rows = rows_of(result, BLEND)
    assert len(rows) == 2
    for row in rows:
        pixels = ours == row['label']
        assert_allclose(row['flux'], data[pixels].sum())
        assert_allclose(row['flux_err'], np.sqrt(pixels.sum()))
        assert 'fallback' in decode_flags(int(row['flags']))
        assert np.isnan(row['p_source'])
        assert row['n_blended'] == 2
        away = np.hypot(row['x_centroid'] - [g[0] for g in scenes.GALAXIES],
                        row['y_centroid'] - [g[1] for g in scenes.GALAXIES])
        assert away.min() < 1


def test_the_other_parents_keep_their_models(troubled, fast, data, segm):
    row = rows_of(run(troubled, data, segm), SINGLE)
    alone = rows_of(fast(data, np.where(segm == SINGLE, segm, 0), error=1.0,
                         psf=FWHM), SINGLE)
    # the noise is measured where there is no light, also that of the others
    assert abs(row['flux'] - alone['flux']) < 0.01 * alone['flux_err']
    assert 'fallback' not in decode_flags(int(row['flags'][0]))


def test_the_labels_alone_are_the_same(troubled, data, segm):
    data = smooth(data)
    result = run(troubled, data, segm)
    children = run(troubled.segment, data, segm)
    assert_array_equal(children.data, result.segmentation_image.data)
    assert_array_equal(children.info['fallback_labels'], [BLEND])


def test_without_scikit_image_the_parent_stays_whole(
        troubled, data, segm, monkeypatch):
    monkeypatch.setattr(fallback, 'has_package', lambda name: False)
    result = run(troubled, data, segm)
    scenes.check_laws(result, segm)
    row, = rows_of(result, BLEND)
    assert_allclose(row['flux'], data[segm == BLEND].sum())


def test_a_parent_not_asked_for_is_not_divided(troubled, data, segm):
    result = run(troubled, smooth(data), segm, labels=[SINGLE])
    assert len(rows_of(result, BLEND)) == 1
    assert_array_equal(result.segmentation_image.data > 0, segm > 0)


def test_masked_pixels_and_bands_are_counted(troubled, data, segm):
    images = np.stack([smooth(data), 2 * smooth(data)])
    mask = np.zeros(data.shape, bool)
    mask[24, 20] = True
    result = run(troubled, images, segm, mask=mask)
    scenes.check_laws(result, segm)
    for row in rows_of(result, BLEND):
        pixels = (result.segmentation_image.data == row['label']) & ~mask
        assert_allclose(row['flux_band2'], images[1][pixels].sum())


def test_nothing_is_left_if_no_parent_can_be_fitted(data, segm):
    made = Troubled(device='cpu', refine=False)
    made.trouble = [BLEND, SINGLE]
    with pytest.warns(DeblendWarning, match='2 parents'):
        result = made(data, segm, error=1.0, psf=FWHM)
    scenes.check_laws(result, segm)
    assert np.isfinite(result.table['flux']).all()


@pytest.mark.parametrize('error', [TypeError, IndexError,
                                   torch.OutOfMemoryError])
def test_errors_of_the_program_are_no_fallback(data, segm, error):
    def fit(chosen):
        raise error
    chosen = SimpleNamespace(given=False, sources=SimpleNamespace(
        parent=np.array([1, 2])))
    with pytest.raises(error):
        fallback.fit_or_leave_out(fit, chosen, FAILURES)


def test_nothing_is_said_where_all_is_well(fast, data, segm):
    result = fast(data, segm, error=1.0, psf=FWHM)
    assert 'fallback_labels' not in result.segmentation_image.info
    assert 'estimated' not in result.segmentation_image.info
