# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Inputs drawn at random: a right result or an error of ours, nothing else.

A few are drawn by default, many with ``--slow``.
"""

import traceback
import warnings
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import vaephot
from vaephot import VAEDeblender
from vaephot.exceptions import VaephotError, VaephotWarning

draws = SimpleNamespace(**run_path(
    str(Path(__file__).with_name('_draws.py'))))
PACKAGE = str(Path(vaephot.__file__).parent)
# how many of its errors a flux may differ from that of its clean twin, which
# has other rounding, and a width instead of an image or model of the same PSF
MOST_SIGMA = 1.0
# and the errors from each other, which count what models leave over from a
# threshold on
MOST_RATIO = 3.0
FEW = settings(max_examples=10, deadline=None, database=None, derandomize=True,
               suppress_health_check=list(HealthCheck))
MANY = settings(FEW, max_examples=1000)
DEBLENDERS = {}


def run(options, call):
    """Result of a call, or our error; any other exception is raised."""
    key = tuple(options.items())
    if key not in DEBLENDERS:
        DEBLENDERS[key] = VAEDeblender(device='cpu', **options)
    call = dict(call)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        warnings.simplefilter('ignore', VaephotWarning)
        try:
            return DEBLENDERS[key](call.pop('data'), **call)
        except (TypeError, ValueError) as err:
            if not is_ours(err):
                raise
            return err


def is_ours(err):
    """Whether an error is one of ours, raised by our own code."""
    last = traceback.extract_tb(err.__traceback__)[-1]
    return isinstance(err, VaephotError) or last.filename.startswith(PACKAGE)


def column(table, name):
    """Numbers of a column without unit."""
    names = [key for key in table.colnames if key == name
             or (key.startswith(f'{name}_') and 'err' not in key[len(name):])]
    value = table[names[0]]
    return np.asarray(getattr(value, 'value', value), float)


def nearest(result, xy):
    """Row of the source nearest to each place, and how far it is."""
    x, y = (column(result.table, f'{axis}_centroid') for axis in 'xy')
    away = np.hypot(x - xy[:, :1], y - xy[:, 1:])
    return away.argmin(1), away.min(1)


def check_twin(drawn, result, twin):
    """Fluxes are those of the clean twin within their errors."""
    scale = drawn.scale
    flux, flux_err = (column(result.table, name) / scale
                      for name in ('flux', 'flux_err'))
    other, other_err = (column(twin.table, name)
                        for name in ('flux', 'flux_err'))
    if drawn.call['positions'] is not None:
        rows = others = np.arange(len(drawn.xy))
    else:
        (rows, away), (others, beside) = (
            nearest(each, drawn.xy) for each in (result, twin))
        seen = (away < 1.5) & (beside < 1.5)
        assert (seen | (away > 1.5) & (beside > 1.5)).all()
        rows, others = rows[seen], others[seen]
    flux, flux_err = flux[rows], flux_err[rows]
    other, other_err = other[others], other_err[others]
    assert (np.isnan(flux) == np.isnan(other)).all()
    good = np.isfinite(flux) & np.isfinite(other)
    pull = (flux - other)[good] / other_err[good]
    assert (np.abs(pull) < MOST_SIGMA).all(), pull
    ratio = (flux_err / other_err)[good]
    assert (np.maximum(ratio, 1 / ratio) < MOST_RATIO).all(), ratio


def check_result(result):
    """Numbers of any result are in range, and follow-ups take it."""
    seen = np.array(['no_data' not in flags for flags in
                     vaephot.decode_flags(result.table['flags'])], bool)
    for axis in 'xy':
        place = column(result.table, f'{axis}_centroid')
        assert np.isfinite(place[seen]).all()
    assert len(result.aperture_table([3.0], kron=False)) == len(result)


def check(drawn):
    result = run(drawn.settings, drawn.call)
    assert not isinstance(result, Exception), result
    check_result(result)
    twin = run(drawn.settings, drawn.twin)
    assert not isinstance(twin, Exception), twin
    if len(result) and len(twin):
        check_twin(drawn, result, twin)


@FEW
@given(draws.drawn_inputs())
def test_a_drawn_input_gives_what_its_clean_twin_gives(drawn):
    check(drawn)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@MANY
@given(draws.drawn_inputs())
def test_many_drawn_inputs_give_what_their_clean_twins_give(drawn):
    check(drawn)


# --------------------------------------------------------- what is no input
SHAPE = (40, 40)
IMAGE, XY = draws.scene(SHAPE, 1)
RUBBISH = (
    None, 'text', 1j, object(), {}, [], [1, 2], -1.0, 0.0, np.nan, np.inf,
    np.zeros(SHAPE), np.ones((3, 3)), np.ones(SHAPE[:1]), np.ones((0, 0)),
    np.full(SHAPE, np.nan), np.ones((2, *SHAPE)), np.ones(SHAPE, complex),
    np.ones(SHAPE, object), np.array(['a', 'b']), {'g': 1}, 1e300, True)
ARGUMENTS = ('data', 'error', 'gain', 'noise_correlation', 'mask', 'psf',
             'bands', 'wcs', 'zeropoint', 'saturation', 'positions', 'labels',
             'segmentation_image')


def check_rubbish(argument, value):
    call = {'data': IMAGE, 'error': 1.0, 'psf': draws.FWHM,
            'segmentation_image': draws.parents(SHAPE, XY),
            argument: value}
    result = run({'refine': False}, call)
    if not isinstance(result, Exception):
        assert len(result.table) == len(result)


RUBBISH_INPUT = given(st.sampled_from(ARGUMENTS),
                      st.integers(0, len(RUBBISH) - 1))


@settings(FEW, max_examples=60)
@RUBBISH_INPUT
def test_what_is_no_input_is_an_error_of_ours(argument, number):
    check_rubbish(argument, RUBBISH[number])


@pytest.mark.slow
@pytest.mark.parametrize('argument', ARGUMENTS)
@pytest.mark.parametrize('number', range(len(RUBBISH)))
def test_any_argument_may_be_wrong(argument, number):
    check_rubbish(argument, RUBBISH[number])
