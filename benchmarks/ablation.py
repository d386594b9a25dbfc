# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Print what each learned part of the fit is worth.

The same engine fits the same blends with one part taken away: the asymmetry
(concentric galaxies), the latent (held at zero, so that every galaxy has one
profile; no asymmetry either), the colour gradients (the bands tied together),
the learned prior (one fixed prior of size and shear instead). The galaxy in
the middle of each blend is scored, at given positions. ``capacity`` fits
noise-free isolated galaxies and prints what the decoder cannot draw.
"""

import argparse
from types import SimpleNamespace

import numpy as np
from _engines import make_engine, make_search, place_sources
from mosaic import NOISE_FREE, make_mosaic
from photutils.segmentation import detect_sources
from scipy.ndimage import label, sum_labels

from vaephot.evaluate.bins import nmad
from vaephot.evaluate.profile_fit import fit_blend
from vaephot.evaluate.profiles import ProfileRenderer
from vaephot.models.bundle import build_vaes
from vaephot.models.encoder import Gaussian
from vaephot.simulate import RealGalaxies, draw_blends
from vaephot.weights import load_weights

# precision that holds a parameter where it is
HELD = 1e8
# the fixed prior of the ablation: logarithm of the half-light radius in
# pixels of 0.1 arcsec, and 1-sigma of that and of both shears
FIXED_LOG_SIZE, FIXED_SIZE_SIGMA, FIXED_SHEAR_SIGMA = np.log(3.0), 0.6, 0.4
# how much tighter bands are tied that look alike
TIGHT = 1e6
# neighbours this close, in arcsec, are close
CLOSE = 0.6
N_PIXELS, THRESHOLD = 5, 1.5


class ChangedPrior:
    """A prior with something taken away."""

    def __init__(self, prior, *, tie=1.0, change=None):
        self.prior, self.tie, self.change = prior, tie, change

    def band_precision(self):
        """Between the parameters of a band and the common ones."""
        return self.prior.band_precision() * self.tie

    def __call__(self, *args):
        found = self.prior(*args)
        return found if self.change is None else self.change(found)


def without_latent(prior):
    """Galaxies of one profile."""
    precision = prior.precision.clone()
    precision[:, 5:] = HELD
    return Gaussian(prior.mean, precision)


def fixed_size(prior):
    """One prior of size and shear for all galaxies."""
    mean, precision = prior.mean.clone(), prior.precision.clone()
    mean[:, 2], precision[:, 2] = FIXED_LOG_SIZE, FIXED_SIZE_SIGMA ** -2
    precision[:, 3:5] = FIXED_SHEAR_SIGMA ** -2
    return Gaussian(mean, precision)


# changes of the prior, and whether galaxies may have asymmetry
VARIANTS = {'all': ({}, True), 'no asymmetry': ({}, False),
            'no latent': ({'change': without_latent}, False),
            'no colour gradients': ({'tie': TIGHT}, True),
            'fixed prior': ({'change': fixed_size}, True)}


def fit(mosaic, segm, vae, changes, *, asymmetric):
    """Engine, and scene of the sources at given positions."""
    changed = SimpleNamespace(decoder=vae.decoder, config=vae.config,
                              prior=ChangedPrior(vae.prior, **changes))
    engine = make_engine(mosaic, segm, changed)
    chosen = place_sources(engine, make_search(), mosaic.told_xy)
    scene = engine.settle(engine.fit(chosen.sources))
    return engine, engine.fit_asymmetry(scene) if asymmetric else scene


def detect(mosaic, sky_rms):
    """Segments of the first band."""
    return detect_sources(mosaic.data.value[0], THRESHOLD * sky_rms,
                          N_PIXELS, mask=mosaic.mask[0])


def flux_errors(mosaic, engine, scene, band):
    """Relative flux errors of the central galaxies in a band."""
    rows = mosaic.is_central
    found = scene.fit.flux[rows, band] / engine.observation.scale
    return found / mosaic.true_flux[rows, band] - 1


def is_close(mosaic):
    """Central galaxies with a near neighbour."""
    apart = np.hypot(*(mosaic.true_xy[mosaic.is_central][:, None]
                       - mosaic.true_xy).transpose(2, 0, 1))
    apart[apart == 0] = np.inf
    return apart.min(1) * mosaic.pixel_scale < CLOSE


def ablate(args, vae):
    """Print scatter and bias with each part taken away."""
    mosaic = make_mosaic(args.case, args.n, args.seed,
                         population=population(args))
    segm, near = detect(mosaic, mosaic.sky_rms[0]), is_close(mosaic)
    print('variant, VIS and H: median, NMAD, share within 10 %; VIS NMAD '
          f'closer than {CLOSE} arcsec; share not converged')
    for name, (changes, asymmetric) in VARIANTS.items():
        engine, scene = fit(mosaic, segm, vae, changes,
                            asymmetric=asymmetric)
        line = f'{name:20s}'
        for band in (0, len(mosaic.bands) - 1):
            df = flux_errors(mosaic, engine, scene, band)
            line += (f' {np.median(df):+.3f} {nmad(df):.3f} '
                     f'{(np.abs(df) < 0.1).mean():.2f} |')
        close = flux_errors(mosaic, engine, scene, 0)[near]
        close = nmad(close) if len(close) > 5 else np.nan
        print(line, f'{close:.3f} | {(~scene.fit.converged).mean():.3f}')


def spergel_residuals(args):
    """Squared residual over squared image of one profile, VIS alone."""
    blends = draw_blends('isolated', args.n, seed=args.seed,
                         population=population(args))
    renderer = ProfileRenderer(blends.psf[:1], blends.oversampling,
                               blends.image.shape[-2:])
    share, flux = [], []
    for models, x, y in zip(blends.models, blends.x, blends.y, strict=True):
        truth = models.sum(0)[:1]
        found = fit_blend(renderer, truth, np.zeros(truth.shape, bool),
                          blends.sky_rms[:1] * NOISE_FREE, [np.inf],
                          [[x[0], y[0]]], [False],
                          pixel_scale=blends.pixel_scale, max_steps=100)
        left = truth - found['models'].sum(0)
        share.append((left ** 2).sum() / (truth ** 2).sum())
        flux.append(found['flux'][0, 0])
    return share, np.array(flux) / blends.flux[:, 0, 0] - 1


def residuals(mosaic, engine, scene):
    """Squared residual over squared image of each galaxy, VIS alone."""
    truth = mosaic.data.value[0]
    left = truth - scene.model_image[0] / engine.observation.scale
    stamps, _ = label(~mosaic.gap)
    x, y = np.rint(mosaic.true_xy).astype(int).T
    return (sum_labels(left ** 2, stamps, stamps[y, x])
            / sum_labels(truth ** 2, stamps, stamps[y, x]))


def capacity(args, vae):
    """Print what is left over of noise-free isolated galaxies."""
    mosaic = make_mosaic('isolated', args.n, args.seed, noise_free=True,
                         population=population(args))
    segm = detect(mosaic, mosaic.sky_rms[0] / NOISE_FREE)
    for name, asymmetric in (('concentric', False), ('asymmetric', True)):
        engine, scene = fit(mosaic, segm, vae, {}, asymmetric=asymmetric)
        print_capacity(name, residuals(mosaic, engine, scene),
                       flux_errors(mosaic, engine, scene, 0))
    print_capacity('Spergel profile', *spergel_residuals(args))


def print_capacity(name, share, df):
    """One line: what is left over, and errors of the flux."""
    print(f'{name}: squared residual over squared image, VIS: median '
          f'{np.median(share):.2e}, 90 % {np.quantile(share, 0.9):.2e}; '
          f'flux: median {np.median(df):+.4f}, NMAD {nmad(df):.4f}')


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
    vae = build_vaes(load_weights(args.weights))['blended']
    {'ablate': ablate, 'capacity': capacity}[args.what](args, vae)


if __name__ == '__main__':
    main()
