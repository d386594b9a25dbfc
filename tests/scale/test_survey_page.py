# Licensed under a 3-clause BSD style license - see LICENSE.rst
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest

from vaephot.results.flags import encode_flags
from vaephot.scale.survey_page import _binned, make_thumbnail, write_page
from vaephot.scale.tiles import TileGrid


@pytest.fixture
def plan(tmp_path):
    (tmp_path / 'work' / 'tiles').mkdir(parents=True)
    return SimpleNamespace(
        shape=(60, 90), bands=('VIS',), unit='uJy', zeropoint=None,
        tiles=TileGrid(shape=(60, 90), side=30),
        sky=SimpleNamespace(noise=np.array([2.0]), factor=np.array([1.0])),
        path=tmp_path.joinpath)


def record(sources):
    return {'sources': sources, 'chi2': 1.0, 'error': 0.5, 'read': 1.0,
            'deblend': 2.0, 'write': 1.0,
            'flags': {str(encode_flags('edge')): 2}}


class Checker(HTMLParser):
    """Counts tags, and refuses what is loaded from elsewhere."""

    def __init__(self):
        super().__init__()
        self.count = {}

    def handle_starttag(self, tag, attrs):
        self.count[tag] = self.count.get(tag, 0) + 1
        for name, value in attrs:
            if name in ('src', 'href'):
                assert value.startswith(('data:', '#'))


def test_the_page_has_everything_and_needs_nothing_else(plan):
    rng = np.random.default_rng(1)
    for number in range(5):
        thumbnail = make_thumbnail(plan, rng.normal(size=(30, 30)),
                                   np.zeros((30, 30)),
                                   np.zeros((30, 30), bool))
        np.savez(plan.path('work', 'tiles', f'images-{number:06d}.npz'),
                 thumbnail=thumbnail)
    records = {k: record(10 + k) for k in range(5)}
    write_page(plan, records, {'tile 5': 'OSError: <no>'}, 60)
    text = plan.path('summary.html').read_text()
    page = Checker()
    page.feed(text)
    assert page.count['svg'] == 4
    assert page.count['rect'] == 4 * 6
    assert page.count['img'] == 2
    assert '60 sources in 90 x 60 pixels' in text
    assert 'OSError: &lt;no&gt;' in text
    assert '<td>10</td><td>edge</td>' in text
    # five sigma of 0.5 uJy
    assert f'{23.9 - 2.5 * np.log10(2.5):.2f}' in text


def test_a_page_without_tiles_is_a_page(plan):
    write_page(plan, {}, {}, 0)
    assert 'Nothing was set aside' in plan.path('summary.html').read_text()


def test_pictures_are_means_of_good_pixels():
    image = np.arange(20.0).reshape(4, 5)
    image[0, 0] = np.nan
    small = _binned(image, 2)
    assert small.shape == (2, 3)
    assert small[0, 0] == np.mean([1, 5, 6])
    assert small[0, 2] == np.mean([4, 9])
