# Licensed under a 3-clause BSD style license - see LICENSE.rst
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from photutils.segmentation import SegmentationImage

from vaephot import deblend_sources
from vaephot.deblend.outputs.long_labels import shorten_labels
from vaephot.results.result import DeblendResult

scenes = SimpleNamespace(
    **run_path(str(Path(__file__).parents[1] / '_scenes.py')))
BLEND, SINGLE, FWHM = scenes.BLEND, scenes.SINGLE, scenes.FWHM
# of 64 bits as identifiers are, and the largest there is
LONG = [('i4', 2**31 - 9), ('i8', 2_684_161_532_680_123_456), ('>i8', 2**62),
        ('u8', 2**64 - 9)]


def with_long(dtype, label):
    values = scenes.parents().astype(dtype)
    values[values == SINGLE] = label
    return values


def test_short_labels_stay_as_they_are():
    assert shorten_labels(scenes.parents()) == (None, None)
    assert shorten_labels(np.zeros((3, 3), 'u8')) == (None, None)


@pytest.mark.parametrize(('dtype', 'label'), LONG)
def test_long_labels_are_numbered_and_remembered(dtype, label):
    values = with_long(dtype, label)
    segm, names = shorten_labels(values)
    assert segm.labels.tolist() == [1, 2]
    assert_array_equal(names[segm.data], values)
    segm, names = shorten_labels(np.full((3, 3), label, dtype))
    assert (segm.data == 1).all()
    assert names.tolist() == [0, label]


@pytest.mark.parametrize(('dtype', 'label'), LONG)
@pytest.mark.parametrize('wrap', [np.asarray, SegmentationImage])
def test_results_name_parents_as_they_were(fast, data, segm, dtype,
                                           label, wrap, tmp_path):
    plain = fast(data, segm, error=1.0, psf=FWHM)
    result = fast(data, wrap(with_long(dtype, label)), error=1.0, psf=FWHM)
    assert_allclose(result.table['flux'], plain.table['flux'])
    parents = [label if parent == SINGLE else parent for parent
               in plain.table['parent_label'].tolist()]
    assert result.table['parent_label'].tolist() == parents
    assert [s.parent_label for s in result] == parents
    assert list(result.segmentation_image.parent_to_deblended_labels) == list(
        plain.segmentation_image.parent_to_deblended_labels)
    scenes.check_laws(result, with_long(dtype, label))
    assert len(result.aperture_table([3.0])) == 3
    result.write(tmp_path / 'result.fits')
    again = DeblendResult.read(tmp_path / 'result.fits')
    assert [s.parent_label for s in again] == parents
    assert list(again.segmentation_image.parent_to_deblended_labels) == list(
        result.segmentation_image.parent_to_deblended_labels)


def test_long_labels_can_be_asked_for(fast, data):
    values = with_long('i8', 2**62)
    result = fast(data, values, error=1.0, psf=FWHM, labels=[2**62])
    assert result.table['parent_label'].tolist() == [BLEND, 2**62]
    with pytest.raises(ValueError, match='5'):
        fast(data, values, error=1.0, psf=FWHM, labels=[BLEND, 5])


@pytest.mark.parametrize('relabel', [True, False])
def test_the_drop_in_takes_long_labels(data, relabel):
    values = with_long('i8', 2**62)
    segm = SegmentationImage(values)
    made = deblend_sources(data, segm, 5, error=1.0, psf=FWHM,
                           relabel=relabel, progress_bar=False)
    assert made.labels.tolist() == ([1, 2, 3] if relabel else
                                    [2**62, 2**62 + 1, 2**62 + 2])
    assert list(made.parent_to_deblended_labels) == [BLEND]
    assert_array_equal(made.data > 0, values > 0)
    whole = deblend_sources(data, segm, 500, relabel=relabel,
                            progress_bar=False)
    assert whole.labels.tolist() == ([1, 2] if relabel else [BLEND, 2**62])


def test_without_room_for_children_relabelling_is_needed(data):
    segm = SegmentationImage(with_long('u8', 2**64 - 1))
    with pytest.raises(ValueError, match='relabel=True'):
        deblend_sources(data, segm, 5, error=1.0, psf=FWHM, relabel=False,
                        progress_bar=False)
