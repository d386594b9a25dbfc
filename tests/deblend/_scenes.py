# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Analytic scenes for tests of the whole deblender, and laws of results."""

import numpy as np
from scipy.ndimage import label as label_regions

SHAPE = (51, 70)
PSF_SIGMA = 1.2
FWHM = 2.3548200450309493 * PSF_SIGMA
# x, y, sigma without the PSF, flux
GALAXIES = ((20.3, 25.1, 1.5, 1000.0), (26.2, 27.4, 1.2, 600.0),
            (50.0, 30.0, 2.0, 800.0))
# labels of the parents of the first two and of the third
BLEND, SINGLE = 3, 7


def draw(galaxies, shape=SHAPE, psf_sigma=PSF_SIGMA):
    """Round Gaussians under a Gaussian PSF."""
    y, x = np.mgrid[:shape[0], :shape[1]]
    out = np.zeros(shape)
    for x0, y0, sigma, flux in galaxies:
        s2 = sigma ** 2 + psf_sigma ** 2
        out += flux / (2 * np.pi * s2) * np.exp(
            -((x - x0) ** 2 + (y - y0) ** 2) / (2 * s2))
    return out


def noisy(galaxies, shape=SHAPE, *, seed=1, psf_sigma=PSF_SIGMA):
    """Draw Gaussians with a noise of 1."""
    rng = np.random.default_rng(seed)
    return draw(galaxies, shape, psf_sigma) + rng.standard_normal(shape)


def parents(shape=SHAPE):
    """Segments of the blend and of the single galaxy."""
    segm = np.zeros(shape, np.int32)
    segm[18:35, 13:34] = BLEND
    segm[22:39, 42:59] = SINGLE
    return segm


def psf_image(size=25, *, x=0.0, y=0.0, oversampling=1, sigma=PSF_SIGMA):
    """Image of a Gaussian PSF, not normalised."""
    grid = (np.arange(size) - (size - 1) / 2) / oversampling
    row = np.exp(-0.5 * ((grid - x) / sigma) ** 2)
    column = np.exp(-0.5 * ((grid - y) / sigma) ** 2)
    return 7.0 * column[:, None] * row


def plain(value):
    """Array without a unit."""
    return np.asarray(getattr(value, 'value', value))


def stacked(value):
    """Array without a unit, with a band axis."""
    value = plain(value)
    return value[None] if value.ndim == 2 else value


def check_laws(result, segm, *, data=None):
    """Check everything that must hold for every result."""
    data = stacked(result.data if data is None else data)
    bad = (np.zeros(data.shape, bool) if result.mask is None
           else stacked(result.mask))
    labels = list(result.table['label'])
    assert len(set(labels)) == len(labels) == len(result)
    check_segmentation(result, segm)
    total = np.zeros(data.shape)
    models = np.zeros(data.shape)
    for source in result:
        model, image = stacked(source.model), stacked(source.image)
        box = (slice(None), *source.slices)
        assert np.isfinite(model).all()
        assert np.isfinite(image).all()
        assert model.shape == image.shape == data[box].shape
        inside = segm[source.slices] == source.parent_label
        # in another parent's pixels a source has nothing
        free = inside | (segm[source.slices] == 0)
        hold = bad[box] & free
        np.testing.assert_array_equal(image[hold], model[hold])
        total[box] += np.where(inside & (source.parent_label > 0), image, 0)
        models[box] += model
    largest = max(abs(np.where(bad, 0, data)).max(initial=0), 1e-300)
    own = np.isin(segm, [s.parent_label for s in result]) & (segm > 0)
    away = np.where(bad | ~own, 0, total - np.where(bad, 0, data))
    assert abs(away).max() <= 1e-6 * largest
    np.testing.assert_allclose(stacked(result.model_image), models,
                               atol=1e-5 * largest)


def check_segmentation(result, segm):
    """No pixel is lost or gained; children lie inside their parents."""
    children = result.segmentation_image
    np.testing.assert_array_equal(children.data > 0, segm > 0)
    parent_of = dict(zip(result.table['label'].tolist(),
                         result.table['parent_label'].tolist(), strict=True))
    areas = dict(zip(result.table['label'].tolist(),
                     result.table['area'].tolist(), strict=True))
    for label in children.labels.tolist():
        assert set(segm[children.data == label].tolist()) == {
            parent_of[label]}
        assert areas[label] == (children.data == label).sum()
    for parent, made in children.parent_to_deblended_labels.items():
        assert {parent_of[label] for label in np.atleast_1d(made).tolist()
                } == {parent}


def flux_of(result, band=None):
    """Fluxes of all sources, in the order of the table."""
    name = 'flux' if band is None else f'flux_{band}'
    return plain(result.table[name])


def summary(result):
    """Columns of numbers that say whether two results are the same."""
    names = [n for n in result.table.colnames if n != 'sky_centroid']
    return {n: plain(result.table[n]).astype(float) for n in names}


def assert_same(one, other, rtol=1e-5):
    """Check that two results agree."""
    a, b = summary(one), summary(other)
    assert list(a) == list(b)
    for name in a:
        np.testing.assert_allclose(a[name], b[name], rtol=rtol, atol=rtol,
                                   err_msg=name)
    np.testing.assert_array_equal(one.segmentation_image.data,
                                  other.segmentation_image.data)


def assert_alike(one, other):
    """Check that two tables agree far within the noise, as fits end."""
    for name, error in (('flux', 'flux_err'), ('x_centroid', 'x_err'),
                        ('y_centroid', 'y_err')):
        off = np.abs(one[name] - other[name]) / one[error]
        assert off.max() < 0.05, name
    for name in ('flux_err', 'reduced_chi2'):
        np.testing.assert_allclose(one[name], other[name], rtol=0.02,
                                   err_msg=name)
    for name in ('area', 'flags', 'n_blended'):
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def label(detected):
    """Number connected regions."""
    return label_regions(detected, np.ones((3, 3)))[0]


def by_position(result, xy):
    """Rows of the sources nearest to some positions."""
    x, y = result.table['x_centroid'], result.table['y_centroid']
    return [int(np.argmin(np.hypot(x - px, y - py))) for px, py in xy]
