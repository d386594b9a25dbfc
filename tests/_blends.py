# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""A result made of Gaussians, for the tests of results and figures."""

from dataclasses import replace

import astropy.units as u
import numpy as np
from astropy.wcs import WCS
from photutils.aperture import BoundingBox
from photutils.segmentation import SegmentationImage

from vaephot.deblend.outputs.assign import assign_pixels
from vaephot.deblend.outputs.children import build_segmentation
from vaephot.deblend.outputs.share import share_data
from vaephot.photometry import Measurements, make_table
from vaephot.results.covariance import FitGroup
from vaephot.results.result import DeblendResult
from vaephot.results.source import DeblendedSource
from vaephot.utils.grids import GridMap

SHAPE = (70, 90)
NOISE = 0.05
# x, y, sigma, axis ratio, position angle [deg], flux in three bands, parent
GALAXIES = (
    (30.2, 30.7, 3.0, 0.6, 30, (300, 420, 500), 4),
    (40.5, 35.1, 2.2, 0.9, 0, (120, 90, 70), 4),
    (27.4, 42.0, 2.5, 0.5, -40, (60, 130, 180), 4),
    (70.3, 20.6, 2.8, 0.8, 80, (150, 150, 150), 9),
    (12.0, 60.0, 2.0, 1.0, 0, (8, 8, 8), 0),
)


def gaussian(x, y, sigma, ratio, angle, bbox):
    iy, ix = np.mgrid[bbox.iymin:bbox.iymax, bbox.ixmin:bbox.ixmax]
    c, s = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    major = (c * (ix - x) + s * (iy - y)) / sigma
    minor = (c * (iy - y) - s * (ix - x)) / sigma / ratio
    return np.exp(-(major ** 2 + minor ** 2) / 2) / (
        2 * np.pi * sigma ** 2 * ratio)


def make_wcs(scale=0.1, centre=(45, 35), angle=0.0):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = 'RA---TAN', 'DEC--TAN'
    wcs.wcs.crval = 150.1, 2.2
    wcs.wcs.crpix = centre
    wcs.wcs.cdelt = -scale / 3600, scale / 3600
    c, s = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    wcs.wcs.pc = [[c, -s], [s, c]]
    return wcs


def window(box):
    return slice(box.iymin, box.iymax), slice(box.ixmin, box.ixmax)


def _models(n_bands):
    boxes, models = [], []
    for x, y, sigma, ratio, angle, flux, _ in GALAXIES:
        half = int(5 * sigma)
        cx, cy = round(x), round(y)
        boxes.append(BoundingBox(
            max(cx - half, 0), min(cx + half + 1, SHAPE[1]),
            max(cy - half, 0), min(cy + half + 1, SHAPE[0])))
        shape = gaussian(x, y, sigma, ratio, angle, boxes[-1])
        models.append((np.array(flux[:n_bands])[:, None, None]
                       * shape).astype(np.float32))
    return boxes, models


def _parents(total):
    """Two parents above three sigma, around the galaxies of each."""
    bright = total[0] > 3 * NOISE
    segm = np.zeros(SHAPE, np.int32)
    segm[:55, :55][bright[:55, :55]] = 4
    segm[:55, 55:][bright[:55, 55:]] = 9
    return segm


def _table(m, bands, unit, wcs, is_2d):
    return make_table(
        m, bands=bands, unit=unit, zeropoint=np.full(len(bands), 23.9),
        wcs=wcs, is_2d=is_2d,
        meta={'version': '0.1', 'settings': {'n_pixels': 5, 'finder': None},
              'bands': list(bands)})


def make_groups(sources, n_bands, rng):
    """Covariances: children of parent 4 together, the last source alone."""
    members = [[s for s in sources if s.parent_label == 4],
               [s for s in sources if s.parent_label == 9]]
    groups = []
    for own in members:
        size = n_bands + 6
        root = rng.normal(size=(len(own) * size, 3 * len(own) * size))
        cov = root @ root.T
        sigma = np.ones(len(cov)) * 0.1
        for i, source in enumerate(own):
            sigma[i * size:i * size + n_bands] = source.flux_err
        scale = sigma / np.sqrt(np.diag(cov))
        groups.append(FitGroup(labels=tuple(s.label for s in own),
                               covariance=cov * scale[:, None] * scale))
    return groups


