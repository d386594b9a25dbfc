# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Trouble: where the images differ from what methods are told of them."""

from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import map_coordinates

from vaephot.evaluate.observed import clean_image
from vaephot.exceptions import BandMismatchError, CatalogError

__all__ = ['Conditions', 'apply_conditions', 'stretch_psf']


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """
    What is wrong; the defaults are that nothing is.

    Parameters
    ----------
    psf_factor : float, optional
        Width of the told PSFs over that of the true ones.
    psf_shear : float, optional
        Reduced shear along x that the told PSFs have and the true ones
        have not.
    noise_factor : float, optional
        Told noise of the sky over the true one.
    background : float, optional
        Level left in all images, in units of the noise of the sky.
    position_offset : float, optional
        Every told position is off by this, in arcsec, in a random
        direction.
    hidden_share : float, optional
        Share of the sources, those that are scored excepted, whose
        positions are not told.
    correlation : int, optional
        Side in pixels of the squares that the noise of all bands but
        the first is averaged over, at the same depth: 3 is what
        resampling from 0.3 to 0.1 arcsec does. 1 is white noise.
    correlation_told : bool, optional
        Whether methods are told the correlation.
    bands : tuple of str, optional
        Bands that methods get, in this order; empty means all.
    """

    psf_factor: float = 1.0
    psf_shear: float = 0.0
    noise_factor: float = 1.0
    background: float = 0.0
    position_offset: float = 0.0
    hidden_share: float = 0.0
    correlation: int = 1
    correlation_told: bool = True
    bands: tuple = ()

    def __post_init__(self):
        object.__setattr__(self, 'bands', tuple(self.bands))
        for name in ('psf_factor', 'noise_factor', 'correlation'):
            if not getattr(self, name) > 0:
                msg = f'{name} is {getattr(self, name)}; it must be > 0.'
                raise ValueError(msg)
        if not 0 <= self.hidden_share <= 1:
            msg = (f'hidden_share is {self.hidden_share}; it must be in '
                   '0...1.')
            raise ValueError(msg)
        if not abs(self.psf_shear) < 1:
            msg = (f'psf_shear is {self.psf_shear}; it must be between -1 '
                   'and 1.')
            raise ValueError(msg)


def stretch_psf(psf, factor, shear=0.0):
    """
    Make PSFs wider and shear them, around their middle.

    Parameters
    ----------
    psf : `~numpy.ndarray`, (n_bands, P, P)
        Sampled PSFs.
    factor : float
        New width over the old one.
    shear : float, optional
        Reduced shear along x.

    Returns
    -------
    `~numpy.ndarray`, (n_bands, P, P)
        Each of the same sum as before.
    """
    middle = psf.shape[-1] // 2
    y, x = np.indices(psf.shape[1:]) - middle
    norm = factor * np.sqrt(1 - shear ** 2)
    at = (y * (1 + shear) / norm + middle, x * (1 - shear) / norm + middle)
    out = np.array([map_coordinates(image, at, order=3, mode='nearest')
                    for image in np.asarray(psf, float)])
    return out * (psf.sum((1, 2)) / out.sum((1, 2)))[:, None, None]


def apply_conditions(observed, conditions, *, seed):
    """
    Change images and what is told of them.

    Parameters
    ----------
    observed : ObservedBlends
        Blends without trouble.
    conditions : Conditions
        The trouble.
    seed : int
        Seed of new noise, directions and hidden sources.

    Returns
    -------
    ObservedBlends

    Raises
    ------
    CatalogError
        If correlated noise is wanted and there are no noiseless sources.
    BandMismatchError
        If there is no such band.
    """
    rng = np.random.default_rng([seed, 2])
    if conditions.correlation > 1:
        observed = _correlate(observed, conditions, rng)
    if conditions.background:
        level = conditions.background * observed.sky_rms[:, None, None]
        observed = replace(observed, image=observed.image + level)
    if conditions.psf_factor != 1 or conditions.psf_shear:
        observed = replace(observed, psf=stretch_psf(
            observed.psf, conditions.psf_factor, conditions.psf_shear))
    if conditions.noise_factor != 1:
        observed = replace(
            observed, sky_rms=observed.sky_rms * conditions.noise_factor)
    if conditions.position_offset or conditions.hidden_share:
        observed = _mislead(observed, conditions, rng)
    if conditions.bands:
        observed = _select_bands(observed, conditions.bands)
    return observed


def _correlate(observed, conditions, rng):
    """Draw the noise anew, correlated in all bands but the first."""
    from vaephot.simulate.image_noise import correlated_noise

    truth, width = observed.truth, conditions.correlation
    if truth.models is None or truth.error is None:
        msg = ('correlated noise needs the noiseless sources; draw the '
               'blends from a configuration instead of reading a field.')
        raise CatalogError(msg)
    factors = np.array([1.0] + [float(width)] * (len(observed.bands) - 1))
    error = truth.error / factors[:, None, None]
    image = np.array(observed.image, float)
    rows = range(image.shape[1])
    for k in range(len(image)):
        clean = clean_image(observed, k)
        noise = np.array([correlated_noise(rng, observed.shape,
                                           int(factors[b])) for b in rows])
        # saturated pixels keep their value
        image[k] = np.where(observed.mask[k], image[k],
                            clean + noise * error[k])
    told = factors if conditions.correlation_told else np.ones_like(factors)
    return replace(observed, image=image, noise_correlation=told,
                   sky_rms=observed.sky_rms / factors,
                   truth=replace(truth, error=error))


def _mislead(observed, conditions, rng):
    """Move positions, and leave some out."""
    positions, given, point = [], [], []
    for k, xy in enumerate(observed.positions):
        scored = observed.truth.is_scored[observed.truth.rows(k)]
        told = scored[observed.given[k]] | (
            rng.random(len(xy)) >= conditions.hidden_share)
        angle = rng.uniform(0, 2 * np.pi, len(xy))
        step = conditions.position_offset / observed.pixel_scale
        moved = xy + step * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        positions.append(moved[told])
        given.append(observed.given[k][told])
        point.append(observed.point_source[k][told])
    return replace(observed, positions=tuple(positions), given=tuple(given),
                   point_source=tuple(point))


def _select_bands(observed, bands):
    """Keep some bands."""
    missing = [band for band in bands if band not in observed.bands]
    if missing:
        msg = (f'there is no band {", ".join(missing)}; choose of '
               f'{", ".join(observed.bands)}.')
        raise BandMismatchError(msg, bands=observed.bands, given=bands)
    rows = [observed.bands.index(band) for band in bands]
    truth = observed.truth
    models = truth.models and tuple((box, model[rows])
                                    for box, model in truth.models)
    error = None if truth.error is None else truth.error[:, rows]
    return replace(
        observed, image=observed.image[:, rows], mask=observed.mask[:, rows],
        psf=observed.psf[rows], bands=tuple(bands),
        truth=replace(truth, flux=truth.flux[:, rows], models=models,
                      error=error),
        **{name: getattr(observed, name)[rows]
           for name in ('sky_rms', 'gain', 'noise_correlation')})
