# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Pupils of space telescopes, and the light that they diffract."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from vaephot.exceptions import PSFError

__all__ = ['ARCSEC', 'EUCLID', 'HUBBLE', 'SIGMA_TO_FWHM', 'TELESCOPES',
           'Spider', 'Telescope', 'diffraction_pattern', 'pupil_image']

# Arcsec in a radian, and the FWHM of a Gaussian over its sigma.
ARCSEC = 180 * 3600 / np.pi
SIGMA_TO_FWHM = 2 * np.sqrt(2 * np.log(2))

# Samples across the mirror, and finer ones that each is the mean of:
# 12 mm spiders of Euclid are five samples wide. The pattern repeats
# beyond 22 arcsec (at 550 nm and 1.2 m).
PUPIL_SAMPLES = 512
PUPIL_SUBSAMPLES = 3


@dataclass(frozen=True, kw_only=True)
class Spider:
    """
    A straight vane that holds the secondary mirror.

    Parameters
    ----------
    angle_deg : float
        Direction of the vane, from +x to +y.
    x_m, y_m : float
        A point on its middle line, from the centre of the mirror.
    width_m, length_m : float
        Its sides; it ends half its length from the point.
    """

    angle_deg: float
    x_m: float
    y_m: float
    width_m: float
    length_m: float


@dataclass(frozen=True, kw_only=True)
class Telescope:
    """
    What blocks the light before it reaches the focus.

    Parameters
    ----------
    diameter_m : float
        Diameter of the mirror.
    obscuration : float
        Diameter of the round central obscuration over that of the
        mirror.
    obscuration_y_m : float, optional
        Height of its centre above that of the mirror.
    spiders : tuple of `Spider`, optional
        The vanes.
    """

    diameter_m: float
    obscuration: float
    obscuration_y_m: float = 0.0
    spiders: tuple[Spider, ...] = ()

    def __post_init__(self):
        if not self.diameter_m > 0 or not 0 <= self.obscuration < 1:
            msg = (f'a telescope has diameter_m {self.diameter_m} and '
                   f'obscuration {self.obscuration}; the first must be '
                   f'positive, the second from 0 to below 1.')
            raise PSFError(msg, diameter_m=self.diameter_m,
                           obscuration=self.obscuration)


# Euclid: 1.2 m, a cap of 395 mm whose centre is 51 mm off, three
# off-centre spiders of 12 mm by 700 mm (GalSim-Euclid-Like, script
# make_euclidlike_pupil_plane, after wf-psf).
EUCLID = Telescope(
    diameter_m=1.2, obscuration=0.395 / 1.2, obscuration_y_m=0.051,
    spiders=tuple(Spider(angle_deg=angle, x_m=x, y_m=y, width_m=0.012,
                         length_m=0.7) for angle, x, y in (
        (16.78, 0.260, 0.240), (-39.89, -0.330, 0.130),
        (-100.76, 0.070, -0.330))))

# Hubble: 2.4 m, linear obscuration 0.33 (surveycodex, COSMOS), four
# spiders of 26 mm at right angles (approximate).
HUBBLE = Telescope(
    diameter_m=2.4, obscuration=0.33,
    spiders=tuple(Spider(angle_deg=angle, x_m=0.0, y_m=0.0, width_m=0.026,
                         length_m=2.4) for angle in (45.0, 135.0)))

TELESCOPES = {'euclid': EUCLID, 'hubble': HUBBLE}


def _blocked(spider, x, y):
    """Where a spider blocks the light."""
    angle = np.deg2rad(spider.angle_deg)
    c, s = np.cos(angle), np.sin(angle)
    dx, dy = x - spider.x_m, y - spider.y_m
    return ((abs(c * dy - s * dx) < spider.width_m / 2)
            & (abs(c * dx + s * dy) < spider.length_m / 2))


def _inverse_shear(g1, g2):
    """Matrix that takes points of a sheared pupil to the plain one."""
    matrix = np.array([[1 + g1, g2], [g2, 1 - g1]])
    return matrix / np.sqrt(1 - g1 ** 2 - g2 ** 2)


