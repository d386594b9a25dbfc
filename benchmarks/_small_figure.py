# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Write figures of noisy images in few colours, so that files stay small."""

from io import BytesIO

from PIL import Image

__all__ = ['save_small']

N_COLORS = 64


def save_small(figure, path, *, dpi):
    """Write a figure as a PNG with a palette."""
    buffer = BytesIO()
    figure.savefig(buffer, dpi=dpi)
    image = Image.open(buffer).convert('RGB')
    image.quantize(N_COLORS, dither=Image.Dither.NONE).save(path,
                                                            optimize=True)
