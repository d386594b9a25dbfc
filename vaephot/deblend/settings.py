# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The search for sources: its settings, and the search on its own."""

from dataclasses import dataclass, replace

import numpy as np
from astropy.table import QTable
from photutils.segmentation import detect_sources

__all__ = ['PeakFinder', 'SearchSettings', 'validate_settings']

MODES = ('exponential', 'linear', 'sinh')

# threshold of a search on its own, in units of the noise
THRESHOLD = 1.5


@dataclass(frozen=True, kw_only=True)
class PeakFinder:
    """
    How sources are searched for, from cautious to aggressive.

    The default of the ``finder`` argument of
    `~vaephot.deblend.deblender.VAEDeblender`. Candidates are the peaks of a
    multi-threshold search and what is left over after a fit. Each gets a
    probability to be a source of its own, the column ``p_source``, from a
    classifier that the weights bring along.

    Parameters
    ----------
    min_probability : float, optional
        Children below this probability are dropped; the brightest of a
        parent stays. The default, below one half, rather takes a false
        source than misses a true one. Towards 1 the search is cautious (few
        false sources), towards 0 aggressive (few missed ones); 0 drops nothing
        but what the contrast and the fit rule out. What is alone in its
        segment and below it is flagged ``no_source`` and keeps the
        position of its detection.
    n_rounds : int, optional
        How often the residual of the fit is searched for more sources; 0
        takes the peaks only.
    find_stars : bool, optional
        Whether bright point sources, saturated or not, are fitted before
        the search, so that their spikes are no sources.

    Raises
    ------
    TypeError, ValueError
        If a setting has the wrong type or is out of range.

    Examples
    --------
    >>> from vaephot import PeakFinder
    >>> PeakFinder(min_probability=0.9)
    PeakFinder(min_probability=0.9, n_rounds=2, find_stars=True)
    """

    min_probability: float = 0.3
    n_rounds: int = 2
    find_stars: bool = True

    def __post_init__(self):
        value = self.min_probability
        if (isinstance(value, bool)
                or not isinstance(value, (int, float, np.number))):
            msg = (f'min_probability is of type {type(value).__name__}; '
                   'give a number from 0 to 1.')
            raise TypeError(msg)
        if not 0 <= value <= 1:
            msg = f'min_probability is {value}; it must be from 0 to 1.'
            raise ValueError(msg)
        if (isinstance(self.n_rounds, bool)
                or not isinstance(self.n_rounds, (int, np.integer))):
            msg = (f'n_rounds is of type {type(self.n_rounds).__name__}; '
                   'give an integer.')
            raise TypeError(msg)
        if self.n_rounds < 0:
            msg = f'n_rounds is {self.n_rounds}; it must be at least 0.'
            raise ValueError(msg)

    def __call__(self, data, mask=None):
        """
        Find the peaks of an image, without fitting anything.

        Parameters
        ----------
        data : 2D `~numpy.ndarray`
            Background-subtracted image.
        mask : 2D `~numpy.ndarray` of bool, optional
            True for bad pixels.

        Returns
        -------
        `~astropy.table.QTable` or None
            Columns ``id``, ``x_centroid`` and ``y_centroid``, as the
            finders of photutils return them; `None` if nothing is found.
        """
        from vaephot.deblend.detect.peaks import find_candidates
        from vaephot.deblend.inputs.noise import estimate_noise

        data = np.array(data, float)
        bad = ~np.isfinite(data)
        if mask is not None:
            bad |= mask
        noise = estimate_noise(np.where(bad, 0, data), mask=bad)
        data[bad] = np.nan
        filled = np.where(bad, 0, data)
        if not (filled > THRESHOLD * noise).any():
            return None
        segm = detect_sources(filled, THRESHOLD * noise, 5, mask=bad)
        if segm is None:
            return None
        found = find_candidates(data, segm, n_pixels=5, n_levels=32,
                                mode='exponential', connectivity=8,
                                noise=noise)
        return QTable({'id': np.arange(1, len(found) + 1),
                       'x_centroid': found.x, 'y_centroid': found.y})


# detections of other finders below this signal-to-noise ratio are no sources
MIN_SNR = 4.0


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """
    Settings of the search, and how much evidence is asked for.

    ``finder``: a `PeakFinder`, another callable, or `None` for the default;
    the others as for `~vaephot.deblend.deblender.VAEDeblender`.
    """

    n_pixels: int
    contrast: float
    n_levels: int
    mode: str
    connectivity: int
    finder: object = None

    def __post_init__(self):
        validate_settings(self.n_pixels, self.contrast, self.n_levels,
                          self.mode, self.connectivity)
        if self.finder is not None and not callable(self.finder):
            msg = (f'finder is of type {type(self.finder).__name__}; give a '
                   f'callable as photutils finders are, or None.')
            raise TypeError(msg)

    @property
    def _own(self):
        """Our search, or None where the caller has one."""
        if self.finder is None:
            return PeakFinder()
        return self.finder if isinstance(self.finder, PeakFinder) else None

    @property
    def is_own(self):
        """Whether the search is ours, and not one of the caller's."""
        return self._own is not None

    @property
    def find_stars(self):
        """Whether bright stars are fitted before the search."""
        return self.is_own and self._own.find_stars

    @property
    def min_probability(self):
        """Least probability of a child; those of other finders all stay."""
        return self._own.min_probability if self._own else 0.0

    @property
    def n_rounds(self):
        """How often the residual is searched."""
        return self._own.n_rounds if self._own else 0

    def without_rounds(self):
        """The same without a search of the residual."""
        if not self._own:
            return self
        return replace(self, finder=replace(self._own, n_rounds=0))

    @property
    def min_snr(self):
        """Least signal-to-noise ratio."""
        return 0.0 if self._own else MIN_SNR


def validate_settings(n_pixels, contrast, n_levels, mode, connectivity):
    """Raise unless settings of the search are as photutils wants them."""
    for name, value, what in (
            ('n_pixels', n_pixels, 'must be a positive integer'),
            # photutils 3.0 and 3.1 say it differently
            ('n_levels', n_levels, 'must be >= 1; n_levels must be a positive '
             'integer')):
        if (not isinstance(value, (int, float, np.number))
                or not np.isfinite(value) or int(value) != value
                or value < 1):
            msg = f'{name} {what}, got {value!r}'
            raise ValueError(msg)
    if (not isinstance(contrast, (int, float, np.number))
            or not 0 <= contrast <= 1):
        msg = f'contrast must be >= 0 and <= 1, got {contrast!r}'
        raise ValueError(msg)
    if mode not in MODES:
        msg = ("mode must be 'exponential', 'linear', or 'sinh', got "
               f'{mode!r}')
        raise ValueError(msg)
    if connectivity not in (4, 8):
        msg = f'Invalid connectivity={connectivity!r}; it must be 4 or 8'
        raise ValueError(msg)
