# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest

from vaephot.results.flags import FLAGS, decode_flags, encode_flags


def test_bits_are_distinct_powers_of_two_from_one():
    assert [flag.bit_value for flag in FLAGS] == [
        2 ** i for i in range(len(FLAGS))]
    assert FLAGS[0].name == 'edge'
    assert len({flag.name for flag in FLAGS}) == len(FLAGS)


def test_order_of_the_agreed_flags_never_changes():
    assert [flag.name for flag in FLAGS][:12] == [
        'edge', 'masked_pixels', 'saturated', 'psf_estimated',
        'error_estimated', 'not_converged', 'poor_fit', 'out_of_domain',
        'larger_than_stamp', 'rejected_neighbour', 'fallback', 'no_data']


def test_scalar_gives_one_list_and_array_a_list_of_lists():
    assert decode_flags(0) == []
    assert decode_flags(np.int32(5)) == ['edge', 'saturated']
    assert decode_flags(np.array(5)) == ['edge', 'saturated']
    assert decode_flags([0, 3]) == [[], ['edge', 'masked_pixels']]
    assert decode_flags(np.array([4], np.uint8)) == [['saturated']]
    assert decode_flags([]) == []
    assert decode_flags([1, 6], return_bit_values=True) == [[1], [2, 4]]


@pytest.mark.parametrize('flag', FLAGS, ids=lambda flag: flag.name)
def test_encode_and_decode_are_inverse(flag):
    assert decode_flags(encode_flags(flag.name)) == [flag.name]
    assert flag.name in decode_flags.__doc__


def test_bits_combine():
    assert encode_flags() == 0
    assert encode_flags('edge', 'edge', 'saturated') == 5


def test_bad_values_are_named():
    with pytest.raises(TypeError, match='float64'):
        decode_flags(1.0)
    with pytest.raises(ValueError, match='-1'):
        decode_flags([0, -1])
    with pytest.raises(ValueError, match='1048576'):
        decode_flags(1 << 20)
    with pytest.raises(ValueError, match="'egde'"):
        encode_flags('egde')
