# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""PSFs as users, files and the stars of an image give them."""

from vaephot.deblend.inputs.psf.band_psf import BandPSF, GivenStamp
from vaephot.deblend.inputs.psf.estimate import build_psf
from vaephot.deblend.inputs.psf.extent import centroid, measure_fwhm
from vaephot.deblend.inputs.psf.given import make_band_psfs
from vaephot.deblend.inputs.psf.hollow_tops import hollow_tops
from vaephot.deblend.inputs.psf.psf_files import read_psf, write_psf
from vaephot.deblend.inputs.psf.samples import MAX_PSF_PIXELS

__all__ = ['MAX_PSF_PIXELS', 'BandPSF', 'GivenStamp', 'build_psf',
           'centroid', 'hollow_tops', 'make_band_psfs', 'measure_fwhm',
           'read_psf', 'write_psf']
