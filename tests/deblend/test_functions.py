# Licensed under a 3-clause BSD style license - see LICENSE.rst
import inspect
import sys
from types import ModuleType

import astropy.units as u
import numpy as np
import photutils.segmentation
import pytest
from astropy.nddata import CCDData
from astropy.utils.exceptions import AstropyDeprecationWarning
from numpy.testing import assert_array_equal
from photutils.segmentation import SegmentationImage

from vaephot.deblend.functions import deblend_sources
from vaephot.exceptions import DeblendWarning


@pytest.fixture
def fake(monkeypatch):
    """Stand in for the deblender; remembers how it was called."""
    calls = []

    class VAEDeblender:
        def __init__(self, n_pixels, **settings):
            calls.append({'n_pixels': n_pixels, **settings})

        def segment(self, data, segmentation_image, **options):
            calls.append({'data': data, 'segm': segmentation_image,
                          **options})
            return 'children'

    module = ModuleType('vaephot.deblend.deblender')
    module.VAEDeblender = VAEDeblender
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return calls


def make_scene():
    data = np.ones((20, 30))
    data[8, 8] = 5
    segm = np.zeros(data.shape, int)
    segm[5:12, 5:12] = 3
    segm[2, 20:22] = 8
    return data, SegmentationImage(segm)


def test_the_signature_begins_as_that_of_photutils():
    ours = inspect.signature(deblend_sources).parameters
    theirs = inspect.signature(
        photutils.segmentation.deblend_sources).parameters
    for name, parameter in theirs.items():
        if name == 'nproc':  # in 3.1 again; ours is renamed, with a warning
            continue
        assert ours[name].kind is parameter.kind
        assert ours[name].default == parameter.default
    assert list(ours) == [
        'data', 'segmentation_image', 'n_pixels', 'labels', 'n_levels',
        'contrast', 'mode', 'connectivity', 'relabel', 'n_processes',
        'progress_bar', 'contrast_method', 'n_threads', 'error', 'mask',
        'psf', 'weights', 'refine', 'device']


def test_everything_is_handed_to_the_deblender(fake):
    data, segm = make_scene()
    out = deblend_sources(
        data, segm, 4, labels=[3], n_levels=9, contrast=0.1, mode='sinh',
        connectivity=4, relabel=False, progress_bar=False, error=2.0,
        mask='mask', psf=3.0, weights='w', refine=True, device='cpu')
    assert out == 'children'
    made, called = fake
    assert made == {
        'n_pixels': 4, 'contrast': 0.1, 'n_levels': 9, 'mode': 'sinh',
        'connectivity': 4, 'weights': 'w', 'refine': True, 'relabel': False,
        'device': 'cpu', 'progress_bar': False}
    assert called.pop('data') is data
    assert called.pop('segm') is segm
    assert_array_equal(called.pop('labels'), [3])
    assert called == {'error': 2.0, 'mask': 'mask', 'psf': 3.0}


@pytest.mark.parametrize('wrap', [
    lambda data: data << u.Jy, lambda data: CCDData(data, unit='adu'),
    np.ma.asarray, lambda data: data.astype('>i2'), lambda data: data])
def test_any_kind_of_image_is_accepted(fake, wrap):
    data, segm = make_scene()
    assert deblend_sources(wrap(data), segm, 5) == 'children'


@pytest.mark.parametrize(('old', 'new', 'value'), [
    ('segment_img', 'segmentation_image', None),
    ('npixels', 'n_pixels', 5), ('nlevels', 'n_levels', 8),
    ('nproc', 'n_processes', 2)])
def test_old_names_work_with_a_warning(fake, old, new, value):
    data, segm = make_scene()
    options = {'segmentation_image': segm, 'n_pixels': 4}
    options.pop(new, None)
    options[old] = segm if value is None else value
    with pytest.warns(AstropyDeprecationWarning, match=old):
        assert deblend_sources(data, **options) == 'children'
    if new in fake[0]:
        assert fake[0][new] == value


