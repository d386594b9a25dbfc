# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
When a stage stops, and the networks of which look it ends with.

Both follow from the curves alone, so an interrupted run decides as an
uninterrupted one.
"""

import math

__all__ = ['FIGURE', 'has_stopped', 'kept_row']

# figure of the held-out stamps that decides; smaller is better
FIGURE = 'negative_elbo'


def _looks(rows):
    """Rows that have the figure."""
    return [row for row in rows if FIGURE in row]


def _figure(row):
    """Figure of a row; what is no number is worse than any."""
    return row[FIGURE] if math.isfinite(row[FIGURE]) else math.inf


def kept_row(rows, config):
    """
    Row of the networks that a stage ends with.

    Parameters
    ----------
    rows : list of dict
        Curves of the stage, at least one row.
    config : `~vaephot.train.training_config.TrainingConfig`
        Settings.

    Returns
    -------
    dict
        The first of the best rows; the last one without patience.
    """
    looks = _looks(rows)
    if not looks or not config.patience:
        return rows[-1]
    return min(looks, key=_figure)


def has_stopped(rows, config):
    """
    Whether a stage has no patience left.

    Parameters
    ----------
    rows : list of dict
        Curves of the stage.
    config : `~vaephot.train.training_config.TrainingConfig`
        Settings.

    Returns
    -------
    bool

    Examples
    --------
    >>> from vaephot.train.training_config import TrainingConfig
    >>> from vaephot.train.stopping import has_stopped
    >>> rows = [{'negative_elbo': value} for value in (3.0, 1.0, 2.0, 1.5)]
    >>> has_stopped(rows, TrainingConfig(patience=2))
    True
    >>> has_stopped(rows, TrainingConfig(patience=3))
    False
    """
    looks = _looks(rows)
    if not looks or not config.patience:
        return False
    best = looks.index(kept_row(looks, config))
    return len(looks) - 1 - best >= config.patience
