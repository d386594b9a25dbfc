# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Methods: functions of blends that return what they measured on each.

A method is a function of `~vaephot.evaluate.observed.ObservedBlends` (and
of options, as keywords) that returns a list with one dict per blend:

``xy`` (m, 2)
    positions of what it found, in pixels of the blend;
``flux`` (m, n_bands)
    their total fluxes;
``flux_err`` (m, n_bands), optional
    1-sigma errors;
``half_light_radius``, ``axis_ratio``, ``orientation`` (m,), optional
    shapes without the PSF, in pixels and radians; ``eta1`` and ``eta2`` may
    stand for the last two;
``models``, optional
    what each source looks like: an array (m, n_bands, ny, nx), or a list of
    (`~photutils.aperture.BoundingBox`, array) inside the image;
``segmentation`` (ny, nx), optional
    pixels of each source, its row plus 1.

A method that is told positions has the attribute ``uses_positions = True``
and returns one row per position, in their order, NaN where it failed. Every
other method is matched to the truth by position. Methods are named in
``METHODS``, or given as ``module:function``.
"""

import os
import sys
from dataclasses import dataclass, field
from importlib import import_module

import numpy as np
from photutils.aperture import BoundingBox

from vaephot.exceptions import EvaluationError

__all__ = ['METHODS', 'Method', 'check_rows', 'find_method']

_BASELINES = 'vaephot.evaluate.baselines'
_SEXTRACTOR = 'vaephot.evaluate.sextractor:sextractor'
_DEBLENDER = 'vaephot.evaluate.vaephot_method'

# the classic table of deblending studies, beside SExtractor's defaults
_CLASSIC = {'threshold': 2.0, 'n_levels': 64, 'contrast': 0.0}

# name -> function and its options
METHODS = {
    'vaephot': (f'{_DEBLENDER}:vaephot', {}),
    'vaephot_fast': (f'{_DEBLENDER}:vaephot', {'refine': False}),
    'vaephot_blind': (f'{_DEBLENDER}:vaephot_blind', {}),
    'oracle': (f'{_BASELINES}:oracle', {}),
    'aperture': (f'{_BASELINES}:aperture', {}),
    'profile_fit': ('vaephot.evaluate.profile_fit:profile_fit', {}),
    'sep_classic': (f'{_BASELINES}:sep_kron', _CLASSIC),
    'sep_default': (f'{_BASELINES}:sep_kron', {}),
    'sextractor_classic': (_SEXTRACTOR, _CLASSIC),
    'sextractor_default': (_SEXTRACTOR, {}),
    'photutils_default': (f'{_BASELINES}:photutils_kron', {}),
    'scarlet': ('vaephot.evaluate.scarlet:scarlet_lite', {}),
}

_SHAPES = ('half_light_radius', 'axis_ratio', 'orientation', 'eta1', 'eta2')


@dataclass(frozen=True, kw_only=True)
class Method:
    """
    A function with its options and a name.

    Parameters
    ----------
    name : str
        Name in tables and figures.
    use : str
        A name in ``METHODS``, or ``module:function``.
    options : dict, optional
        Keywords of the function; those of ``METHODS`` are the defaults.

    Raises
    ------
    EvaluationError
        If there is no such function.

    Examples
    --------
    >>> from vaephot.evaluate.methods import Method
    >>> Method(name='mine', use='sep_default').uses_positions
    False
    """

    name: str
    use: str
    options: dict = field(default_factory=dict)

    def __post_init__(self):
        target, defaults = METHODS.get(self.use, (self.use, {}))
        object.__setattr__(self, '_function', _load(target))
        object.__setattr__(self, 'options', {**defaults, **self.options})

    def __reduce__(self):
        return _make, (self.name, self.use, self.options)

    @property
    def uses_positions(self):
        """Whether the method is told positions."""
        return bool(getattr(self._function, 'uses_positions', False))

    def __call__(self, observed):
        """
        Measure blends.

        Parameters
        ----------
        observed : ObservedBlends
            The blends.

        Returns
        -------
        list of dict
            Checked rows, see `check_rows`.
        """
        rows = self._function(observed, **self.options)
        return check_rows(rows, observed, self.name, self.uses_positions)


def _make(name, use, options):
    return Method(name=name, use=use, options=options)


def find_method(text):
    """
    Find a method that a user named on the command line.

    Parameters
    ----------
    text : str
        A name in ``METHODS``, or ``module:function``; modules in the
        current folder are found.

    Returns
    -------
    Method
        Named like the function.

    Raises
    ------
    EvaluationError
        If there is no such method.
    """
    return Method(name=text.rpartition(':')[2], use=text)


def _load(target):
    """Function named ``module:function``."""
    module, _, function = target.partition(':')
    if not function:
        msg = (f'there is no method {target!r}; choose one of '
               f'{", ".join(METHODS)}, or give module:function.')
        raise EvaluationError(msg, method=target)
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        return getattr(import_module(module), function)
    except (ImportError, AttributeError) as err:
        msg = (f'the method {target!r} cannot be loaded: {err}. The module '
               'must be importable, or lie in the current folder.')
        raise EvaluationError(msg, method=target) from err


def check_rows(rows, observed, name, uses_positions):
    """
    Check what a method returned, and bring it to one form.

    Parameters
    ----------
    rows : list of dict
        See the top of this module.
    observed : ObservedBlends
        The blends that were measured.
    name : str
        Name of the method, for the messages.
    uses_positions : bool
        Whether there must be one row per told position.

    Returns
    -------
    list of dict
        ``xy``, ``flux`` and ``flux_err`` (NaN if not given), shapes as
        ``half_light_radius``, ``eta1`` and ``eta2``, ``models`` as a list
        of boxes and arrays or `None`, ``segmentation`` or `None`.

    Raises
    ------
    EvaluationError
        If something has another shape.
    """
    if len(rows) != len(observed):
        msg = (f'{name} returned {len(rows)} dicts for {len(observed)} '
               'blends; return a list with one for each.')
        raise EvaluationError(msg, method=name)
    out = []
    for k, row in enumerate(rows):
        n = len(observed.positions[k]) if uses_positions else None
        out.append(_check_row(row, observed, f'{name}, blend {k}', n))
    return out


def _shaped(row, key, shape, where):
    """Array of a row, or an error that names it."""
    values = np.asarray(row[key], dtype=float)
    if values.size == 0 and 0 in shape:
        values = values.reshape(shape)
    if values.shape != shape:
        msg = (f'{where}: {key} has the shape {values.shape}; it must be '
               f'{shape}.')
        raise EvaluationError(msg, shape=values.shape, expected=shape)
    return values


def _check_row(row, observed, where, n):
    """One blend in the common form."""
    missing = [key for key in ('xy', 'flux') if key not in row]
    if missing:
        msg = f'{where}: {", ".join(missing)} is missing.'
        raise EvaluationError(msg, missing=missing)
    m = len(row['xy'])
    if n is not None and m != n:
        msg = (f'{where}: {m} rows for {n} positions; a method with '
               'uses_positions returns one row for each, in their order.')
        raise EvaluationError(msg, n_rows=m, n_positions=n)
    fluxes = (m, len(observed.bands))
    out = {'xy': _shaped(row, 'xy', (m, 2), where),
           'flux': _shaped(row, 'flux', fluxes, where)}
    out['flux_err'] = (_shaped(row, 'flux_err', fluxes, where)
                       if row.get('flux_err') is not None
                       else np.full(fluxes, np.nan))
    shapes = {key: _shaped(row, key, (m,), where)
              for key in _SHAPES if row.get(key) is not None}
    out.update(_conformal(shapes, m))
    out['models'] = _boxed(row.get('models'), m, observed, where)
    segmentation = row.get('segmentation')
    out['segmentation'] = segmentation if segmentation is None else (
        _shaped(row, 'segmentation', observed.shape, where).astype(int))
    return out


def _conformal(shapes, m):
    """Shapes as a radius and conformal shear; NaN if unknown."""
    nan = np.full(m, np.nan)
    if 'axis_ratio' in shapes and 'eta1' not in shapes:
        with np.errstate(divide='ignore', invalid='ignore'):
            eta = -np.log(shapes['axis_ratio'])
        angle = 2 * shapes.get('orientation', nan)
        shapes['eta1'] = eta * np.cos(angle)
        shapes['eta2'] = eta * np.sin(angle)
    return {key: shapes.get(key, nan)
            for key in ('half_light_radius', 'eta1', 'eta2')}


def _boxed(models, m, observed, where):
    """Models as a list of boxes and arrays."""
    if models is None:
        return None
    if len(models) != m:
        msg = f'{where}: {len(models)} models for {m} sources.'
        raise EvaluationError(msg, n_models=len(models))
    if m and isinstance(models[0], tuple):
        return list(models)
    ny, nx = observed.shape
    box = BoundingBox(0, nx, 0, ny)
    shape = (m, len(observed.bands), ny, nx)
    values = _shaped({'models': models}, 'models', shape, where)
    return [(box, model) for model in values]
