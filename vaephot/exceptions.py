# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Errors and warnings of the package.

Every error derives from `VaephotError` and from the builtin it stands
for, so that ``except ValueError`` keeps working. Raise

* `ShapeMismatchError` when arrays that must agree in shape do not,
* `BandMismatchError` when the number or the names of bands disagree,
* `UnitMismatchError` when units of image, error or background disagree,
* `PSFError` for a PSF that cannot be used,
* `StampError` for a cutout that cannot be made,
* `WeightsError` for weights files and their records,
* `CatalogError` for input catalogues of the simulator,
* `StoreError` for a damaged or incomplete simulation store,
* `TrainingError` for a training run that cannot go on,
* `EvaluationError` for settings, methods or folders of an evaluation,
* `OutputExistsError` rather than overwrite a file,
* `MissingDependencyError` when an optional package is absent.

Trouble with single sources is a flag in the table plus one warning per
call, never an error.
"""

from astropy.utils.exceptions import AstropyUserWarning

__all__ = [
    'BandMismatchError',
    'CatalogError',
    'DeblendWarning',
    'EdgeWarning',
    'EvaluationError',
    'MissingDependencyError',
    'OutputExistsError',
    'PSFError',
    'ShapeMismatchError',
    'StampError',
    'StoreError',
    'TrainingError',
    'UnitMismatchError',
    'VaephotError',
    'VaephotWarning',
    'WeightsError',
]


class VaephotError(Exception):
    """
    Base class of all errors of the package.

    Parameters
    ----------
    message : str
        What is wrong, the value received, what is allowed, what to do.
    **values
        The offending values; each becomes an attribute of the error.
    """

    def __init__(self, message, **values):
        super().__init__(message)
        for name, value in values.items():
            setattr(self, name, value)


class ShapeMismatchError(VaephotError, ValueError):
    """Arrays that must agree in shape do not."""


class BandMismatchError(VaephotError, ValueError):
    """The number or the names of the bands disagree."""


class UnitMismatchError(VaephotError, ValueError):
    """Units of quantities that belong together disagree."""


class PSFError(VaephotError, ValueError):
    """A point spread function that cannot be used."""


class StampError(VaephotError, ValueError):
    """A cutout that cannot be made."""


class WeightsError(VaephotError, ValueError):
    """A weights file or record that is unknown, damaged or unfit."""


class CatalogError(VaephotError, ValueError):
    """An input catalogue that lacks columns or holds unusable rows."""


class StoreError(VaephotError, ValueError):
    """A simulation store that is damaged or incomplete."""


class TrainingError(VaephotError, RuntimeError):
    """A training run that cannot start or go on."""


class EvaluationError(VaephotError, ValueError):
    """Settings, methods or results of an evaluation that do not fit."""


class OutputExistsError(VaephotError, FileExistsError):
    """An output path that exists already."""

    def __str__(self):
        return str(self.args[0])


class MissingDependencyError(VaephotError, ImportError):
    """An optional package that is needed but not installed."""


class VaephotWarning(AstropyUserWarning):
    """Base class of all warnings of the package."""


class EdgeWarning(VaephotWarning):
    """Sources reach past the edge of the image."""


class DeblendWarning(VaephotWarning):
    """Sources whose deblending is to be used with care."""
