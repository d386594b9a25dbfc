# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The PSF of one band in the form that the fit uses."""

from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock

import numpy as np

from vaephot.deblend.inputs.psf.extent import measure_fwhm

__all__ = ['BandPSF', 'GivenStamp', 'StarOrigin']

# positions of a varying PSF are rounded to this many pixels
POSITION_STEP = 1.0
MAX_CACHE_BYTES = 64 * 2**20


@dataclass(frozen=True, kw_only=True)
class GivenStamp:
    """
    What an array was before it was normalised and centred.

    Parameters
    ----------
    total : float
        Its sum.
    offset : tuple of float
        (x, y) of its centroid from the middle of the array, in pixels.
    wings : float, optional
        Share of the light in wings that were joined to it.
    slope : float or None, optional
        Slope of these wings.
    """

    total: float
    offset: tuple[float, float]
    wings: float = 0.0
    slope: float | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class StarOrigin:
    """
    What a PSF of an image was built from.

    Parameters
    ----------
    x, y : `~numpy.ndarray`
        Positions of the stars in pixels; empty if there were too few and
        the PSF is a Gaussian.
    n_candidates : int
        Number of sources among which they were chosen.
    """

    x: np.ndarray
    y: np.ndarray
    n_candidates: int


class BandPSF:
    """
    Effective PSF of one band.

    Made by `make_band_psfs`. An instance is never changed and may be used
    from several threads.

    Parameters
    ----------
    sampler : callable
        ``sampler(x, y)`` returns an image as `sample` does.
    band : str
        Name of the band.
    varies : bool
        Whether the PSF depends on the position.
    centre : tuple of float
        (x, y) of the middle of the image, where ``fwhm`` is measured.
    stamp : GivenStamp or None, optional
        What was normalised and centred, for an array.
    stars : StarOrigin or None, optional
        What it was built from, if it is of the image itself.
    """

    def __init__(self, sampler, *, band, varies, centre, stamp=None,
                 stars=None):
        self._sampler = sampler
        self._cache = OrderedDict()
        self._lock = Lock()
        self._band = band
        self._varies = bool(varies)
        self._stamp = stamp
        self._stars = stars
        self._centre = centre
        self._fwhm = measure_fwhm(*self.sample(*centre))

    @property
    def band(self):
        """Name of the band."""
        return self._band

    @property
    def varies(self):
        """Whether the PSF depends on the position."""
        return self._varies

    @property
    def fwhm(self):
        """FWHM in pixels, pixel included, at the middle of the image."""
        return self._fwhm

    @property
    def stamp(self):
        """What an array was before; `None` for other kinds of PSF."""
        return self._stamp

    @property
    def stars(self):
        """Stars it was built from; `None` for one that was given."""
        return self._stars

    def __repr__(self):
        return (f'<BandPSF {self.band!r}: FWHM {self.fwhm:.3g} pixels, '
                f'{"varies" if self.varies else "constant"}>')

    def describe(self):
        """
        Say in a line what was done to get it.

        Returns
        -------
        str
        """
        text = f'FWHM {self.fwhm:.3g} px'
        if self.stars is not None:
            n = len(self.stars.x)
            text += (f', built from {n} stars' if n else ', a Gaussian '
                     f'estimated from {self.stars.n_candidates} sources')
        if self.varies:
            text += ', varies'
        if self.stamp is not None:
            x, y = self.stamp.offset
            text += (f', stamp of sum {self.stamp.total:.4g} normalised, '
                     f'centroid ({x:+.2f}, {y:+.2f}) px from its middle')
            if self.stamp.wings:
                text += (f', wings of slope -{self.stamp.slope:.1f} with '
                         f'{100 * self.stamp.wings:.1f} % of the light joined')
        return text

    def replace(self, **changes):
        """
        Return another with some of the arguments changed.

        Parameters
        ----------
        **changes
            Arguments of the class.

        Returns
        -------
        BandPSF
        """
        return BandPSF(**{
            'sampler': self._sampler, 'band': self._band,
            'varies': self._varies, 'centre': self._centre,
            'stamp': self._stamp, 'stars': self._stars, **changes})

    def sample(self, x, y):
        """
        Return the image of the PSF at a position.

        Parameters
        ----------
        x, y : float
            Position in the image, pixels. A PSF that varies is taken at
            the position rounded to whole pixels.

        Returns
        -------
        image : 2D `~numpy.ndarray` of float64
            Read-only image of shape (P, P) and sum 1, with P odd and the
            centre of the PSF at pixel ``P // 2`` of both axes.
        oversampling : int
            Samples per pixel along each axis, the same everywhere.
        """
        key = (0.0, 0.0)
        if self.varies:
            key = tuple(float(np.round(v / POSITION_STEP) * POSITION_STEP)
                        for v in (x, y))
        with self._lock:
            if key in self._cache:
                self._cache.move_to_end(key)
                return self._cache[key]
        image, oversampling = self._sampler(*key)
        image.flags.writeable = False
        self._remember(key, (image, oversampling))
        return image, oversampling

    def _remember(self, key, value):
        """Keep a sample, and forget the oldest beyond the size limit."""
        with self._lock:
            self._cache[key] = value
            size = sum(image.nbytes for image, _ in self._cache.values())
            while size > MAX_CACHE_BYTES and len(self._cache) > 1:
                size -= self._cache.popitem(last=False)[1][0].nbytes
