# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The one door to GalSim, and the accuracy of its drawings."""

from vaephot.utils.optional_deps import import_optional

__all__ = ['drawing_accuracy', 'load_galsim']

# Share of the flux that may alias from outside the drawn area; twice the
# default of GalSim.
STAMP_FOLDING = 1e-2

# Longest side of a Fourier image, px.
MAXIMUM_FFT_SIZE = 16384


def load_galsim():
    """
    Import GalSim.

    Returns
    -------
    module

    Raises
    ------
    MissingDependencyError
        If GalSim is not installed.
    """
    return import_optional('galsim', 'vaephot.simulate')


def drawing_accuracy(folding_threshold=STAMP_FOLDING):
    """
    Make the accuracy parameters of all drawings.

    Parameters
    ----------
    folding_threshold : float, optional
        Largest share of the flux that may alias. The default suits
        normalised stamps.

    Returns
    -------
    `galsim.GSParams`
    """
    return load_galsim().GSParams(folding_threshold=folding_threshold,
                                  maximum_fft_size=MAXIMUM_FFT_SIZE)
