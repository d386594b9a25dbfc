# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
from astropy.io import fits

from vaephot.scale import survey_plan
from vaephot.scale.first_pass import join_sky, measure_section
from vaephot.scale.sections import Window
from vaephot.scale.survey_plan import make_plan


def sky_of(tmp_path, monkeypatch, image, side, **arguments):
    monkeypatch.setattr(survey_plan, 'SECTION', side)
    path = tmp_path / 'image.fits'
    fits.writeto(path, image.astype('f4'), overwrite=True)
    plan = make_plan(path, tmp_path / 'run', psf=3.0, **arguments)
    return join_sky(plan, [measure_section(plan, k)
                           for k in range(len(plan.sections))])


def test_the_noise_follows_the_image(tmp_path, monkeypatch):
    rng = np.random.default_rng(1)
    image = rng.normal(size=(256, 512))
    image[:, 256:] *= 3
    sky = sky_of(tmp_path, monkeypatch, image, 128)
    assert sky.error_estimated
    left, right = (sky.error_map(Window(y0=0, y1=256, x0=x, x1=x + 10))
                   for x in (60, 440))
    assert left.mean() == pytest.approx(1, rel=0.05)
    assert right.mean() == pytest.approx(3, rel=0.05)


def test_the_error_has_no_seams(tmp_path, monkeypatch):
    rng = np.random.default_rng(1)
    image = rng.normal(size=(128, 512)) * np.linspace(1, 2, 512)
    sky = sky_of(tmp_path, monkeypatch, image, 64)
    line = sky.error_map(Window(y0=60, y1=61, x0=0, x1=512))[0, 0]
    assert np.abs(np.diff(line)).max() < 0.02
    parts = [sky.error_map(Window(y0=60, y1=61, x0=x, x1=x + 128))[0, 0]
             for x in range(0, 512, 128)]
    assert (np.concatenate(parts) == line).all()


def test_correlated_noise_is_noticed_and_the_same_everywhere(
        tmp_path, monkeypatch):
    rng = np.random.default_rng(2)
    white = rng.normal(size=(512, 512))
    image = sum(np.roll(white, (i, j), (0, 1)) for i in range(3)
                for j in range(3)) / 3
    sky = sky_of(tmp_path, monkeypatch, image, 256, error=1.0)
    assert sky.factor == pytest.approx(3, rel=0.1)
    assert not sky.varies


def test_sections_without_data_take_the_noise_of_the_others(
        tmp_path, monkeypatch):
    image = np.random.default_rng(3).normal(size=(256, 256))
    image[:128, :128] = np.nan
    sky = sky_of(tmp_path, monkeypatch, image, 128)
    assert sky.errors[0] == pytest.approx(1, rel=0.05)


def test_nothing_is_known_without_data(tmp_path, monkeypatch):
    sky = sky_of(tmp_path, monkeypatch, np.full((64, 64), np.nan), 64)
    assert sky.factor.tolist() == [1]
    assert not sky.varies
