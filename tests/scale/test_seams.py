# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
from astropy.io import fits
from scipy import ndimage

from vaephot.scale import survey_plan
from vaephot.scale.seams import (
    Parents,
    join_parents,
    label_section,
    read_labels,
)
from vaephot.scale.sections import Window
from vaephot.scale.survey_plan import make_plan


def snakes(shape=(90, 110), seed=2):
    """Labels of worms that wind across all seams, some of one pixel."""
    rng = np.random.default_rng(seed)
    lit = ndimage.gaussian_filter(rng.normal(size=shape), 2) > 0.06
    return ndimage.label(lit, np.ones((3, 3)))[0]


@pytest.fixture
def joined(tmp_path, monkeypatch):
    """Return a function that labels an image in sections."""
    def join(labels, side, *, given=False):
        monkeypatch.setattr(survey_plan, 'SECTION', side)
        path, folder = tmp_path / 'image.fits', tmp_path / f'run{side}'
        fits.writeto(path, (labels > 0).astype('f4'), overwrite=True)
        segm = tmp_path / 'segm.fits'
        fits.writeto(segm, labels.astype('i4'), overwrite=True)
        plan = make_plan(path, folder, segmentation=segm if given else None,
                         settings={'n_pixels': 3})
        (folder / 'work' / 'labels').mkdir(parents=True)
        if not given:
            monkeypatch.setattr(
                'vaephot.scale.seams._found_labels',
                lambda plan, window: ndimage.label(
                    labels[window.slices] > 0, np.ones((3, 3)))[0])
        numbers = range(len(plan.sections))
        for number in numbers:
            label_section(plan, number)
        return plan, join_parents(plan, set(numbers))
    return join


@pytest.mark.parametrize('side', [17, 40, 200])
def test_parents_do_not_depend_on_the_sections(joined, side):
    want = snakes()
    areas = np.bincount(want.ravel())
    want = np.where(areas[want] >= 3, want, 0)
    # scipy numbers by the first pixel, too
    values = np.unique(want[want > 0])
    plan, parents = joined(snakes(), side)
    found = read_labels(plan, parents, Window(y0=0, y1=90, x0=0, x1=110))
    assert parents.label.tolist() == list(range(1, len(values) + 1))
    assert (found == np.searchsorted(values, want, 'left')
            + (want > 0)).all()
    part = Window(y0=11, y1=70, x0=5, x1=99)
    assert (read_labels(plan, parents, part) == found[part.slices]).all()


def test_boxes_hold_their_parents(joined):
    plan, parents = joined(snakes(), 40)
    whole = read_labels(plan, parents, Window(y0=0, y1=90, x0=0, x1=110))
    for label, box in zip(parents.label, parents.box.tolist(), strict=True):
        (y, x), = ndimage.find_objects((whole == label).astype(int))
        assert box == [y.start, y.stop, x.start, x.stop]


def test_given_labels_stay(joined):
    labels = 7 * snakes()
    plan, parents = joined(labels, 40, given=True)
    assert parents.label.tolist() == np.unique(labels)[1:].tolist()
    found = read_labels(plan, parents, Window(y0=0, y1=90, x0=0, x1=110))
    assert (found == labels).all()


def test_sections_that_are_missing_have_no_parents(joined):
    plan, parents = joined(snakes(), 40)
    some = join_parents(plan, {0, 1})
    assert 0 < len(some.label) < len(parents.label)
    assert (read_labels(plan, some, plan.sections.core(7)) == 0).all()
    assert len(join_parents(plan, set()).label) == 0


def test_parents_are_kept_in_a_file(joined, tmp_path):
    _, parents = joined(snakes(), 40)
    parents.save(tmp_path / 'parents.npz')
    again = Parents.load(tmp_path / 'parents.npz')
    for name, values in vars(parents).items():
        assert (getattr(again, name) == values).all()
    x, y = again.middle([1, 10**6])
    assert x[0] == (parents.box[0, 2] + parents.box[0, 3] - 1) / 2
    assert np.isnan(y[1])
