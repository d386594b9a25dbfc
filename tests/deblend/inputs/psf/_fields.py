# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Images of stars and galaxies whose PSF is known."""

from functools import partial

import numpy as np


def moffat(dx, dy, fwhm, beta=2.5, ellipticity=0.08):
    """Profile of peak 1."""
    alpha = fwhm / 2 / np.sqrt(2 ** (1 / beta) - 1)
    r2 = (1 - ellipticity) * dx ** 2 + (1 + ellipticity) * dy ** 2
    return (1 + r2 / alpha ** 2 / np.sqrt(1 - ellipticity ** 2)) ** -beta


def add(image, x, y, peak, profile):
    """Add a source in place; ``profile(dx, dy)`` has the peak 1."""
    half = 45
    rows = slice(max(int(y) - half, 0), int(y) + half)
    columns = slice(max(int(x) - half, 0), int(x) + half)
    yy, xx = np.mgrid[:image.shape[0], :image.shape[1]][:, rows, columns]
    image[rows, columns] += peak * profile(xx - x, yy - y)


def star_field(fwhm, *, n_stars=12, n_galaxies=30, size=300, seed=1,
               width=None):
    """
    Image of noise 1 with stars and galaxies, and the positions of the stars.

    ``width(x, y)`` is the FWHM where it varies.
    """
    rng = np.random.default_rng(seed)
    image = rng.normal(0, 1, (size, size))
    steps = int(np.ceil(np.sqrt(n_stars + n_galaxies)))
    cells = rng.permutation(steps ** 2)[:n_stars + n_galaxies]
    place = (np.stack(np.divmod(cells, steps), 1) + 0.5) * size / steps
    place += rng.uniform(-3, 3, place.shape)
    for i, (x, y) in enumerate(place):
        peak = np.exp(rng.uniform(np.log(100), np.log(2000)))
        own = fwhm if width is None else width(x, y)
        if i < n_stars:
            add(image, x, y, peak, partial(moffat, fwhm=own))
        else:
            add(image, x, y, peak / 4, partial(
                moffat, fwhm=own * rng.uniform(1.3, 3), ellipticity=0.3))
    return image, place[:n_stars]
