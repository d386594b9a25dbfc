# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest

from vaephot.evaluate.drawing import chunk_seed, draw_chunk
from vaephot.evaluate.evaluation_config import SetConfig
from vaephot.evaluate.observing_conditions import Conditions


def test_chunks_and_sets_have_seeds_of_their_own():
    seeds = {chunk_seed(seed, k) for seed in range(20) for k in range(20)}
    assert len(seeds) == 400
    assert chunk_seed(3, 4) == chunk_seed(3, 4)


@pytest.mark.galsim
def test_a_chunk_is_the_same_whatever_the_number_of_blends():
    first = draw_chunk(SetConfig(name='a', case='isolated', n=3, seed=5,
                                 chunk=1), 1)[0]
    again = draw_chunk(SetConfig(name='b', case='isolated', n=2, seed=5,
                                 chunk=1), 1)[0]
    other = draw_chunk(SetConfig(name='c', case='isolated', n=2, seed=5,
                                 chunk=1), 0)[0]
    assert np.array_equal(first.image, again.image)
    assert not np.array_equal(first.image, other.image)


@pytest.mark.galsim
def test_conditions_change_what_is_told_and_not_the_true_psf():
    plain, psf = draw_chunk(SetConfig(name='a', case='isolated', n=1), 0)
    wrong, true = draw_chunk(SetConfig(
        name='a', case='isolated', n=1, conditions=Conditions(
            psf_factor=1.1, bands=('VIS', 'H'))), 0)
    assert np.array_equal(true, psf[[0, 3]])
    assert wrong.psf[0].max() < true[0].max()
    assert np.array_equal(wrong.image[0], plain.image[0, [0, 3]])


@pytest.mark.galsim
def test_a_field_is_drawn_with_its_noiseless_sources():
    observed, _ = draw_chunk(SetConfig(name='f', n=1, field={
        'shape': [64, 80], 'galaxy_density': 400.0, 'star_density': 0.0,
        'psf_pixels': 31}), 0)
    assert observed.image.shape == (1, 4, 64, 80)
    assert len(observed.truth.models) == len(observed.truth) > 2
