# Licensed under a 3-clause BSD style license - see LICENSE.rst
import pytest

from vaephot import exceptions
from vaephot.exceptions import OutputExistsError, VaephotError

ERRORS = [value for name in exceptions.__all__
          if issubclass(value := getattr(exceptions, name), VaephotError)]


@pytest.mark.parametrize('error', ERRORS)
def test_errors_show_their_message_and_carry_their_values(error):
    instance = error('what is wrong', number=3)
    assert str(instance) == 'what is wrong'
    assert instance.number == 3


@pytest.mark.parametrize('error', set(ERRORS) - {VaephotError})
def test_errors_derive_from_a_builtin(error):
    builtins = [base for base in error.__mro__
                if base.__module__ == 'builtins']
    assert builtins[0] is not Exception


def test_existing_outputs_are_file_errors_too():
    assert issubclass(OutputExistsError, FileExistsError)
