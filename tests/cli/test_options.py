# Licensed under a 3-clause BSD style license - see LICENSE.rst
import argparse

from vaephot.cli._options import UsageError, add_common_options


def test_each_command_gets_the_debug_option():
    parser = argparse.ArgumentParser()
    subparsers = parser.add_subparsers()
    subparsers.add_parser('a')
    subparsers.add_parser('b')
    add_common_options(subparsers)
    assert parser.parse_args(['a', '--debug']).debug
    assert parser.parse_args(['b', '--debug']).debug
    assert 'debug' not in parser.parse_args(['a'])


def test_wrong_usage_is_a_value_error():
    assert issubclass(UsageError, ValueError)
