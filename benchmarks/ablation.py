# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Print what each learned part of the joint fit is worth.

The same optimiser fits the same blends with one part taken away: the latent
(held at zero, so that every galaxy has one profile; no structure either), the
structure (concentric galaxies), the colour gradients
(the bands tied together), the encoder's start (small round galaxies
instead), the learned prior (one fixed prior of size and shear instead). The
galaxy in the middle of each blend is scored. ``capacity`` fits noise-free
isolated galaxies and prints what the decoder cannot draw.
"""

import argparse
import warnings

import numpy as np
import torch
from photutils.psf import ImagePSF
from photutils.segmentation import detect_sources

import vaephot
from vaephot import VAEDeblender
from vaephot.deblend import looks, scene
from vaephot.evaluate.bins import nmad
from vaephot.evaluate.profile_fit import fit_blend
from vaephot.evaluate.profiles import ProfileRenderer
from vaephot.models.encoder import Gaussian
from vaephot.models.prior import Prior
from vaephot.simulate import RealGalaxies, draw_blends

# 1-sigma of the positions that are told, in pixels
POSITION_ERROR = 0.2
# precision that holds a parameter where it is
FIXED = 1e8
# the fixed prior of the ablation: logarithm of the half-light radius in
# pixels of 0.1 arcsec, and 1-sigma of that and of both shears
FIXED_LOG_SIZE, FIXED_SIZE_SIGMA, FIXED_SHEAR_SIGMA = np.log(3.0), 0.6, 0.4
NOISE_FREE = 1e-3

_LOOK = looks._look
_BETWEEN = Prior.band_precision
_FIT = scene.fit_groups


def without_latent(*args, **known):
    """Start and prior of galaxies of one profile."""
    found = _LOOK(*args, **known)
    for gaussian in found:
        gaussian.mean[:, 5:] = 0
        gaussian.precision[:, 5:] = FIXED
    return found


def moments_start(fitter, sources, *args, **known):
    """Small round galaxies instead of what the encoder says."""
    _, prior = _LOOK(fitter, sources, *args, **known)
    return fitter.default_shapes(sources), prior


def fixed_prior(*args, **known):
    """One prior of size and shear for all galaxies."""
    shapes, prior = _LOOK(*args, **known)
    mean, precision = prior.mean.clone(), prior.precision.clone()
    mean[:, 2], precision[:, 2] = FIXED_LOG_SIZE, FIXED_SIZE_SIGMA ** -2
    precision[:, 3:5] = FIXED_SHEAR_SIGMA ** -2
    return shapes, Gaussian(mean, precision)


def tied_bands(prior):
    """Bands that look alike."""
    return _BETWEEN(prior) * 1e6


def concentric(weights):
    """Deblender of galaxies without structure."""
    deblend = VAEDeblender(weights=weights)
    make = deblend.make_fitter
    deblend.make_fitter = lambda seen: make(seen).without_waves()
    return deblend


# what stands for a look, the tie of the bands and the deblender
VARIANTS = {'all': (_LOOK, _BETWEEN, VAEDeblender),
            'no structure': (_LOOK, _BETWEEN, concentric),
            'no latent': (without_latent, _BETWEEN, concentric),
            'no colour gradients': (_LOOK, tied_bands, VAEDeblender),
            'no encoder start': (moments_start, _BETWEEN, VAEDeblender),
            'fixed prior': (fixed_prior, _BETWEEN, VAEDeblender)}


class Counter:
    """Steps of the fits, and how many did not converge."""

    def __init__(self):
        self.steps, self.failed = [], []

    def __call__(self, batch, *args, **options):
        done = _FIT(batch, *args, **options)
        self.steps += done.n_steps.tolist()
        self.failed += (~done.converged).tolist()
        return done


def mosaic(blends, values):
    """Stamps side by side, with a masked gap; their corners."""
    size = values.shape[-1]
    side = int(np.ceil(np.sqrt(len(values))))
    pitch = size + 16
    shape = (values.shape[1], side * pitch, side * pitch)
    out, bad = np.zeros(shape), np.ones(shape, bool)
    corners = np.array([divmod(i, side) for i in range(len(values))])
    corners = corners[:, ::-1] * pitch + 8
    for (x, y), stamp, mask in zip(corners, values, blends.mask,
                                   strict=True):
        window = np.s_[:, y:y + size, x:x + size]
        out[window], bad[window] = stamp, mask
    return out, bad, corners


def measure(blends, deblend, *, noise_free=False):
    """Result of a deblender, and the row of each central galaxy."""
    values = blends.models.sum(1) if noise_free else blends.image
    image, mask, corners = mosaic(blends, values)
    rms = blends.sky_rms * (NOISE_FREE if noise_free else 1)
    rng = np.random.default_rng(blends.seed)
    places, first = [], []
    for i, n in enumerate(blends.n_sources):
        first.append(sum(map(len, places)))
        xy = np.column_stack([blends.x[i, :n], blends.y[i, :n]]) + corners[i]
        places.append(xy + rng.normal(0, POSITION_ERROR, xy.shape))
    segm = detect_sources(image[0], 1.5 * blends.sky_rms[0], 5, mask=mask[0])
    psf = [ImagePSF(p * blends.oversampling ** 2,
                    oversampling=blends.oversampling) for p in blends.psf]
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', vaephot.exceptions.DeblendWarning)
        result = deblend(image, segm, error=rms, mask=mask, psf=psf,
                         gain=None if noise_free else blends.gain,
                         bands=blends.bands,
                         positions=np.concatenate(places))
    return result, np.array(first), corners


def flux_errors(blends, result, rows, band):
    """Relative flux errors of the central galaxies in a band."""
    found = np.array(result.table[f'flux_{blends.bands[band]}'], float)[rows]
    return found / blends.flux[:, 0, band] - 1


def ablate(args):
    """Print scatter and bias with each part taken away."""
    blends = draw_blends(args.case, args.n, seed=args.seed,
                         population=population(args))
    near = np.full(args.n, np.inf)
    if blends.x.shape[1] > 1:
        distance = np.hypot(blends.x[:, 1:] - blends.x[:, :1],
                            blends.y[:, 1:] - blends.y[:, :1])
        near = np.nanmin(np.where(np.isfinite(distance), distance, np.inf), 1)
    print('variant, VIS and H: median, NMAD, share within 10 %; VIS NMAD '
          'closer than 0.6 arcsec; mean steps, share not converged')
    for name, (look, between, make) in VARIANTS.items():
        counter = Counter()
        looks._look, Prior.band_precision = look, between
        scene.fit_groups = counter
        result, rows, _ = measure(blends, make(weights=args.weights))
        line = f'{name:20s}'
        for band in (0, len(blends.bands) - 1):
            df = flux_errors(blends, result, rows, band)
            line += (f' {np.median(df):+.3f} {nmad(df):.3f} '
                     f'{(np.abs(df) < 0.1).mean():.2f} |')
        close = flux_errors(blends, result, rows, 0)[near < 6]
        close = nmad(close) if len(close) > 5 else np.nan
        print(line, f'{close:.3f} | {np.mean(counter.steps):.1f} '
              f'{np.mean(counter.failed):.3f}')
    looks._look, Prior.band_precision = _LOOK, _BETWEEN
    scene.fit_groups = _FIT


def spergel_residuals(blends):
    """Squared residual over squared image of one profile, VIS alone."""
    renderer = ProfileRenderer(blends.psf[:1], blends.oversampling,
                               blends.image.shape[-2:])
    share, flux = [], []
    for models, x, y in zip(blends.models, blends.x, blends.y, strict=True):
        truth = models.sum(0)[:1]
        fit = fit_blend(renderer, truth, np.zeros(truth.shape, bool),
                        blends.sky_rms[:1] * NOISE_FREE, [np.inf],
                        [[x[0], y[0]]], [False],
                        pixel_scale=blends.pixel_scale, max_steps=100)
        left = truth - fit['models'].sum(0)
        share.append((left ** 2).sum() / (truth ** 2).sum())
        flux.append(fit['flux'][0, 0])
    return share, np.array(flux) / blends.flux[:, 0, 0] - 1


def print_capacity(name, share, df):
    """One line: what is left over, and errors of the flux."""
    print(f'{name}: squared residual over squared image, VIS: median '
          f'{np.median(share):.2e}, 90 % {np.quantile(share, 0.9):.2e}; '
          f'flux: median {np.median(df):+.4f}, NMAD {nmad(df):.4f}')


def capacity(args):
    """Print what is left over of noise-free isolated galaxies."""
    blends = draw_blends('isolated', args.n, seed=args.seed,
                         population=population(args))
    for name, make in (('concentric', concentric),
                       ('structure', VAEDeblender)):
        result, rows, corners = measure(blends, make(weights=args.weights),
                                        noise_free=True)
        left, model = result.residual_image[0], result.model_image[0]
        share = []
        size = blends.image.shape[-1]
        for x, y in corners:
            window = np.s_[y:y + size, x:x + size]
            truth = left[window] + model[window]
            share.append((left[window] ** 2).sum() / (truth ** 2).sum())
        print_capacity(name, share, flux_errors(blends, result, rows, 0))
    print_capacity('Spergel profile', *spergel_residuals(blends))


def population(args):
    """Real galaxies of a folder, or the mock."""
    return None if args.real is None else RealGalaxies(args.real,
                                                       split='test')


def main():
    """Read the command line and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('what', choices=('ablate', 'capacity'))
    add('--case', default='faint', help='default: %(default)s')
    add('--n', type=int, default=100, help='default: %(default)s')
    add('--seed', type=int, default=21, help='default: %(default)s')
    add('--real', metavar='DIR', help='folder of real HST galaxies')
    add('--weights', metavar='NAME', help='default: the default set')
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    {'ablate': ablate, 'capacity': capacity}[args.what](args)


if __name__ == '__main__':
    main()
