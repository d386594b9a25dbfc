# Licensed under a 3-clause BSD style license - see LICENSE.rst
import pytest

from vaephot.exceptions import BandMismatchError
from vaephot.utils.bands import per_band


def test_a_mapping_is_put_in_the_order_of_the_bands():
    assert per_band({'r': 1, 'g': 2}, ('g', 'r'), 'psf') == [2, 1]


def test_a_sequence_keeps_its_order():
    assert per_band((1, 2), ('g', 'r'), 'psf') == [1, 2]


@pytest.mark.parametrize('given', [{'g': 1}, {'g': 1, 'r': 2, 'i': 3},
                                   [1], [1, 2, 3]])
def test_another_set_of_bands_raises_and_names_them(given):
    with pytest.raises(BandMismatchError, match=r'psf .*\(g, r\)') as err:
        per_band(given, ('g', 'r'), 'psf')
    assert err.value.bands == ('g', 'r')
