# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Stars of an image: sources of one width, the smallest that is shared."""

from dataclasses import dataclass

import numpy as np
from astropy.stats import gaussian_sigma_to_fwhm
from scipy.ndimage import gaussian_filter

from vaephot.utils.boxes import cut_window
from vaephot.utils.rows import Rows

__all__ = ['Candidates', 'choose_stars', 'cut_stamps', 'find_candidates',
           'measure_width']

# half the side in pixels of the cutouts on which widths are measured
HALF = 15
# least sigma of the window of adaptive moments, in pixels: sums over fewer
# pixels are no moments
MIN_WINDOW = 1.3
# FWHM in pixels: smaller are hot pixels and cosmic rays, larger are no stars
MIN_FWHM, MAX_FWHM = 1.0, 15.0
# peaks in units of the pixel noise, signal to noise of a candidate, and how
# many are measured, the brightest first
MIN_PEAK, MIN_SNR, MAX_CANDIDATES = 5.0, 20.0, 1000
# nothing farther than so many FWHM, inside the cutout, is as bright as this
# share of the peak
ALONE_FWHM, ALONE = 2.5, 0.6
# widths of stars in ln(FWHM): half the range beyond their errors, wider
# where the window spans few pixels and widths depend on where in a pixel a
# star is
LOCUS, LOCUS_SHARP, SHARP_FWHM = 0.05, 0.08, 2.5
# the locus is sought among sources of at least this S/N, in turn: among the
# bright ones stars are a larger part
STEPS = (300.0, 100.0, 50.0, 20.0)
# ranges of widths of a locus, as parts of that of stars, and the fewest stars
# in each: a few galaxies may well agree within a per cent
SPANS = ((1.0, 3), (0.5, 5), (0.25, 6))
# fewest stars whose widths tell how the PSF varies, and how often the choice
# is made anew with that
MIN_PLANE, N_PLANES = 12, 8
# number of stars over that of wider and narrower sources in as large a range
EXCESS = 3.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidates(Rows):
    """
    Sources that might be stars.

    ``x, y`` (n,) centroids in pixels; ``fwhm`` (n,) of the Gaussian that
    matches each, in pixels; ``snr`` (n,) of its flux; ``peak`` (n,).
    """

    x: np.ndarray
    y: np.ndarray
    fwhm: np.ndarray
    snr: np.ndarray
    peak: np.ndarray

    def __len__(self):
        return len(self.x)


def cut_stamps(image, x, y, half, fill):
    """Squares (n, 2 half + 1, 2 half + 1) around pixels x, y (n,)."""
    side = 2 * half + 1
    return np.stack([cut_window(image[None], iy - half, ix - half, side,
                                fill)[0] for ix, iy in zip(x, y, strict=True)])


def find_candidates(image, noise, bad):
    """
    Peaks without bad pixels in them and with nothing comparable beside.

    ``image`` and ``bad`` (ny, nx), ``noise`` of that shape or a number; bad
    pixels of the image are 0.
    """
    x, y = _peaks(image, noise, bad)
    if x.size == 0:
        return Candidates(**dict.fromkeys(
            ('x', 'y', 'fwhm', 'snr', 'peak'), np.zeros(0)))
    cutouts = cut_stamps(image, x, y, HALF, 0.0)
    dx, dy, size, light = _adaptive_moments(cutouts)
    snr = light / (np.sqrt(np.pi) * np.maximum(size, MIN_WINDOW)
                   * np.broadcast_to(noise, image.shape)[y, x])
    found = Candidates(x=x + dx, y=y + dy, peak=image[y, x], snr=snr,
                       fwhm=size * gaussian_sigma_to_fwhm)
    keep = ((snr > MIN_SNR) & (found.fwhm > MIN_FWHM)
            & (found.fwhm < MAX_FWHM)
            & (np.hypot(dx, dy) < 1.5)
            & _is_undisturbed(cutouts, cut_stamps(bad, x, y, HALF, True),
                              found.fwhm))
    return found.take(np.flatnonzero(keep))


def _peaks(image, noise, bad):
    """Pixels x, y (n,) where the smoothed image is the highest around."""
    smooth = gaussian_filter(image, 1.0, output=np.float32)
    top = smooth > MIN_PEAK * np.asarray(noise, np.float32)
    top &= ~bad
    y, x = np.nonzero(top)
    ny, nx = image.shape
    highest = np.ones(x.size, bool)
    for dy, dx in np.ndindex(5, 5):
        highest &= smooth[y, x] >= smooth[np.clip(y + dy - 2, 0, ny - 1),
                                          np.clip(x + dx - 2, 0, nx - 1)]
    y, x = y[highest], x[highest]
    order = np.argsort(-smooth[y, x], kind='stable')[:MAX_CANDIDATES]
    x, y = x[order], y[order]
    if x.size == 0:
        return x, y
    # the highest pixel there
    near = cut_stamps(image, x, y, 1, -np.inf)
    step = np.divmod(near.reshape(len(x), -1).argmax(1), 3)
    x, y = x + step[1] - 1, y + step[0] - 1
    return x[~bad[y, x]], y[~bad[y, x]]


