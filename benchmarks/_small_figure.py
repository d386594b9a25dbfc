# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Write figures of noisy images in few colours, so that files stay small."""

from io import BytesIO

import matplotlib.pyplot as plt
from PIL import Image

__all__ = ['GRAY', 'RED_BLUE', 'save_small']

# of the palette; colour maps of the images have this many steps each
N_COLORS, N_STEPS = 256, 25

GRAY = plt.get_cmap('gray', N_STEPS)
RED_BLUE = plt.get_cmap('RdBu_r', N_STEPS)


def save_small(figure, path, *, dpi):
    """Write a figure as a PNG with a palette."""
    buffer = BytesIO()
    figure.savefig(buffer, dpi=dpi)
    image = Image.open(buffer).convert('RGB')
    # rare colours count as much as common ones: those of the markers
    image = image.quantize(N_COLORS, method=Image.Quantize.MAXCOVERAGE,
                           dither=Image.Dither.NONE)
    image.save(path, optimize=True)