def make_result(n_bands=3, *, unit=u.uJy, wcs=None, is_2d=False,
                mask_some=False, seed=5):
    """Result as a perfect deblender would give it."""
    rng = np.random.default_rng(seed)
    boxes, models = _models(n_bands)
    total = np.zeros((n_bands, *SHAPE))
    for box, model in zip(boxes, models, strict=True):
        total[:, *window(box)] += model
    data = total + rng.normal(0, NOISE, total.shape)
    mask = np.zeros(data.shape, bool)
    if mask_some:
        mask[:, 30, 25:33] = True
        data[mask] = 0
    parents = _parents(total)
    parent_of = np.array([row[-1] for row in GALAXIES])
    images = share_data(data, mask, list(zip(boxes, models, strict=True)),
                        parents, parent_of)
    segm = SegmentationImage(parents)
    own = segm.slices[segm.get_index(4)]
    frames = np.zeros((3, *SHAPE))
    for k in range(3):
        frames[k][window(boxes[k])] = models[k].sum(0)
    made = build_segmentation(segm, {4: (assign_pixels(
        frames[:, *own], parents[own] == 4, 5), 3)})
    labels = np.array([*made.child_labels[4], *made.child_labels[9],
                       made.next_label])
    order = np.argsort(labels)
    m = _measure(models, data, labels, parent_of,
                 made.segmentation_image, n_bands, rng)
    bands = ('VIS', 'Y', 'H')[:n_bands]

    def shaped(array):
        return array[0] if is_2d else array
    n = len(labels)
    sources = [DeblendedSource(
        label=int(labels[k]), parent_label=int(parent_of[k]), bbox=boxes[k],
        model=shaped(models[k]), image=shaped(images[k]),
        x_centroid=float(m.x[k]), y_centroid=float(m.y[k]),
        flux=shaped(m.flux[k]), flux_err=shaped(m.flux_err[k]),
        parameters={'x': float(m.x[k]), 'log_size': 0.1 + k,
                    'latent': rng.normal(size=4)},
        covariance=None if k == n - 1 else rng.normal(size=(6, 6)),
        oddities={'misfit': 1 / (3 + k), 'shear': 0.1} if k else {})
        for k in range(n)]
    return DeblendResult(
        table=_table(m, bands, unit, wcs, is_2d)[order],
        segmentation_image=made.segmentation_image,
        sources=[sources[i] for i in order], data=data, bands=bands,
        error=np.full(data.shape, NOISE), mask=mask, unit=unit, wcs=wcs,
        is_2d=is_2d, groups=make_groups(sources, n_bands, rng))


def make_psf_and_noise(n_bands):
    """PSF as pairs of an image and its oversampling, and measured noise."""
    axis = np.arange(15) - 7.0
    image = np.exp(-(axis ** 2 + axis[:, None] ** 2) / 8)
    image /= image.sum()
    return {'psf': [(image, 1 + i % 2) for i in range(n_bands)],
            'noise': {'ratio': np.linspace(0.3, 0.6, n_bands),
                      'large_ratio': np.linspace(0.9, 1.1, n_bands),
                      'correlation': np.linspace(1, 0, 7 * n_bands)
                      .reshape(n_bands, 7)}}


def make_native_result():
    """The same with H on pixels three times as large, turned by 20 deg."""
    wcs = {'VIS': make_wcs(), 'H': make_wcs(0.3, (16, 13), 20)}
    to_h = GridMap(wcs['VIS'], wcs['H'])
    first = make_result(2, wcs=wcs['VIS'], unit=None)
    shape, sources = (28, 34), []
    frame = np.zeros(shape)
    for source, flux in zip(first, first.table['flux_Y'], strict=True):
        x, y = to_h(source.x_centroid, source.y_centroid)
        box = BoundingBox(max(round(float(x)) - 8, 0),
                          min(round(float(x)) + 9, shape[1]),
                          max(round(float(y)) - 8, 0),
                          min(round(float(y)) + 9, shape[0]))
        model = float(flux) * gaussian(x, y, 1.2, 1, 0, box)
        model = model.astype(np.float32)
        frame[window(box)] += model
        sources.append(replace(
            source, bboxes={'VIS': source.bbox, 'H': box},
            model={'VIS': source.model[0], 'H': model},
            image={'VIS': source.image[0], 'H': model}))
    table = first.table.copy()
    for name in table.colnames:
        if name.endswith('_Y'):
            table.rename_column(name, f'{name[:-2]}_H')
    return DeblendResult(
        table=table, segmentation_image=first.segmentation_image,
        sources=sources, data={'VIS': first.data[0], 'H': frame + 0.01},
        error={'VIS': first.error[0], 'H': np.full(shape, 0.1)},
        mask={'VIS': first.mask[0], 'H': np.zeros(shape, bool)},
        bands=('VIS', 'H'), unit=u.uJy, wcs=wcs, groups=first.groups)


def _measure(models, data, labels, parent_of, segm, n_bands, rng):
    n = len(labels)
    areas = dict(zip(segm.labels.tolist(), segm.areas, strict=True))
    rows = np.array([row[:5] for row in GALAXIES], float)
    flux = np.array([row[5][:n_bands] for row in GALAXIES], float)
    blendedness = rng.random((n, n_bands))
    blendedness[2] = np.nan
    return Measurements(
        label=labels, parent_label=parent_of, x=rows[:, 0], y=rows[:, 1],
        x_err=rng.random(n), y_err=rng.random(n),
        n_blended=np.bincount(parent_of)[parent_of],
        area=np.array([areas.get(int(k), 0) for k in labels]),
        half_light_radius=1.1774 * rows[:, 2], axis_ratio=rows[:, 3],
        orientation=np.deg2rad(rows[:, 4]), flux=flux,
        flux_err=rng.random(flux.shape), blendedness=blendedness,
        reduced_chi2=rng.random(n), flags=np.arange(n))
