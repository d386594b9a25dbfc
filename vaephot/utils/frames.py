# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Images of several bands: one stack, or one image each by name."""

from collections.abc import Mapping

__all__ = ['each', 'is_mapping', 'pick_band']


def is_mapping(frames):
    """
    Whether images are given by the names of their bands.

    Parameters
    ----------
    frames : array or mapping or None
        A stack, or ``{band: image}``.

    Returns
    -------
    bool
    """
    return isinstance(frames, Mapping)


def each(function, *frames):
    """
    Apply a function to a stack, or to each image of a mapping.

    Parameters
    ----------
    function : callable
        Takes as many images as there are ``frames``.
    *frames : array or mapping
        Stacks, or mappings of the same bands.

    Returns
    -------
    object or dict
        What the function returns, by band for mappings.

    Examples
    --------
    >>> from vaephot.utils.frames import each
    >>> each(max, [1, 2]), each(max, {'g': [1, 2], 'r': [3]})
    (2, {'g': 2, 'r': 3})
    """
    if is_mapping(frames[0]):
        return {band: function(*(frame[band] for frame in frames))
                for band in frames[0]}
    return function(*frames)


def pick_band(frames, index, band):
    """
    Image of one band.

    Parameters
    ----------
    frames : array or mapping or None
        A 2D image, a stack or a mapping.
    index : int
        Number of the band.
    band : str
        Its name.

    Returns
    -------
    array or None
        2D; `None` for `None`.
    """
    if frames is None or is_mapping(frames):
        return None if frames is None else frames[band]
    return frames if frames.ndim == 2 else frames[index]
