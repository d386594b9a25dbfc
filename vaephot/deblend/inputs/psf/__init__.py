# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""PSFs as users, files and the stars of an image give them."""

from vaephot.deblend.inputs.psf.band_psf import BandPSF, GivenStamp
from vaephot.deblend.inputs.psf.extent import centroid, measure_fwhm
from vaephot.deblend.inputs.psf.from_stars.estimate import build_psf
from vaephot.deblend.inputs.psf.from_stars.hollow_tops import hollow_tops
from vaephot.deblend.inputs.psf.from_stars.star_check import check_width
from vaephot.deblend.inputs.psf.given import make_band_psfs
from vaephot.deblend.inputs.psf.psf_files import read_psf, write_psf
from vaephot.deblend.inputs.psf.samples import MAX_PSF_PIXELS
from vaephot.deblend.inputs.psf.wings import with_wings

__all__ = ['MAX_PSF_PIXELS', 'BandPSF', 'GivenStamp', 'build_psf',
           'centroid', 'check_width', 'hollow_tops', 'make_band_psfs',
           'measure_fwhm', 'read_psf', 'with_wings', 'write_psf']
