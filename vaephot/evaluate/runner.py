# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Run methods on sets of blends, in parallel, and go on where it stopped.

A run is a folder with ``evaluation.json`` (settings, versions) and
``data``, where each chunk of a set has one file with its truth and one for
each method. Files that are there are kept, so an interrupted run is
finished by the same call, and more blends or methods can be added.
"""

import json
import os
import platform
from concurrent.futures import as_completed
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from tqdm import tqdm

from vaephot.evaluate.drawing import draw_chunk
from vaephot.evaluate.measured_blends import describe_truth, measure_blends
from vaephot.evaluate.methods import METHODS
from vaephot.exceptions import EvaluationError, MissingDependencyError
from vaephot.utils.atomic import atomic_write
from vaephot.utils.processes import process_pool

__all__ = ['SetResult', 'describe_software', 'evaluate', 'read_manifest',
           'read_results']

MANIFEST = 'evaluation.json'
FORMAT = 1
PACKAGES = ('vaephot', 'photutils', 'sep', 'torch', 'galsim', 'astropy',
            'scipy', 'numpy')


def describe_software():
    """
    Name the versions that figures depend on.

    Returns
    -------
    dict
        Versions of the packages that are installed.
    """
    found = {'python': platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _file(folder, name, chunk, what):
    return folder / 'data' / name / f'{chunk:05d}.{what}.npz'


def _run_chunk(folder, config, chunk, methods, settings):
    """Draw a chunk, run methods, write files; return what was skipped."""
    observed, psf = draw_chunk(config, chunk)
    truth_file = _file(folder, config.name, chunk, 'truth')
    if not truth_file.exists():
        floors = config.floors - chunk * config.chunk
        truth = describe_truth(observed, max(floors, 0), psf)
        _save(truth_file, {**truth, **_common(observed)})
    skipped = {}
    for method in methods:
        try:
            result = measure_blends(observed, method, settings)
        except MissingDependencyError as err:
            skipped[method.name] = str(err)
            continue
        except Exception as err:
            msg = (f'{method.name} failed on chunk {chunk} of '
                   f'{config.name}: {type(err).__name__}: {err}')
            raise EvaluationError(msg, method=method.name) from err
        _save(_file(folder, config.name, chunk, method.name), result)
    return skipped


def _common(observed):
    """What holds for all blends of a set."""
    return {'bands': np.array(observed.bands), 'n_blends': len(observed),
            'pixel_scale': observed.pixel_scale,
            'zeropoint': observed.zeropoint}


def _save(path, arrays):
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path, overwrite=True) as temporary, \
            open(temporary, 'wb') as file:
        np.savez_compressed(file, **arrays)


def _identity(method):
    """What the results of a method depend on, besides the blends."""
    out = {'use': method.use, 'options': method.options}
    target = METHODS.get(method.use, (method.use,))[0]
    if target.startswith('vaephot.evaluate.vaephot_method:'):
        from vaephot.weights import load_weights

        record = load_weights(method.options.get('weights')).record
        out['weights'] = f'{record.name} {record.version}'
        out['sha256'] = record.sha256
    return out


def _plain(value):
    """Values as a JSON file gives them back."""
    return json.loads(json.dumps(value))


def _open_manifest(folder, config, *, overwrite):
    """Manifest of the run, checked against what was done before."""
    path = folder / MANIFEST
    sets = {item.name: _plain(asdict(item)) for item in config.sets}
    methods = {m.name: _plain(_identity(m)) for m in config.methods}
    if path.exists():
        old = read_manifest(folder)
        for kind, new in (('sets', sets), ('methods', methods)):
            for name in sorted(set(new) & set(old[kind])):
                if _essence(new[name]) == _essence(old[kind][name]):
                    _reopen(folder, name, new[name], old[kind][name])
                    continue
                if not overwrite:
                    msg = (f'{folder} has results of {name!r} with other '
                           f'settings or weights; choose another folder, '
                           'or pass overwrite (--overwrite on the command '
                           'line) to measure anew.')
                    raise EvaluationError(msg, folder=str(folder),
                                          name=name)
                _forget(folder, kind, name)
    return {'format': FORMAT, 'config': _plain(config.to_dict()),
            'sets': sets, 'methods': methods,
            'versions': describe_software(),
            'machine': f'{platform.machine()}, {os.cpu_count()} cores'}


def _essence(settings):
    """Settings without those that only say how much is done."""
    return {key: value for key, value in settings.items()
            if key not in ('n', 'floors')}


def _reopen(folder, name, new, old):
    """Remove chunks whose number of blends or floors changes."""
    for key in ('n', 'floors'):
        if new.get(key) == old.get(key) or new.get('case') is None:
            continue  # fields and files are chunks of their own
        first = min(new[key], old[key]) // new['chunk']
        last = max(new[key], old[key]) // new['chunk']
        what = '*' if key == 'n' else 'truth'
        for chunk in range(first, last + 1):
            for path in (folder / 'data' / name).glob(
                    f'{chunk:05d}.{what}.npz'):
                path.unlink()


def _forget(folder, kind, name):
    """Remove the results of a set or a method."""
    pattern = f'{name}/*.npz' if kind == 'sets' else f'*/*.{name}.npz'
    for path in (folder / 'data').glob(pattern):
        path.unlink()


def read_manifest(folder):
    """
    Read the manifest of a run.

    Parameters
    ----------
    folder : path-like
        Folder of the run.

    Returns
    -------
    dict
        Settings, versions, weights, and what was skipped.

    Raises
    ------
    EvaluationError
        If the folder is no run.
    """
    path = Path(folder) / MANIFEST
    if not path.is_file():
        msg = (f'{folder} has no {MANIFEST}, so it is no evaluation; make '
               'one with "vaephot evaluate".')
        raise EvaluationError(msg, folder=str(folder))
    return json.loads(path.read_text(encoding='utf-8'))


def _write_manifest(folder, manifest):
    with atomic_write(folder / MANIFEST, overwrite=True) as path:
        path.write_text(json.dumps(manifest, indent=1) + '\n',
                        encoding='utf-8')


def _jobs(folder, config):
    """Chunks with methods that are not done."""
    for item in config.sets:
        for chunk in range(item.n_chunks):
            missing = [m for m in config.methods if not _file(
                folder, item.name, chunk, m.name).exists()]
            truth = _file(folder, item.name, chunk, 'truth').exists()
            if missing or not truth:
                yield item, chunk, missing


def _work(jobs, n_workers):
    """Run jobs and yield what each of them skipped."""
    if n_workers == 1:
        for job in jobs:
            yield _run_chunk(*job)
        return
    with process_pool(n_workers) as pool:
        futures = [pool.submit(_run_chunk, *job) for job in jobs]
        for future in as_completed(futures):
            yield future.result()


def evaluate(config, folder, *, n_workers=1, overwrite=False,
             progress_bar=False):
    """
    Run an evaluation, or finish one.

    Parameters
    ----------
    config : `~vaephot.evaluate.evaluation_config.EvaluationConfig`
        What to do.
    folder : path-like
        Folder of the run; made if absent.
    n_workers : int, optional
        Number of processes. Scripts that ask for more than one need the
        usual ``if __name__ == '__main__'``.
    overwrite : bool, optional
        Whether results of other settings or weights are removed.
    progress_bar : bool, optional
        Whether to show a progress bar.

    Returns
    -------
    dict
        The manifest; ``skipped`` names methods that could not run on this
        machine, and why.

    Raises
    ------
    EvaluationError
        If the folder has results of other settings, or a method fails.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    manifest = _open_manifest(folder, config, overwrite=overwrite)
    _write_manifest(folder, manifest)
    jobs = [(folder, item, chunk, missing, config.matching)
            for item, chunk, missing in _jobs(folder, config)]
    skipped = {}
    for names in tqdm(_work(jobs, n_workers), total=len(jobs), unit='chunk',
                      desc='evaluate', disable=not progress_bar):
        skipped.update(names)
    manifest['skipped'] = skipped
    _write_manifest(folder, manifest)
    return manifest


