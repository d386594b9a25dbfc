# Licensed under a 3-clause BSD style license - see LICENSE.rst
r"""
Galaxies of one analytic profile, drawn through any PSF with derivatives.

The profile is that of Spergel [1]_, whose Fourier transform is

.. math:: \hat T(k) = (1 + k^2 r_0^2)^{-(1 + \nu)}

so that the PSF is one product and all derivatives are analytic. An
undersampled PSF reaches beyond the frequencies of the pixels; the product
is computed as far as the PSF reaches and folded back, which is exact.

Parameters of a source are, in this order, x and y in pixels, the logarithm
of the half-light radius in pixels, the conformal shear (eta1, eta2; its
modulus is minus the logarithm of the axis ratio) and nu.

References
----------
.. [1] Spergel 2010, ApJS 191, 58.
"""

from functools import lru_cache

import numpy as np
from scipy.fft import fft2, ifft, irfft, next_fast_len
from scipy.optimize import brentq
from scipy.special import gamma, kv

__all__ = ['N_PARAMETERS', 'NU_LIMITS', 'ProfileRenderer',
           'half_light_scale']

N_PARAMETERS = 6
# nu of -0.85 is steeper than a de Vaucouleurs law, of 4 nearly a Gaussian
NU_LIMITS = (-0.85, 4.0)
# frequencies where a PSF has less than this of its flux are left out
POWER_TOLERANCE = 2e-3
# step of the numerical derivatives of smooth functions of one number
STEP = 1e-4


@lru_cache(maxsize=1)
def _scales():
    """Table of nu and of the half-light radius in units of r0."""
    def light(radius, nu):
        # enclosed light (Spergel 2010, equation 8)
        bessel = (radius / 2) ** (nu + 1) * kv(nu + 1, radius)
        return 1 - 2 * (nu + 1) * bessel / gamma(nu + 2)

    nu = np.linspace(*NU_LIMITS, 80)
    return nu, np.array([brentq(lambda r, v=v: light(r, v) - 0.5, 1e-9, 20)
                         for v in nu])


def half_light_scale(nu):
    """
    Half-light radius of a Spergel profile in units of its scale radius.

    Parameters
    ----------
    nu : array_like
        Index, inside ``NU_LIMITS``.

    Returns
    -------
    `~numpy.ndarray`
        Interpolated in a table to about 1e-3.

    Examples
    --------
    >>> from vaephot.evaluate.profiles import half_light_scale
    >>> round(float(half_light_scale(0.5)), 2)  # close to an exponential
    1.68
    """
    return np.interp(nu, *_scales())


def _metric(eta1, eta2):
    """Matrix (xx, xy, yy) of the sheared wave number squared."""
    eta = np.hypot(eta1, eta2)
    ratio = np.sinh(eta) / eta if eta > 1e-9 else 1.0
    return np.array([np.cosh(eta) + ratio * eta1, ratio * eta2,
                     np.cosh(eta) - ratio * eta1])