@pytest.mark.parametrize('options', [{'contrast': 1}, {'n_pixels': 30},
                                     {'labels': [8]}, {'labels': []}])
def test_nothing_to_split_gives_a_copy(fake, options):
    data, segm = make_scene()
    options = {'n_pixels': 5, 'relabel': False, **options}
    out = deblend_sources(data, segm, **options)
    assert type(out) is SegmentationImage
    assert_array_equal(out.data, segm.data)
    assert out.data.dtype == segm.data.dtype
    assert not np.shares_memory(out.data, segm.data)
    assert out.parent_to_deblended_labels == {}
    assert fake == []
    out = deblend_sources(data, segm, **{**options, 'relabel': True})
    assert_array_equal(out.labels, [1, 2])
    assert_array_equal(segm.labels, [3, 8])


def test_an_empty_segmentation_comes_back_empty(fake):
    segm = SegmentationImage(np.zeros((4, 5), int))
    assert deblend_sources(np.ones((4, 5)), segm, 5).n_labels == 0


@pytest.mark.parametrize(('options', 'error', 'match'), [
    ({'segmentation_image': np.ones((20, 30), int)}, TypeError,
     'segmentation_image must be a SegmentationImage, got ndarray'),
    ({'segmentation_image': SegmentationImage(np.ones((2, 2), int))},
     ValueError, 'segmentation_image must have the same shape as data'),
    ({'n_levels': 0}, ValueError, 'n_levels must be >= 1'),
    ({'contrast': -1}, ValueError, 'contrast must be >= 0 and <= 1'),
    ({'mode': 'no'}, ValueError, "mode must be 'exponential'"),
    ({'connectivity': 'invalid'}, ValueError, 'Invalid connectivity'),
    ({'n_pixels': 0}, ValueError, 'n_pixels must be a positive integer'),
    ({'labels': 99}, ValueError, 'invalid'),
    ({'labels': 99, 'contrast': 1}, ValueError, 'invalid'),
    ({'n_threads': 0}, ValueError, 'n_threads must be'),
    ({'n_processes': -1}, ValueError, 'n_processes must be'),
    ({'contrast_method': 3}, TypeError, 'contrast_method must be')])
def test_wrong_arguments_raise_as_in_photutils(fake, options, error, match):
    data, segm = make_scene()
    options = {'segmentation_image': segm, 'n_pixels': 5, **options}
    with pytest.raises(error, match=match):
        deblend_sources(data, **options)


def test_what_has_no_effect_is_accepted(fake):
    data, segm = make_scene()
    assert deblend_sources(data, segm, 5, n_processes=None, n_threads=4,
                           contrast_method='saddle') == 'children'


def test_a_connectivity_that_no_parent_has_raises(fake):
    data = np.zeros((3, 3), int)
    np.fill_diagonal(data, 1)
    segm = SegmentationImage(data)
    assert deblend_sources(data, segm, 1, connectivity=8) == 'children'
    with pytest.raises(ValueError, match='Deblending failed for source 1'):
        deblend_sources(data, segm, 1, connectivity=4)


@pytest.mark.parametrize('connectivity', [4, 8])
def test_a_parent_in_pieces_stays_whole_and_others_are_deblended(
        fake, connectivity):
    data, segm = make_scene()
    pieces = segm.data.copy()
    pieces[15:18, 2:6] = pieces[15:18, 20:24] = 5
    segm = SegmentationImage(pieces)
    with pytest.warns(DeblendWarning, match='source 5, which is in 2 piece'):
        out = deblend_sources(data, segm, 4, connectivity=connectivity)
    assert out == 'children'
    assert_array_equal(fake[1]['labels'], [3, 8])
    with pytest.warns(DeblendWarning, match='1 of 1 parents were not'):
        alone = deblend_sources(data, segm, 4, labels=5, relabel=False)
    assert_array_equal(alone.data, pieces)


def test_options_are_keyword_only():
    data, segm = make_scene()
    with pytest.raises(TypeError):
        deblend_sources(data, segm, 5, 1)
