# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Draw what the default weights learned: curves, galaxies, latents.

Writes ``training_curves.png`` (figures on held-out stamps against steps),
``latent_samples.png`` (galaxies drawn from the prior) and
``latent_traversal.png`` (one latent at a time, from -2 to 2 sigma, and the
scatter of each among the galaxies that the encoder was taught).
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from matplotlib import pyplot as plt

from vaephot.models.asymmetry import wave_columns
from vaephot.models.bundle import build_vaes, fit_decoder
from vaephot.models.render import Renderer, make_transfer, padded_size
from vaephot.weights import load_weights

SIZE, RADIUS = 48, 7.0
# FWHM of the PSF of the pictures in pixels: a sharp one
PSF_FWHM = 2.0
CURVES = ('flux_nmad', 'size_nmad', 'position_nmad', 'shear_nmad')


def gaussian_psf():
    """Effective PSF of the pictures."""
    y, x = np.mgrid[-8:9, -8:9]
    sigma = PSF_FWHM / 2.3548
    image = np.exp(-0.5 * (x ** 2 + y ** 2) / sigma ** 2)
    return image / image.sum()


def draw(decoder, parameters):
    """Images of galaxies, square roots of their brightness."""
    transfer = make_transfer([gaussian_psf()], 1, padded_size(SIZE))
    mixture = decoder.from_parameters(parameters)
    images = Renderer(SIZE, [transfer]).templates(mixture,
                                                  parameters[:, :2])[:, 0]
    return np.sqrt(np.clip(images.numpy(), 0, None))


def standard(decoder, n):
    """Parameters of equal galaxies in the middle of their stamps."""
    parameters = torch.zeros(n, decoder.config.n_parameters,
                             dtype=torch.float64)
    parameters[:, :2] = (SIZE - 1) / 2
    parameters[:, 2] = np.log(RADIUS)
    return parameters


def show(images, shape, path, titles=()):
    """Write images side by side."""
    figure, axes = plt.subplots(*shape, figsize=(1.3 * shape[1],
                                                 1.4 * shape[0]))
    for i, axis in enumerate(axes.ravel()):
        axis.imshow(images[i], cmap='gray_r', origin='lower')
        axis.set(xticks=[], yticks=[])
        if i < len(titles):
            axis.set_title(titles[i], fontsize=8)
    figure.tight_layout(pad=0.3)
    figure.savefig(path, dpi=80)
    plt.close(figure)


def samples(decoder, path, rng):
    """Galaxies from the prior of the latent, of random sizes and shears."""
    parameters = standard(decoder, 32)
    parameters[:, 2] += torch.as_tensor(rng.normal(0, 0.35, 32))
    parameters[:, 3:5] = torch.as_tensor(rng.normal(0, 0.4, (32, 2)))
    parameters[:, 5:] = torch.as_tensor(rng.normal(
        0, 1, (32, parameters.shape[1] - 5)))
    show(draw(decoder, parameters), (4, 8), path)


def traversal(decoder, path):
    """One latent at a time, and the cosine of one wave at a time."""
    config, steps = decoder.config, np.linspace(-2, 2, 7)
    columns = [*range(5, config.n_concentric),
               *[config.n_concentric + own[0]
                 for own in wave_columns(config.structure_orders)]]
    parameters = standard(decoder, len(columns) * len(steps))
    parameters[:, 3] = 0.6
    for i, column in enumerate(columns):
        rows = slice(i * len(steps), (i + 1) * len(steps))
        parameters[rows, column] = torch.as_tensor(steps)
    show(draw(decoder, parameters), (len(columns), len(steps)), path,
         [f'{step:+.1f}' for step in steps])


def curves(record, path):
    """Figures on held-out stamps."""
    # a stage that began with weights and took no step has no curves
    stages = {stage: columns for stage, columns
              in record.training['curves'].items() if columns}
    figure, axes = plt.subplots(1, len(stages), sharey=True, squeeze=False,
                                figsize=(1.5 + 3.5 * len(stages), 3.2))
    axes = axes[0]
    for axis, (stage, columns) in zip(axes, stages.items(), strict=False):
        for name in CURVES:
            axis.plot(columns['step'], columns[name], label=name)
        axis.set(title=stage, xlabel='step', yscale='log')
    axes[0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=80)
    plt.close(figure)


def main():
    """Write all figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('-o', '--output', type=Path,
                        default=Path('docs/user_guide/figures'))
    args = parser.parse_args()
    weights = load_weights('default')
    decoder = fit_decoder(build_vaes(weights)['blended'])
    args.output.mkdir(parents=True, exist_ok=True)
    curves(weights.record, args.output / 'training_curves.png')
    samples(decoder, args.output / 'latent_samples.png',
            np.random.default_rng(4))
    traversal(decoder, args.output / 'latent_traversal.png')


if __name__ == '__main__':
    main()