class ProfileRenderer:
    """
    Draw unit-flux sources on images of one size through fixed PSFs.

    Parameters
    ----------
    psf : `~numpy.ndarray`, (n_bands, P, P)
        Effective PSFs, centred on the middle sample.
    oversampling : int
        Samples of the PSFs per pixel.
    shape : tuple of int
        (ny, nx) of the images.
    """

    def __init__(self, psf, oversampling, shape):
        self.shape = tuple(shape)
        box = psf.shape[-1] // oversampling
        # the PSF of a source at one edge must not wrap around to the other
        self.n = next_fast_len(max(shape) + box // 2 + 1, real=True)
        self.bands = [self._transfer(image, oversampling) for image in psf]
        self.fold = max(fold for fold, _ in self.bands)
        self.ky, self.kx = self._wave_numbers(self.fold)

    def _wave_numbers(self, fold):
        """Wave numbers of the half plane, radians per pixel."""
        n = fold * self.n
        ky = 2 * np.pi * np.fft.fftfreq(n, 1 / fold)
        return ky[:, None], ky[None, :n // 2 + 1] * np.r_[
            np.ones(n // 2), -1 if n % 2 == 0 else 1]

    def _transfer(self, psf, oversampling):
        """How often frequencies are folded, and the transfer function."""
        size, middle = oversampling * self.n, psf.shape[-1] // 2
        canvas = np.zeros((size, size))
        rows = (np.arange(psf.shape[-1]) - middle) % size
        np.add.at(canvas, np.ix_(rows, rows), psf / psf.sum())
        full = fft2(canvas)
        frequency = np.abs(np.fft.fftfreq(size, 1 / oversampling))
        for fold in range(1, oversampling + 1):
            outside = frequency > fold / 2
            if (fold == oversampling
                    or np.abs(full[outside]).max() < POWER_TOLERANCE):
                break
        n = fold * self.n
        keep = np.r_[0:(n + 1) // 2, size - n // 2:size]
        return fold, full[np.ix_(keep, keep[:n // 2 + 1])]

    def _select(self, fold):
        """Rows and columns of the largest half plane that a band needs."""
        n, largest = fold * self.n, self.fold * self.n
        return np.ix_(np.r_[0:(n + 1) // 2, largest - n // 2:largest],
                      np.arange(n // 2 + 1))

    def _sample(self, transform, fold):
        """Pixel values of transforms (..., fold n, fold n // 2 + 1)."""
        lead, n = transform.shape[:-2], fold * self.n
        folded = transform.reshape(*lead, fold, self.n, -1).sum(-3)
        columns = ifft(folded, axis=-2)[..., :self.shape[0], :]
        rows = irfft(columns, n=n, axis=-1)[..., ::fold]
        return fold * rows[..., :self.shape[1]]

    def render(self, parameters, *, point=False, derivatives=False):
        """
        Draw one source.

        Parameters
        ----------
        parameters : array_like, (6,)
            As at the top of this module; a point uses x and y only.
        point : bool, optional
            Whether the source is a point.
        derivatives : bool, optional
            Whether to return the derivatives too.

        Returns
        -------
        `~numpy.ndarray`
            ``(n_bands, ny, nx)``; with derivatives ``(1 + p, n_bands, ny,
            nx)``, the image first, p being 2 for a point and else 6.
        """
        stack = self._transform(np.asarray(parameters, float), point,
                                derivatives)
        out = np.empty((len(stack), len(self.bands), *self.shape))
        for k, (fold, transfer) in enumerate(self.bands):
            part = stack if fold == self.fold else stack[
                (slice(None), *self._select(fold))]
            out[:, k] = self._sample(part * transfer, fold)
        return out if derivatives else out[0]

    def _transform(self, p, point, derivatives):
        """Fourier transforms of the source and of its derivatives."""
        kx, ky = self.kx, self.ky
        shift = np.exp(-1j * ky * p[1]) * np.exp(-1j * kx * p[0])
        if point:
            stack = [shift]
            if derivatives:
                stack += [-1j * kx * shift, -1j * ky * shift]
            return np.array(stack)
        nu = p[5]
        radius2 = (np.exp(p[2]) / half_light_scale(nu)) ** 2
        xx, xy, yy = radius2 * _metric(p[3], p[4])
        base = 1 + xx * kx * kx + 2 * xy * kx * ky + yy * ky * ky
        log_base = np.log(base)
        image = np.exp(-(1 + nu) * log_base) * shift
        if not derivatives:
            return image[None]
        slope = -(1 + nu) * image / base
        stack = [image, -1j * kx * image, -1j * ky * image,
                 2 * slope * (base - 1)]
        for step in ((STEP, 0), (0, STEP)):
            up, down = (_metric(p[3] + s * step[0], p[4] + s * step[1])
                        for s in (1, -1))
            dxx, dxy, dyy = radius2 * (up - down) / (2 * STEP)
            stack.append(slope * (dxx * kx * kx + 2 * dxy * kx * ky
                                  + dyy * ky * ky))
        narrower = np.log(half_light_scale(nu + STEP)
                          / half_light_scale(nu - STEP)) / (2 * STEP)
        stack.append(-log_base * image - narrower * stack[3])
        return np.array(stack)
