# Licensed under a 3-clause BSD style license - see LICENSE.rst
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from vaephot import PeakFinder
from vaephot.deblend.deblender import VAEDeblender
from vaephot.results.flags import decode_flags
from vaephot.results.result import DeblendResult

scenes = SimpleNamespace(
    **run_path(str(Path(__file__).parents[1] / '_scenes.py')))
# a segment where there is nothing
NOTHING = 11
PLACE = np.s_[4:7, 60:64]

pytestmark = pytest.mark.filterwarnings(
    'ignore::vaephot.exceptions.DeblendWarning')


@pytest.fixture
def segm():
    """Segments of the sources, and one of noise."""
    values = scenes.parents()
    values[PLACE] = NOTHING
    return values


def _row(result):
    """Row of the segment, and whether it is flagged."""
    row, = np.flatnonzero(result.table['parent_label'] == NOTHING)
    return row, 'no_source' in decode_flags(int(result.table['flags'][row]))


@pytest.mark.parametrize('refine', [True, False])
def test_a_segment_of_noise_has_no_source(data, segm, refine):
    deblend = VAEDeblender(5, device='cpu', refine=refine)
    result = deblend(data, segm, error=1.0, psf=scenes.FWHM)
    scenes.check_laws(result, segm)
    row, flagged = _row(result)
    assert flagged
    assert result.table['p_source'][row] < 0.1
    for name in ('x_err', 'y_err', 'half_light_radius', 'axis_ratio',
                 'orientation'):
        assert_array_equal(np.isnan(result.table[name]),
                           result.table['parent_label'] == NOTHING)
    source = result[result.table['label'][row]]
    x, y = result.table['x_centroid'][row], result.table['y_centroid'][row]
    assert (source.x_centroid, source.y_centroid) == (x, y)
    assert segm[round(y), round(x)] == NOTHING  # where it was detected
    # what a source there might have at most
    assert np.isfinite(scenes.flux_of(result)).all()
    assert_array_equal(result.segmentation_image.info['empty_labels'],
                       [NOTHING])


def test_such_a_result_survives_its_file(data, segm, deblend, tmp_path):
    result = deblend(data, segm, error=1.0, psf=scenes.FWHM)
    result.write(tmp_path / 'result.fits')
    again = DeblendResult.read(tmp_path / 'result.fits')
    assert_array_equal(again.table['x_centroid'], result.table['x_centroid'])
    label = result.table['label'][_row(result)[0]]
    assert again[label].y_centroid == result[label].y_centroid


def test_no_evidence_is_asked_for_where_nothing_is_dropped(data, segm):
    deblend = VAEDeblender(5, device='cpu',
                           finder=PeakFinder(min_probability=0))
    result = deblend(data, segm, error=1.0, psf=scenes.FWHM)
    assert not _row(result)[1]
    assert 'empty_labels' not in result.segmentation_image.info


def test_segments_that_were_not_asked_for_keep_their_rows(data, segm,
                                                          deblend):
    result = deblend(data, segm, error=1.0, psf=scenes.FWHM,
                     labels=scenes.BLEND)
    assert not _row(result)[1]


def test_given_positions_keep_their_rows(data, segm, deblend):
    result = deblend(data, segm, error=1.0, psf=scenes.FWHM,
                     positions=[(61.5, 5.0), (50.0, 30.0)])
    assert_array_equal(result.table['parent_label'],
                       [NOTHING, scenes.SINGLE])
    assert np.isfinite(result.table['x_centroid']).all()


def test_segments_without_a_good_pixel_keep_their_rows(data, segm, deblend):
    mask = segm == NOTHING
    result = deblend(data, segm, error=1.0, psf=scenes.FWHM, mask=mask)
    assert not _row(result)[1]
