# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
What is done of a run, so that it can be taken up again.

One file says what the run is; one small file for each finished job says what
came of it. All are written atomically and after the outputs of the job, so
that at any moment the folder holds whole jobs and nothing else that counts.
"""

import hashlib
import json
import re

import numpy as np

from vaephot.exceptions import OutputExistsError
from vaephot.utils.atomic import atomic_write

__all__ = ['Journal', 'basis_of', 'configuration']

FORMAT = 1
# names that `vaephot.utils.atomic` gives to what is not complete
TEMPORARY = re.compile(r'\.[0-9a-f]{8}\.')
# folders of a run, by what is in them
FOLDERS = ('', 'catalog', 'journal', 'work', 'work/labels', 'work/large',
           'work/tiles')


def _content(value):
    """Something as what JSON can hold; arrays and objects by their hash."""
    if isinstance(value, dict):
        return {str(key): _content(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_content(item) for item in value]
    if isinstance(value, np.ndarray):
        digest = hashlib.sha256(np.ascontiguousarray(value).tobytes())
        return f'array {value.shape} {digest.hexdigest()}'
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if hasattr(value, 'colnames'):
        return {name: _content(np.ma.filled(np.ma.asarray(value[name])))
                for name in value.colnames}
    if hasattr(value, 'to_header_string'):
        return value.to_header_string(relax=True)
    if hasattr(value, 'data') and hasattr(value, 'oversampling'):
        return [_content(np.asarray(value.data)),
                _content(np.asarray(value.oversampling)),
                _content(np.asarray(getattr(value, 'grid_xypos', 0)))]
    if hasattr(value, '__dict__') and not callable(value):
        return {'type': type(value).__name__, **_content(vars(value))}
    return repr(value)


def configuration(plan, **more):
    """
    All of a plan that its results depend on, for JSON.

    Inputs count by their names, so that a damaged file can be replaced.
    """
    content = _content({**vars(plan), **more})
    for name in ('output', 'sky'):
        content.pop(name)
    settings = content['settings']
    for name in ('device', 'n_gpus', 'batch_size'):
        settings.pop(name, None)
    return content


class Journal:
    """
    Journal of a run in its output folder.

    Parameters
    ----------
    folder : pathlib.Path
        Folder of the outputs.
    config : dict
        What `configuration` returns.

    Raises
    ------
    OutputExistsError
        If the folder holds something else, or a run of another
        configuration.
    """

    def __init__(self, folder, config):
        self.folder = folder
        path = folder / 'journal.json'
        digest = basis_of(config)
        if path.is_file():
            _check(path, config, digest)
        elif folder.is_dir() and any(folder.iterdir()):
            msg = (f'{folder} is not empty and holds no run of vaephot; it '
                   'is left as it is. Give another folder.')
            raise OutputExistsError(msg, path=folder)
        for name in FOLDERS:
            (folder / name).mkdir(parents=True, exist_ok=True)
            _sweep(folder / name)
        if not path.is_file():
            self._write(path, {'format': FORMAT, 'hash': digest,
                               'configuration': config})

    @staticmethod
    def _write(path, content):
        with atomic_write(path, overwrite=True) as temporary:
            temporary.write_text(json.dumps(content, indent=1,
                                            sort_keys=True) + '\n')

    def _path(self, stage, number):
        return self.folder / 'journal' / f'{stage}-{number:06d}.json'

    def record(self, stage, number):
        """What a job returned, or None if it is not done."""
        path = self._path(stage, number)
        if not path.is_file():
            return None
        return json.loads(path.read_text())

    def _records(self, stage, n_jobs, basis):
        """Records of all jobs that rest on a basis, by their number."""
        found = {k: self.record(stage, k) for k in range(n_jobs)}
        return {k: record for k, record in found.items()
                if record is not None and record['basis'] == basis}

    def done(self, stage, n_jobs, basis=''):
        """
        Records of the jobs of a stage that are done, by their number.

        Only those with the same ``basis``: a text that stands for what came
        before.
        """
        return {k: record for k, record
                in self._records(stage, n_jobs, basis).items()
                if 'failure' not in record}

    def failures(self, stage, n_jobs, basis=''):
        """Why jobs of a stage were set aside, by their number."""
        return {k: record['failure'] for k, record
                in self._records(stage, n_jobs, basis).items()
                if 'failure' in record}

    def add(self, stage, number, record, basis=''):
        """Say that a job is done, or why it failed."""
        self._write(self._path(stage, number), {**record, 'basis': basis})


def basis_of(content):
    """Text that stands for something that JSON can hold."""
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _sweep(folder):
    """Remove temporary files of a process that was killed."""
    for path in folder.glob('.*'):
        if TEMPORARY.match(path.name):
            path.unlink(missing_ok=True)


def _check(path, config, digest):
    """Refuse to go on with another configuration."""
    known = json.loads(path.read_text())
    if known.get('hash') == digest:
        return
    old = known.get('configuration', {})
    changed = sorted(name for name in {*old, *config}
                     if old.get(name) != config.get(name))
    msg = (f'{path.parent} holds a run of another configuration (different: '
           f'{", ".join(changed)}); give the same options to go on with it, '
           'or another folder.')
    raise OutputExistsError(msg, path=path.parent, changed=changed)
