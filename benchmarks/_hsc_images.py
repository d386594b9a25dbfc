# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Real blends of HSC in the COSMOS field, as ``real_blends.py`` needs them."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from vaephot import PeakFinder, VAEDeblender
from vaephot.deblend.inputs.noise import estimate_noise
from vaephot.evaluate.profile_fit import fit_blend
from vaephot.evaluate.profiles import ProfileRenderer

__all__ = ['PIXEL_SCALE', 'ZEROPOINT', 'HSCBlend', 'parents_of',
           'profile_model', 'read_blends']

PIXEL_SCALE = 0.168
ZEROPOINT = 27.0
# bits of the masks of HSC whose pixels have no value: BAD, SAT, NO_DATA
UNUSABLE = (1 << 0) | (1 << 1) | (1 << 8)
# with and without a variance
WITH_VARIANCE, WITHOUT_VARIANCE = 'hsc_cosmos_35', 'hsc_cosmos'
# steps of the profile fit: enough to converge
MAX_STEPS = 60


@dataclass(frozen=True, kw_only=True)
class HSCBlend:
    """One image in five bands, its noise, PSFs and catalogue."""

    name: str
    data: np.ndarray
    error: np.ndarray
    mask: np.ndarray
    psf: np.ndarray
    bands: tuple
    positions: np.ndarray

    @cached_property
    def inputs(self):
        """Arguments of a deblender besides the data."""
        return {'error': self.error, 'mask': self.mask,
                'psf': list(self.psf), 'bands': list(self.bands),
                'zeropoint': ZEROPOINT}

    def deblend(self, segm=None, *, blind, min_probability=0.5):
        """Result with the positions of the catalogue or without."""
        told = {} if blind else {'positions': self.positions}
        finder = PeakFinder(min_probability=min_probability)
        return VAEDeblender(finder=finder)(self.data, segm, **self.inputs,
                                           **told)

    def chi2(self, model, inside):
        """Mean squared residual in units of the noise, per band."""
        pull2 = np.square((self.data - model) / self.error)
        good = inside & ~self.mask
        return np.array([values[use].mean()
                         for values, use in zip(pull2, good, strict=True)])


def _load(folder, name):
    with np.load(Path(folder) / f'{name}.npz') as stored:
        return {key: stored[key] for key in stored.files}


def _make(name, stored, variance):
    data = stored['images'].astype(float)
    bad = (stored['mask'] & UNUSABLE) > 0 if 'mask' in stored else (
        np.zeros(data.shape, bool))
    catalog = stored['catalog']
    return HSCBlend(name=name, data=data, error=np.sqrt(variance), mask=bad,
                    psf=stored['psfs'],
                    bands=tuple(str(band) for band in stored['filters']),
                    positions=np.array([catalog['x'], catalog['y']],
                                       float).T)


def _photon_noise(data, variance):
    """Sky variance and gain: variance against flux is a straight line."""
    lines = [np.polyfit(image.ravel(), values.ravel(), 1)
             for image, values in zip(data, variance, strict=True)]
    return np.array([(line[1], 1 / line[0]) for line in lines]).T


def read_blends(folder):
    """
    Read both blends.

    The one without a variance gets the noise that its sky has, and the
    photon noise of its sources. The gain for that is the one of the other,
    times the ratio of the variances of their skies: the same sky under the
    same zeropoint has a variance that goes with one over the gain.

    Parameters
    ----------
    folder : path-like
        Folder of the images.

    Returns
    -------
    list of HSCBlend
        The one with a variance first.
    """
    first, second = (_load(folder, name)
                     for name in (WITH_VARIANCE, WITHOUT_VARIANCE))
    sky, gain = _photon_noise(first['images'].astype(float),
                              first['variance'].astype(float))
    images = second['images'].astype(float)
    own_sky = np.square([estimate_noise(image) for image in images])
    gain = gain * sky / own_sky
    variance = (own_sky[:, None, None]
                + np.maximum(images, 0) / gain[:, None, None])
    return [_make(WITH_VARIANCE, first, first['variance'].astype(float)),
            _make(WITHOUT_VARIANCE, second, variance)]


def parents_of(result):
    """Pixels of all segments, (ny, nx)."""
    return result.segmentation_image.data > 0


def profile_model(blend, positions, point):
    """
    Fit one profile per position.

    Parameters
    ----------
    blend : HSCBlend
        Image.
    positions : `~numpy.ndarray`, (n, 2)
        Positions.
    point : array_like of bool, (n,)
        What is fitted as a point.

    Returns
    -------
    dict
        See `~vaephot.evaluate.profile_fit.fit_blend`.
    """
    renderer = ProfileRenderer(blend.psf, 1, blend.data.shape[1:])
    return fit_blend(renderer, blend.data, blend.mask, blend.error,
                     np.full(len(blend.bands), np.inf), positions,
                     np.asarray(point, bool),
                     pixel_scale=PIXEL_SCALE, max_steps=MAX_STEPS)