def _adaptive_moments(cutouts, *, n_iterations=30):
    """
    Gaussians that match sources: offsets, sigma and weighted light, (n,).

    Bernstein & Jarvis 2002, AJ 123, 583, section 3, for circular ones.
    """
    n, side = cutouts.shape[:2]
    steps = np.arange(side) - side // 2
    x, y, size = np.zeros(n), np.zeros(n), np.full(n, 1.5)
    with np.errstate(invalid='ignore', divide='ignore'):
        for _ in range(n_iterations):
            dx = steps - x[:, None]
            dy = steps - y[:, None]
            r2 = dx[:, None, :]**2 + dy[:, :, None]**2
            window = np.maximum(size, MIN_WINDOW)
            light = cutouts * np.exp(-0.5 * r2 / window[:, None, None]**2)
            total = light.sum(axis=(1, 2))
            # the window shrinks the offset and the mean square radius
            gain = 1 + (size / window)**2
            x += gain * np.einsum('nyx,nx->n', light, dx) / total
            y += gain * np.einsum('nyx,ny->n', light, dy) / total
            variance = (light * r2).sum(axis=(1, 2)) / total / 2
            new = 1 / (1 / variance - 1 / window**2)
            size = np.sqrt(np.clip(new, 0.1, (side / 4)**2))
    found = np.array([x, y, size, total])
    return np.where(np.isfinite(found).all(0), found, 0.0)


def measure_width(image):
    """FWHM in pixels of the Gaussian that matches a source in the middle."""
    return float(_adaptive_moments(image[None])[2, 0]
                 * gaussian_sigma_to_fwhm)


def _is_undisturbed(cutouts, bad, fwhm):
    """Sources with a good core, no flat top and nothing comparable, (n,)."""
    steps = np.arange(-HALF, HALF + 1)
    radius = np.hypot(steps[:, None], steps)
    core = np.maximum(1.0, fwhm)[:, None, None]
    whole = ~(bad & (radius <= np.maximum(core, 3))).any((1, 2))
    peak = cutouts[:, HALF, HALF]
    sharp = (cutouts == peak[:, None, None]).sum((1, 2)) == 1
    around = np.where(radius > ALONE_FWHM * core, cutouts, 0).max((1, 2))
    return whole & sharp & (around < ALONE * peak)


def choose_stars(candidates):
    """
    Numbers of the candidates that share the stellar width, the best first.

    Empty if no width is shared by clearly more sources than others are.
    """
    best, found = 0.0, None
    for least in STEPS:
        bright = candidates.snr >= least
        for locus, score in _loci(np.log(candidates.fwhm[bright])):
            if score > best:
                best, found = score, locus
    if found is None:
        return np.zeros(0, int)
    rows = np.flatnonzero(_alike(candidates, found))
    for _ in range(N_PLANES if len(rows) >= MIN_PLANE else 0):
        rows = np.flatnonzero(_alike(candidates, _plane(candidates, rows)))
    return rows[np.argsort(-candidates.snr[rows], kind='stable')]


def _alike(candidates, log_fwhm):
    """Which candidates have a width ln(FWHM), one or (n,)."""
    half = _tolerance(np.median(log_fwhm)) + 1 / candidates.snr
    return np.abs(np.log(candidates.fwhm) - log_fwhm) < half


def _plane(candidates, rows):
    """Plane through ln(FWHM) of some candidates, at all of them, (n,)."""
    columns = np.stack([np.ones(len(candidates)), candidates.x,
                        candidates.y], 1)
    parts, *_ = np.linalg.lstsq(columns[rows],
                                np.log(candidates.fwhm[rows]), rcond=None)
    return columns @ parts


def _tolerance(log_fwhm):
    """Half the range of widths of stars around ln(FWHM)."""
    return LOCUS_SHARP if log_fwhm < np.log(SHARP_FWHM) else LOCUS


def _loci(logs):
    """Ranges of ln(FWHM) with more sources than beside: middle, excess."""
    logs = np.sort(logs)
    for start in logs:
        for part, least in SPANS:
            span = part * 2 * _tolerance(start)
            n, wider, narrower = (
                np.count_nonzero((logs >= start + low * span)
                                 & (logs < start + high * span))
                for low, high in ((0, 1), (1, 5), (-4, 0)))
            expected = max(wider / 4, narrower)
            if n >= max(least, EXCESS * expected):
                inside = (logs >= start) & (logs < start + span)
                yield (np.median(logs[inside]),
                       (n - expected) / np.sqrt(1 + expected))
