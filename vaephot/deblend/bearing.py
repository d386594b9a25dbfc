# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Which sources bear on how parents are divided.

Most parents of a field hold one candidate and stay whole. What they look like
matters where their light, or their mark on a stamp, comes near one that may be
divided; the others need no fit as long as nobody asks for their fluxes.
"""

import numpy as np
from scipy.spatial import KDTree

from vaephot.deblend.groups import group_sources
from vaephot.deblend.labels import sum_by_label
from vaephot.deblend.looks import reference_fitter
from vaephot.deblend.start import bin_factors

__all__ = ['bear_on_division']

# half-light radius in units of the radius of a segment, at most
LARGEST_RADIUS = 0.5


def _near(sources, rows, reach):
    """Sources within the reaches of some of them."""
    places = np.column_stack([sources.x, sources.y])
    found = KDTree(places).query_ball_point(places[rows], reach[rows])
    near = np.zeros(len(places), bool)
    near[np.concatenate([*found, []]).astype(int)] = True
    return near


def bear_on_division(fitter, segm, sources):
    """
    Find the sources that bear on how parents are divided.

    Parameters
    ----------
    fitter : `~vaephot.deblend.scene.SceneFitter`
        Widths of the PSFs and the encoder.
    segm : `~photutils.segmentation.SegmentationImage`
        Parents.
    sources : `~vaephot.deblend.groups.SourceList`
        Candidates.

    Returns
    -------
    `numpy.ndarray` of bool, (n,)
        Those in parents with several candidates, those that are fitted
        together with them, and those on their stamps with what is fitted
        together with these.
    """
    first = reference_fitter(fitter)
    several = (sum_by_label(sources.parent) > 1) & (sources.parent > 0)
    groups = group_sources(sources, segm.data, float(first.fwhm.min()))
    number = np.zeros(len(sources), int)
    for k, members in enumerate(groups):
        number[members] = k

    def together(rows):
        """All that are fitted together with some."""
        return np.isin(number, number[rows])
    deciding = together(several)
    factors = bin_factors(LARGEST_RADIUS * sources.radius,
                          float(first.fwhm.max()))
    reach = factors * first.vae.config.stamp_size / np.sqrt(2)
    return together(_near(sources, deciding, reach))