@lru_cache(maxsize=16)
def pupil_image(telescope, *, rotation_deg=0.0, shear=(0.0, 0.0),
                n_samples=PUPIL_SAMPLES):
    """
    Transmission of a pupil.

    Parameters
    ----------
    telescope : `Telescope`
        The telescope.
    rotation_deg : float, optional
        Angle that the pupil is turned by, from +x to +y.
    shear : tuple of float, optional
        Reduced shear (g1, g2) of the PSF; the pupil is sheared the
        other way.
    n_samples : int, optional
        Samples per side; the side is 1.1 mirror diameters.

    Returns
    -------
    transmission : ndarray (n_samples, n_samples)
        From 0 to 1.
    coordinate : ndarray (n_samples,)
        Position of the samples along either axis, in metres.
    """
    fine = n_samples * PUPIL_SUBSAMPLES
    side = 1.1 * telescope.diameter_m
    grid = ((np.arange(fine) + 0.5) / fine - 0.5) * side
    x, y = np.meshgrid(grid, grid)
    (a, b), (c, d) = _inverse_shear(*shear)
    x, y = a * x + b * y, c * x + d * y
    turn = np.deg2rad(rotation_deg)
    x, y = (np.cos(turn) * x + np.sin(turn) * y,
            np.cos(turn) * y - np.sin(turn) * x)
    open_ = np.hypot(x, y) < telescope.diameter_m / 2
    open_ &= (np.hypot(x, y - telescope.obscuration_y_m)
              > telescope.obscuration * telescope.diameter_m / 2)
    for spider in telescope.spiders:
        open_ &= ~_blocked(spider, x, y)
    blocks = open_.reshape(n_samples, PUPIL_SUBSAMPLES, n_samples,
                           PUPIL_SUBSAMPLES)
    coordinate = grid.reshape(n_samples, -1).mean(axis=1)
    return blocks.mean(axis=(1, 3)), coordinate


def _phase(telescope, coordinate, aberrations):
    """Phase of the wavefront in radians, from Zernike coefficients."""
    from vaephot.simulate._galsim import load_galsim

    zernike = load_galsim().zernike.Zernike(
        aberrations, R_outer=telescope.diameter_m / 2,
        R_inner=telescope.obscuration * telescope.diameter_m / 2)
    x, y = np.meshgrid(coordinate, coordinate)
    return 2 * np.pi * zernike.evalCartesian(x, y)


def diffraction_pattern(telescope, wavelength_nm, scale, size, *,
                        rotation_deg=0.0, aberrations=(), shear=(0.0, 0.0)):
    """
    Diffraction pattern of a point source, at any sampling.

    The field in the focal plane is the Fourier transform of the pupil;
    it is computed by two matrix products, so that no interpolation is
    needed (Soummer et al. 2007, Optics Express 15, 15935).

    Parameters
    ----------
    telescope : `Telescope`
        The pupil.
    wavelength_nm : float
        Wavelength in nanometres.
    scale : float
        Distance of the samples in arcsec.
    size : int
        Samples per side, odd.
    rotation_deg : float, optional
        Angle that the pupil is turned by.
    aberrations : sequence of float, optional
        Zernike coefficients in waves; empty for a perfect mirror.
    shear : tuple of float, optional
        Reduced shear (g1, g2) of the pattern.

    Returns
    -------
    ndarray (size, size)
        Flux per sample over the total flux; it sums to the share of the
        light inside.
    """
    pupil, coordinate = pupil_image(telescope, rotation_deg=rotation_deg,
                                    shear=tuple(shear))
    field = pupil.astype(complex)
    if np.any(aberrations):
        field *= np.exp(1j * _phase(telescope, coordinate, aberrations))
    wavelength = wavelength_nm * 1e-9
    angle = (np.arange(size) - size // 2) * scale / ARCSEC
    waves = np.exp(-2j * np.pi / wavelength
                   * angle[:, None] * coordinate[None, :])
    pattern = abs(waves @ field @ waves.T) ** 2
    # Parseval: the sum over all angles is the power that passes
    step = coordinate[1] - coordinate[0]
    total = (pupil ** 2).sum() * (wavelength / step) ** 2
    return pattern * (scale / ARCSEC) ** 2 / total
