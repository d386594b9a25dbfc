# Licensed under a 3-clause BSD style license - see LICENSE.rst
import shutil
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from astropy.utils.data import download_file

from vaephot.exceptions import WeightsError
from vaephot.weights import conf, fetch_weights, load_weights
from vaephot.weights.download import cache_key
from vaephot.weights.registry import find_record


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        self.server.requested.append(self.path)


@pytest.fixture
def mirror(tmp_path):
    """Folder served on localhost; ``url`` and ``requested`` on it."""
    folder = tmp_path / 'mirror'
    folder.mkdir()
    handler = partial(QuietHandler, directory=str(folder))
    with ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        server.requested = []
        server.folder = folder
        server.url = f'http://127.0.0.1:{server.server_address[1]}'
        thread = threading.Thread(target=server.serve_forever,
                                  kwargs={'poll_interval': 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def shipped(weights_home, make_weights):
    """Weights whose record and file ship with the package."""
    return make_weights(weights_home / 'default.safetensors')


@pytest.fixture
def remote(shipped, mirror):
    """Weights whose record ships and whose file lies on the mirror."""
    shutil.move(shipped, mirror.folder / shipped.name)
    return mirror.folder / shipped.name


def flip(path):
    content = bytearray(Path(path).read_bytes())
    content[-1] ^= 1
    Path(path).write_bytes(content)


def put_in_cache(path):
    record, _ = find_record('default')
    return download_file(cache_key(record), cache='update',
                         sources=[Path(path).as_uri()], pkgname='vaephot',
                         show_progress=False)


def test_shipped_weights_need_no_network(shipped, mirror):
    with conf.set_temp('weights_urls', [mirror.url]):
        assert fetch_weights('default') == shipped
        assert fetch_weights('default', force=True) == shipped
    assert mirror.requested == []


def test_a_mirror_is_asked_once_and_then_the_cache(remote, mirror):
    with conf.set_temp('weights_urls', [mirror.url + '/']):
        path = fetch_weights('default')
    assert path.read_bytes() == remote.read_bytes()
    assert fetch_weights('default') == path
    assert load_weights('default').record.name == 'default'
    assert mirror.requested == ['/default.safetensors']


def test_a_folder_can_be_a_mirror(remote):
    with conf.set_temp('weights_urls', [remote.parent.as_uri()]):
        path = fetch_weights('default')
    assert path.read_bytes() == remote.read_bytes()


def test_the_url_of_the_record_is_a_source(
        weights_home, make_weights, mirror):
    path = make_weights(weights_home / 'other.safetensors',
                        url=f'{mirror.url}/v1/file')
    (mirror.folder / 'v1').mkdir()
    shutil.move(path, mirror.folder / 'v1' / 'file')
    assert load_weights('other').record.url.endswith('/v1/file')
    assert mirror.requested == ['/v1/file']


def test_the_cache_comes_before_the_package(shipped):
    cached = put_in_cache(shipped)
    assert str(fetch_weights('default')) == cached


def test_a_bad_cached_copy_is_an_error_that_force_mends(shipped):
    flip(put_in_cache(shipped))
    with pytest.raises(WeightsError, match='fetch --force default'):
        fetch_weights('default')
    with pytest.raises(WeightsError, match='SHA-256'):
        load_weights('default')
    assert fetch_weights('default', force=True) == shipped
    assert fetch_weights('default') == shipped


def test_force_downloads_again(remote, mirror):
    with conf.set_temp('weights_urls', [mirror.url]):
        flip(fetch_weights('default'))
        path = fetch_weights('default', force=True)
    assert path.read_bytes() == remote.read_bytes()
    assert len(mirror.requested) == 2


def test_a_damaged_shipped_file_is_replaced_by_force(shipped, mirror):
    shutil.copy(shipped, mirror.folder)
    flip(shipped)
    with conf.set_temp('weights_urls', [mirror.url]):
        with pytest.raises(WeightsError, match='SHA-256'):
            fetch_weights('default')
        fetch_weights('default', force=True)
    assert load_weights('default').record.name == 'default'


def test_a_bad_mirror_is_passed_over_and_not_cached(remote, mirror):
    bad = mirror.folder / 'bad'
    bad.mkdir()
    shutil.copy(remote, bad)
    flip(bad / remote.name)
    with conf.set_temp('weights_urls', [f'{mirror.url}/bad']):
        with pytest.raises(WeightsError, match=r'SHA-256.*mirror'):
            fetch_weights('default')
    urls = [f'{mirror.url}/absent', f'{mirror.url}/bad', mirror.url]
    with conf.set_temp('weights_urls', urls):
        path = fetch_weights('default')
    assert path.read_bytes() == remote.read_bytes()


def test_unreachable_mirrors_give_one_error_that_names_them(remote):
    start = time.monotonic()
    with conf.set_temp('weights_urls', ['http://127.0.0.1:9/weights']):
        with pytest.raises(WeightsError, match='127.0.0.1:9') as info:
            load_weights('default')
    assert time.monotonic() - start < 5
    assert info.value.name == 'default'
    assert 'conf.weights_urls' in str(info.value)


def test_without_any_source_the_error_says_so(remote):
    with pytest.raises(WeightsError, match='no source is known'):
        fetch_weights('default')


def test_an_unknown_name_is_an_error(weights_home):
    with pytest.raises(WeightsError, match='known: none'):
        fetch_weights('nothing')
