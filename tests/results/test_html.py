# Licensed under a 3-clause BSD style license - see LICENSE.rst
import re
import xml.etree.ElementTree as ET
from base64 import b64decode
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from runpy import run_path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from vaephot.exceptions import OutputExistsError
from vaephot.results.html import encode_png, result_page, result_table

BLENDS = run_path(str(Path(__file__).parents[1] / '_blends.py'))
make_result = BLENDS['make_result']


@pytest.fixture(name='result', scope='module')
def _result():
    return make_result(wcs=BLENDS['make_wcs'](), mask_some=True)


def pictures(text):
    """Pixels of the pictures in a page, the first row at the bottom."""
    image = pytest.importorskip('matplotlib.image')
    return [image.imread(BytesIO(b64decode(code)))[::-1]
            for code in re.findall(r'data:image/png;base64,([^"]+)', text)]


def parsed(page):
    """Tree of the body of a page; an error if a tag is not closed."""
    body = page[page.index('<body>'):page.index('</html>')]
    return ET.fromstring(re.sub(r'(<img [^>]*)>', r'\1/>', body))


@pytest.mark.parametrize('shape', [(1, 1), (3, 5)])
def test_png_round_trip(shape):
    rgb = np.random.default_rng(1).integers(0, 256, (*shape, 3), np.uint8)
    image = pytest.importorskip('matplotlib.image')
    got = image.imread(BytesIO(encode_png(rgb)))
    assert_array_equal(np.round(got[..., :3] * 255), rgb)


def test_page_has_a_row_and_an_ellipse_for_each_source(result):
    tree = parsed(result_page(result, 500))
    assert len(tree.findall('.//tr')) == 1 + len(result)
    ids = [row.get('id') for row in tree.findall('.//tr')[1:]]
    assert ids == [f'source-{label}' for label in result.labels]
    links = [link.get('href') for link in tree.iter('a')]
    assert links == [f'#{name}' for name in ids]


def test_page_needs_no_other_file(result):
    page = result_page(result, 500)
    sources = re.findall(r'(?:src|href)="([^"]{4})', page)
    assert {text for text in sources if text[0] != '#'} == {'data'}
    assert '<script' not in page


def test_pictures_show_the_frame_upright():
    result = make_result(1)
    data, model, residual = pictures(result_page(result, 0))
    assert data.shape == model.shape == residual.shape
    assert data.shape[:2] == (70, 90)
    want = result.model_image.value[0]
    darkest = np.unravel_index(model[..., 0].argmin(), want.shape)
    assert want[darkest] > 0.9 * want.max()


def test_masked_pixels_have_a_colour_of_their_own():
    shown = pictures(result_page(make_result(1, mask_some=True), 0))[0]
    blue = shown[..., 2] > shown[..., 0]
    iy, ix = np.nonzero(blue)
    assert set(iy) == {30}
    assert set(ix) == set(range(25, 33))


def test_notebooks_show_the_first_sources(result):
    text = result._repr_html_()
    assert text.count('<tr') == 1 + len(result)
    assert '&lt;DeblendResult: 5 sources' in text
    short = result_table(result, 2)
    assert short.count('<tr') == 3
    assert '3 more sources' in short


@pytest.mark.parametrize('case', ['2d', 'native', 'plain', 'none'])
def test_any_result_makes_a_page(case):
    result = {
        '2d': lambda: make_result(1, is_2d=True),
        'native': BLENDS['make_native_result'],
        'plain': lambda: make_result(2, unit=None),
        'none': lambda: make_result()[:0]}[case]()
    tree = parsed(result_page(result, 10))
    assert len(tree.findall('.//tr')) == 1 + len(result)


def test_names_are_escaped():
    result = make_result(2)
    result.table.meta['note'] = '<b>&'
    named = replace(result, bands=('a<b', 'c'), table=result.table)
    for name in result.table.colnames:
        if name.endswith('_VIS'):
            named.table.rename_column(name, name[:-3] + 'a<b')
        elif name.endswith('_Y'):
            named.table.rename_column(name, name[:-1] + 'c')
    parsed(result_page(named, 2))


def test_sources_without_position_have_a_row(result):
    table = result.table.copy()
    for name in ('x_centroid', 'y_centroid', 'axis_ratio'):
        table[name][1] = np.nan
    page = result_page(replace(result, table=table), 10)
    assert page.count('<ellipse') == len(result) - 1


def test_file_appears_whole_or_not_at_all(tmp_path, result):
    path = tmp_path / 'page.html'
    result.to_html(path, max_sources=1)
    assert path.read_text(encoding='utf-8') == result_page(result, 1)
    with pytest.raises(OutputExistsError, match=r'page\.html'):
        result.to_html(path)
    result.to_html(path, overwrite=True)
    assert [item.name for item in tmp_path.iterdir()] == ['page.html']
