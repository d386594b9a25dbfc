# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
What an evaluation does: sets of blends, methods, bins and matching.

Configurations are TOML or JSON files; ``configs/experiments`` has examples.
"""

import json
import tomllib
from dataclasses import asdict, dataclass, fields
from dataclasses import field as new
from pathlib import Path

from vaephot.evaluate.matching import RULES
from vaephot.evaluate.methods import Method
from vaephot.evaluate.observed import POSITION_SIGMA
from vaephot.evaluate.observing_conditions import Conditions
from vaephot.exceptions import EvaluationError

__all__ = ['EvaluationConfig', 'MatchSettings', 'SetConfig', 'read_config']

# blends that are drawn and measured together
CHUNK_SIZE = 25
# what bins are of besides the true magnitude in the first band, and their
# edges: arcsec, mag, none, signal to noise in the first band
EDGES = {
    'mag': (20, 22, 23, 24, 25, 26),
    'measured_mag': (20, 22, 23, 24, 25, 26),
    'separation': (0.2, 0.5, 0.8, 1.2, 1.8, 2.8),
    'delta_mag': (-5, -2, -1, 0, 1, 2.5),
    'blendedness': (0, 0.01, 0.05, 0.2, 0.5, 1),
    'snr': (5, 10, 20, 50, 100, 1000),
}


def _build(cls, values, where):
    """Make a dataclass from a mapping, and name what does not fit."""
    known = {f.name for f in fields(cls)}
    unknown = sorted(set(values) - known)
    if unknown:
        msg = (f'{where}: unknown settings {", ".join(unknown)}; known are '
               f'{", ".join(sorted(known))}.')
        raise EvaluationError(msg, unknown=unknown)
    try:
        return cls(**values)
    except (TypeError, ValueError) as err:
        msg = f'{where}: {err}'
        raise EvaluationError(msg) from err


@dataclass(frozen=True, kw_only=True)
class MatchSettings:
    """
    Who belongs to whom; distances are in arcsec.

    Parameters
    ----------
    by : {'position', 'segments'}, optional
        What methods that are not told positions are matched by.
    rule : {'nearest', 'pairs', 'optimal'}, optional
        Rule of the matching by position, see `vaephot.evaluate.matching`.
    max_distance : float, optional
        Largest distance of the source whose flux is scored.
    detection_distance : float, optional
        Largest distance of a detection.
    merge_distance : float, optional
        How far a missed source may be from a detected one to count as
        merged with it, for methods without a segmentation.
    """

    by: str = 'position'
    rule: str = 'nearest'
    max_distance: float = 0.4
    detection_distance: float = 0.3
    merge_distance: float = 1.0

    def __post_init__(self):
        for name, allowed in (('by', ('position', 'segments')),
                              ('rule', RULES)):
            if getattr(self, name) not in allowed:
                msg = (f'{name} is {getattr(self, name)!r}; choose one of '
                       f'{", ".join(allowed)}.')
                raise ValueError(msg)
        for name in ('max_distance', 'detection_distance',
                     'merge_distance'):
            if not getattr(self, name) > 0:
                msg = f'{name} is {getattr(self, name)}; it must be > 0.'
                raise ValueError(msg)


@dataclass(frozen=True, kw_only=True)
class SetConfig:
    """
    One set of blends; exactly one of case, field and file is given.

    Parameters
    ----------
    name : str
        Name in tables and figures.
    case : str or dict or None, optional
        Kind of blend, as for `vaephot.simulate.draw_blends`, or settings
        of an own one (`vaephot.simulate.blends.BlendCase`).
    field : dict or None, optional
        Settings of `vaephot.simulate.FieldConfig`; ``n`` is the number of
        fields then.
    file : str or None, optional
        File with images and truth, see
        `~vaephot.evaluate.observed.read_observed`.
    n : int, optional
        Number of blends or fields; a file is taken whole.
    seed : int, optional
        Seed of the set; sets of the same seed show the same blends.
    survey : str, optional
        Name of the survey.
    draw : dict, optional
        More keywords of `vaephot.simulate.draw_blends`.
    real_galaxies : str or None, optional
        Folder of a COSMOS catalogue of real galaxies in GalSim's format,
        whose odd rows are drawn; may hold environment variables. `None`
        is the mock catalogue.
    score : {'central', 'all'}, optional
        Whether figures are about the source in the middle or about all.
    floors : int, optional
        Number of blends whose Cramér-Rao floors are computed.
    chunk : int, optional
        Blends that are drawn and measured together.
    position_sigma : float, optional
        Scatter of told positions, in arcsec in x and in y.
    conditions : Conditions, optional
        Where images differ from what methods are told.
    """

    name: str
    case: str | dict | None = None
    field: dict | None = None
    file: str | None = None
    n: int = 200
    seed: int = 1
    survey: str = 'euclid-wide'
    draw: dict = new(default_factory=dict)
    real_galaxies: str | None = None
    score: str = 'central'
    floors: int = 0
    chunk: int = CHUNK_SIZE
    position_sigma: float = POSITION_SIGMA
    conditions: Conditions = new(default_factory=Conditions)

    def __post_init__(self):
        if isinstance(self.conditions, dict):
            object.__setattr__(self, 'conditions', _build(
                Conditions, self.conditions, f'conditions of {self.name}'))
        given = [name for name in ('case', 'field', 'file')
                 if getattr(self, name) is not None]
        if len(given) != 1:
            msg = (f'the set {self.name!r} has {given or "nothing"}; give '
                   'one of case, field and file.')
            raise ValueError(msg)
        if self.score not in ('central', 'all'):
            msg = f'score is {self.score!r}; choose central or all.'
            raise ValueError(msg)
        for name, low in (('n', 1), ('chunk', 1), ('seed', 0),
                          ('floors', 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < low:
                msg = (f'{name} is {value!r}; it must be an integer, at '
                       f'least {low}.')
                raise ValueError(msg)

    @property
    def n_chunks(self):
        """Number of chunks."""
        if self.file is not None:
            return 1
        size = 1 if self.field is not None else self.chunk
        return -(-self.n // size)




@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """
    A whole evaluation.

    Parameters
    ----------
    title : str
        Title of the report.
    description : str, optional
        What it is about, in a few sentences.
    sets : sequence of SetConfig
        The blends.
    methods : sequence of Method
        The methods; the first one has the galleries.
    edges : dict, optional
        Edges of the bins of each quantity; those left out keep their
        defaults.
    good_mags : tuple of float, optional
        Range of true magnitudes in the first band that the summary is
        about.
    matching : MatchSettings, optional
        Who belongs to whom.
    """

    title: str
    description: str = ''
    sets: tuple
    methods: tuple
    edges: dict = new(default_factory=dict)
    good_mags: tuple = (22.0, 25.0)
    matching: MatchSettings = new(default_factory=MatchSettings)

    def __post_init__(self):
        unknown = sorted(set(self.edges) - set(EDGES))
        if unknown:
            msg = (f'edges of {", ".join(unknown)}; bins are of '
                   f'{", ".join(EDGES)}.')
            raise ValueError(msg)
        set_ = object.__setattr__
        set_(self, 'edges', {name: tuple(self.edges.get(name, edges))
                             for name, edges in EDGES.items()})
        set_(self, 'sets', tuple(self.sets))
        set_(self, 'methods', tuple(self.methods))
        set_(self, 'good_mags', tuple(self.good_mags))
        for kind in ('sets', 'methods'):
            names = [item.name for item in getattr(self, kind)]
            double = sorted({n for n in names if names.count(n) > 1})
            if double or not names:
                msg = (f'names of {kind} are {names}; give at least one, '
                       'and each a name of its own.')
                raise ValueError(msg)

    @classmethod
    def from_dict(cls, values):
        """
        Make a configuration from plain values, as files hold them.

        Parameters
        ----------
        values : mapping
            Settings; ``sets`` and ``methods`` are lists of mappings, and a
            method may be its name alone.

        Returns
        -------
        EvaluationConfig

        Raises
        ------
        EvaluationError
            If something is unknown, missing or out of range.

        Examples
        --------
        >>> from vaephot.evaluate.evaluation_config import EvaluationConfig
        >>> config = EvaluationConfig.from_dict({
        ...     'title': 'Faint pairs', 'methods': ['sep_default'],
        ...     'sets': [{'name': 'faint', 'case': 'faint', 'n': 50}]})
        >>> config.sets[0].n_chunks
        2
        """
        values = dict(values)
        values['sets'] = [_build(SetConfig, item, f'set {k + 1}')
                          for k, item in enumerate(values.get('sets', []))]
        values['methods'] = [_method(item)
                             for item in values.get('methods', [])]
        if 'matching' in values:
            values['matching'] = _build(MatchSettings, values['matching'],
                                        'matching')
        return _build(cls, values, 'evaluation')

    def to_dict(self):
        """
        Return plain values that make the same configuration.

        Returns
        -------
        dict
        """
        return {
            'title': self.title, 'description': self.description,
            'sets': [asdict(item) for item in self.sets],
            'methods': [{'name': m.name, 'use': m.use, **m.options}
                        for m in self.methods],
            'edges': self.edges, 'good_mags': list(self.good_mags),
            'matching': asdict(self.matching)}


def _method(item):
    """Make a method from its name or from a mapping of its options."""
    item = {'name': item} if isinstance(item, str) else dict(item)
    if 'name' not in item:
        msg = f'a method has no name, only {item}.'
        raise EvaluationError(msg)
    name = item.pop('name')
    return Method(name=name, use=item.pop('use', name), options=item)


def read_config(path):
    """
    Read a configuration.

    Parameters
    ----------
    path : path-like
        File, ending in ``.toml`` or ``.json``.

    Returns
    -------
    EvaluationConfig

    Raises
    ------
    EvaluationError
        If the file cannot be read or something in it does not fit.
    """
    path = Path(path)
    text = path.read_text(encoding='utf-8')
    load = json.loads if path.suffix == '.json' else tomllib.loads
    try:
        return EvaluationConfig.from_dict(load(text))
    except ValueError as err:  # that of both parsers, and ours
        msg = f'{path}: {err}'
        raise EvaluationError(msg, path=str(path)) from err