class SetResult:
    """
    All chunks of a set.

    Parameters
    ----------
    name : str
        Name of the set.
    truth : dict of `~numpy.ndarray`
        See `~vaephot.evaluate.measured_blends.describe_truth`; with ``bands``,
        ``n_blends``, ``pixel_scale`` and ``zeropoint``.
    methods : dict of dict
        Arrays of each method, see
        `~vaephot.evaluate.measured_blends.measure_blends`.
    """

    def __init__(self, name, truth, methods):
        self.name = name
        self.truth = truth
        self.methods = methods
        self.bands = tuple(str(band) for band in truth['bands'])

    def __repr__(self):
        return (f'<SetResult {self.name!r}: {self.truth["n_blends"]} '
                f'blends, {len(self.truth["flux"])} sources, methods '
                f'{", ".join(self.methods)}>')


def read_results(folder, config):
    """
    Read the results of a run.

    Parameters
    ----------
    folder : path-like
        Folder of the run.
    config : `~vaephot.evaluate.evaluation_config.EvaluationConfig`
        What it did.

    Returns
    -------
    list of SetResult
        Methods that have not measured all chunks of a set are left out.

    Raises
    ------
    EvaluationError
        If the truth of a chunk is not there.
    """
    folder, out = Path(folder), []
    for item in config.sets:
        chunks = range(item.n_chunks)
        files = [_file(folder, item.name, k, 'truth') for k in chunks]
        missing = [str(path) for path in files if not path.exists()]
        if missing:
            msg = (f'{folder} is not finished: {missing[0]} is missing; '
                   'give the same command again.')
            raise EvaluationError(msg, missing=missing)
        truth, starts = _concatenate(files)
        methods = {}
        for method in config.methods:
            files = [_file(folder, item.name, k, method.name)
                     for k in chunks]
            if all(path.exists() for path in files):
                methods[method.name] = _concatenate(files, starts)[0]
        out.append(SetResult(item.name, truth, methods))
    return out


def _concatenate(files, starts=None):
    """Arrays of all chunks, blends numbered through."""
    chunks = []
    for path in files:
        with np.load(path, allow_pickle=False) as arrays:
            chunks.append(dict(arrays))
    numbers = [int(chunk.get('n_blends', 0)) for chunk in chunks]
    if starts is None:
        starts = np.cumsum([0, *numbers[:-1]])
    for chunk, start in zip(chunks, starts, strict=True):
        for name in ('blend', 'found_blend'):
            if name in chunk:
                chunk[name] = chunk[name] + start
    out = {}
    for name, first in chunks[0].items():
        if name in ('bands', 'pixel_scale', 'zeropoint'):
            out[name] = first
        elif name in ('n_blends', 'seconds'):
            out[name] = sum(chunk[name] for chunk in chunks)
        elif name == 'picture':
            filled = [chunk[name] for chunk in chunks if len(chunk[name])]
            out[name] = np.concatenate(filled) if filled else first
        else:
            out[name] = np.concatenate([chunk[name] for chunk in chunks])
    return out, starts
