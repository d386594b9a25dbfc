# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Find or fetch a weights file: cache, package, then mirrors.

The cache of astropy verifies no content, so each file is hashed here or
where it is opened, cached or new.
"""

from pathlib import Path
from urllib.error import HTTPError

from astropy.utils.data import clear_download_cache, download_file

from vaephot.exceptions import WeightsError
from vaephot.weights.files import SUFFIX, read_checked
from vaephot.weights.registry import find_record
from vaephot.weights.user_config import conf

__all__ = ['cache_key', 'fetch_weights', 'find_weights']

PKGNAME = 'vaephot'


def cache_key(record):
    """
    Return the URL under which astropy's cache holds a weights file.

    It contains the hash, so that a new version never meets an old file.

    Parameters
    ----------
    record : WeightsRecord
        Record of the weights.

    Returns
    -------
    str
    """
    return (f'https://vaephot.invalid/weights/{record.sha256}/'
            f'{record.name}{SUFFIX}')


def _cached(record):
    """Return the cached copy, or None."""
    try:
        return Path(download_file(cache_key(record), cache=True, sources=[],
                                  pkgname=PKGNAME))
    except KeyError:  # astropy's word for "not in the cache, no sources"
        return None


def _mirrors(record):
    """Return the URLs to try: the configured ones, then the record's."""
    urls = [f'{url.rstrip("/")}/{record.name}{SUFFIX}'
            for url in conf.weights_urls]
    return urls + [record.url] if record.url else urls


def _download(record, path):
    """Download from the first source that has the right content."""
    key = cache_key(record)
    sources = _mirrors(record)
    failures = []
    for source in sources:
        try:
            cached = download_file(key, cache='update', sources=[source],
                                   pkgname=PKGNAME, show_progress=False)
        except OSError as err:
            failures.append(f'{source}: {err}')
            if isinstance(err, HTTPError):
                err.close()  # it holds the connection
            continue
        try:
            read_checked(cached, record)
        except WeightsError as err:
            failures.append(f'{source}: {err}')
            clear_download_cache(key, pkgname=PKGNAME)
        else:
            return Path(cached)
    tried = '; '.join(failures) or 'no source is known'
    msg = (f'weights {record.name!r} cannot be fetched ({tried}). Add a '
           'mirror to vaephot.conf.weights_urls, or copy the right file to '
           f'{path}.')
    raise WeightsError(msg, name=record.name, sources=sources)


def find_weights(name):
    """
    Find a weights file by name, from the network only if need be.

    Parameters
    ----------
    name : str
        Name of shipped or imported weights.

    Returns
    -------
    path : pathlib.Path
        The file: the cached copy, else the one beside its record, else
        one that was downloaded. Its content is not checked here.
    record : WeightsRecord
        Its record.

    Raises
    ------
    WeightsError
        If the name is unknown or the file can be had nowhere.
    """
    record, path = find_record(name)
    cached = _cached(record)
    if cached is not None:
        return cached, record
    if path.exists():
        return path, record
    return _download(record, path), record


def fetch_weights(name, *, force=False):
    """
    Make sure that weights are on this machine and undamaged.

    The order is astropy's cache, the copy that ships inside the package,
    then the mirrors of ``vaephot.conf.weights_urls``.

    Parameters
    ----------
    name : str
        Name of shipped or imported weights.
    force : bool, optional
        Whether to discard a cached copy and get a new one.

    Returns
    -------
    pathlib.Path
        The file, its SHA-256 checked.

    Raises
    ------
    WeightsError
        If the name is unknown, the file is damaged, or no source has it.
    """
    if force:
        return _refetch(name)
    path, record = find_weights(name)
    read_checked(path, record)
    return path


def _refetch(name):
    """Discard the cached copy and take the first undamaged source."""
    record, path = find_record(name)
    if _cached(record) is not None:
        clear_download_cache(cache_key(record), pkgname=PKGNAME)
    try:
        read_checked(path, record)
    except WeightsError:
        return _download(record, path)
    return path
