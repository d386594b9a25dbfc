# Licensed under a 3-clause BSD style license - see LICENSE.rst
import vaephot
from vaephot.weights.user_config import conf


def test_no_mirror_is_configured_out_of_the_box():
    assert conf.weights_urls == []


def test_package_exposes_the_same_configuration():
    assert vaephot.conf is conf


def test_mirrors_can_be_set_for_a_while():
    with conf.set_temp('weights_urls', ['https://a.example', 'file:///b']):
        assert conf.weights_urls == ['https://a.example', 'file:///b']
    assert conf.weights_urls == []
