# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
from astropy.table import QTable
from numpy.testing import assert_allclose
from photutils.aperture import BoundingBox
from photutils.segmentation import SegmentationImage

from vaephot.deblend.outputs.rescale import rescale
from vaephot.results.covariance import FitGroup
from vaephot.results.result import DeblendResult
from vaephot.results.source import DeblendedSource


@pytest.fixture
def result():
    image = np.arange(24.0).reshape(2, 3, 4)
    source = DeblendedSource(
        label=1, parent_label=1, bbox=BoundingBox(0, 4, 0, 3), model=image,
        image=image + 1, x_centroid=1.0, y_centroid=1.0,
        flux=np.array([2.0, 3.0]), flux_err=np.array([0.2, 0.3]))
    table = QTable({'label': [1], 'x_centroid': [1.0], 'flux_g': [2.0],
                    'flux_r': [3.0], 'flux_err_g': [0.2],
                    'flux_err_r': [0.3], 'mag_g': [20.0], 'snr_g': [10.0]})
    segm = SegmentationImage(np.ones((3, 4), int))
    segm.info = {'estimated': {'g': {'noise': 2.0, 'psf_fwhm': 3.0}}}
    return DeblendResult(
        table, segm, [source], image, bands=('g', 'r'), model_image=image,
        background_image=image / 7,
        error=np.ones((2, 1, 1)), groups=[FitGroup(
            labels=(1,), covariance=np.ones((5, 5)))])


def test_what_is_proportional_to_the_data_is_multiplied(result):
    found = rescale(result, 8.0)
    for name in ('data', 'model_image', 'background_image', 'error'):
        assert_allclose(getattr(found, name), 8 * getattr(result, name))
    for name in ('model', 'image', 'flux', 'flux_err'):
        assert_allclose(getattr(found[1], name), 8 * getattr(result[1], name))
    for name in result.table.colnames:
        factor = 8 if name.startswith('flux') else 1
        assert_allclose(found.table[name], factor * result.table[name])
    units = np.array([8, 8, 1, 1, 1])
    assert_allclose(found.groups[0].covariance, np.outer(units, units))
    info = found.segmentation_image.info['estimated']['g']
    assert info == {'noise': 16.0, 'psf_fwhm': 3.0}


def test_nothing_is_done_for_a_factor_of_1(result):
    assert rescale(result, 1.0) is result
