# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The small field that ships with the package and that ``vaephot demo`` uses.

It is made by ``write_demo_field('demo_field.fits.gz')``: a Euclid-like
field of 256 x 256 pixels in VIS, Y, J, H with the seed `DEMO_SEED`.
"""

import gzip
import io

import numpy as np

from vaephot.simulate.fields import FieldConfig, draw_field, field_hdus
from vaephot.utils.atomic import atomic_write

__all__ = ['DEMO_SEED', 'draw_demo_field', 'write_demo_field']

# Seed of the shipped field, and what it holds: more galaxies in pairs
# and more stars than the sky has, so that a small field shows both; no
# star is bright enough to saturate.
DEMO_SEED = 20790
DEMO_CONFIG = FieldConfig(
    shape=(256, 256), pair_share=0.3, star_density=12.0,
    star_mags=(19.5, 25.0), psf_pixels=95, galaxy_density=160.0)

# Images are rounded to about this share of the noise, PSFs to this
# share of their peak, so that the file packs well.
NOISE_STEP = 1 / 16
PSF_STEP = 2e-6


def draw_demo_field():
    """
    Draw the field that ships with the package.

    Returns
    -------
    `~vaephot.simulate.fields.SimulatedField`
    """
    return draw_field(DEMO_CONFIG, seed=DEMO_SEED)


def _rounded(data, step):
    """Round to a power of two not larger than ``step``."""
    step = 2.0 ** np.floor(np.log2(step))
    return (np.round(data / step) * step).astype(np.float32)


def write_demo_field(path, *, overwrite=False):
    """
    Write the field that ships with the package.

    Parameters
    ----------
    path : path-like
        File to write, ending in ``.fits.gz``.
    overwrite : bool, optional
        Whether to replace a file.

    Raises
    ------
    OutputExistsError
        If the file exists and ``overwrite`` is False.
    """
    simulated = draw_demo_field()
    hdus = field_hdus(simulated, with_errors=False)
    for k, band in enumerate(simulated.bands):
        hdus[band].data = _rounded(hdus[band].data,
                                   NOISE_STEP * simulated.sky_rms[k])
        psf = hdus[f'PSF_{band}'].data
        hdus[f'PSF_{band}'].data = _rounded(psf, PSF_STEP * psf.max())
    buffer = io.BytesIO()
    hdus.writeto(buffer)
    with atomic_write(path, overwrite=overwrite) as temporary:
        # no time of writing in the file: the same seed, the same bytes
        temporary.write_bytes(gzip.compress(buffer.getvalue(), mtime=0))
