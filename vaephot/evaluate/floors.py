# Licensed under a 3-clause BSD style license - see LICENSE.rst
r"""
Cramér-Rao floors: how well fluxes can be known at all.

For Gaussian noise of variance :math:`\sigma_p^2` the Fisher matrix is
:math:`F_{ab} = \sum_p \partial_a \mu \, \partial_b \mu / \sigma_p^2`
and no unbiased method scatters less than
:math:`\sqrt{(F^{-1})_{aa}}`. Three floors are computed, each with all
sources of the blend and all bands at once:

``known``
    every template is known, the fluxes of all sources are free;
``free``
    position, size and shear of every source are free too, shared by the
    bands;
``prior``
    the same with Gaussian priors on these (the Bayesian bound of van
    Trees, taken at the truth).

The images of the sources are the true ones. Their derivatives are those
of the Spergel profile that fits the noiseless source best, in all bands
together; against derivatives of the true bulge and disk, the floors are
right to a few per cent.
"""

import numpy as np

from vaephot.evaluate.observed import clean_image
from vaephot.evaluate.profile_fit import fit_blend
from vaephot.evaluate.profiles import ProfileRenderer

__all__ = ['FLOORS', 'PRIOR_ARCSEC', 'cramer_rao', 'flux_floors']

FLOORS = ('known', 'free', 'prior')
# priors: position [arcsec], ln radius, eta1, eta2 (0.25 in the shear)
PRIOR_ARCSEC = 0.05
PRIOR_SHAPE = (0.35, 0.5, 0.5)
# parameters of the profile that have a derivative: not nu
N_SHAPES = 5
# a noiseless source needs few steps
FIT_STEPS = 5


def cramer_rao(templates, derivatives, variance, prior_sigma=None):
    """
    Floors of the fluxes of several sources in several bands.

    Parameters
    ----------
    templates : array_like, (n, n_bands, n_pixels)
        Unit-flux images of the sources.
    derivatives : array_like, (p, n_bands, n_pixels)
        Derivatives of the scene by the shape parameters of all sources.
    variance : array_like, (n_bands, n_pixels)
        Noise; infinite for bad pixels.
    prior_sigma : array_like, (p,), or None, optional
        Priors of the shapes. `None` means none.

    Returns
    -------
    `~numpy.ndarray`, (n, n_bands)
        1-sigma errors.

    Examples
    --------
    >>> import numpy as np
    >>> from vaephot.evaluate.floors import cramer_rao
    >>> template = np.full((1, 1, 4), 0.25)
    >>> cramer_rao(template, np.zeros((0, 1, 4)), np.ones((1, 4)))
    array([[2.]])
    """
    T, D = np.asarray(templates, float), np.asarray(derivatives, float)
    n, n_bands = T.shape[:2]
    weight = 1 / np.asarray(variance, float)
    size = n * n_bands
    F = np.zeros((size + len(D),) * 2)
    for b in range(n_bands):
        own = slice(b * n, (b + 1) * n)
        wT = T[:, b] * weight[b]
        F[own, own] = wT @ T[:, b].T
        F[own, size:] = wT @ D[:, b].T
        F[size:, own] = F[own, size:].T
        F[size:, size:] += (D[:, b] * weight[b]) @ D[:, b].T
    if prior_sigma is not None:
        index = np.arange(size, len(F))
        F[index, index] += np.asarray(prior_sigma, float) ** -2
    scale = 1 / np.sqrt(np.maximum(np.diag(F), 1e-300))
    inverse = np.linalg.pinv(F * np.outer(scale, scale), hermitian=True)
    error = np.sqrt(np.maximum(np.diag(inverse)[:size], 0)) * scale[:size]
    return error.reshape(n_bands, n).T


def _derivatives(observed, renderer, k, models, variance):
    """Derivatives of all sources of a blend, and their priors."""
    truth, rows = observed.truth, observed.truth.rows(k)
    position = PRIOR_ARCSEC / observed.pixel_scale
    out, sigma = [], []
    for i, model in zip(range(rows.start, rows.stop), models, strict=True):
        point = bool(truth.is_star[i])
        # the noiseless source with a noise that the fit will not reach
        low = 1e-4 * np.sqrt(np.median(variance, axis=(1, 2)))
        fit = fit_blend(renderer, model, np.zeros(model.shape, bool), low,
                        np.full(len(low), np.inf), truth.xy[i:i + 1],
                        [point], pixel_scale=observed.pixel_scale,
                        max_steps=0 if point else FIT_STEPS)
        radius = max(float(fit['half_light_radius'][0]), 1e-3)
        stack = renderer.render(
            np.r_[truth.xy[i], np.log(radius), fit['eta1'], fit['eta2'],
                  fit['nu']], point=point, derivatives=True)
        n_shapes = 2 if point else N_SHAPES
        out.append(stack[1:1 + n_shapes]
                   * truth.flux[i][:, None, None])
        sigma += [position, position, *PRIOR_SHAPE][:n_shapes]
    return np.concatenate(out), np.array(sigma)


def flux_floors(observed, k, renderer=None):
    """
    Floors of all sources of a blend, as white noise of the true depth.

    Parameters
    ----------
    observed : `~vaephot.evaluate.observed.ObservedBlends`
        Blends with noiseless sources in their truth.
    k : int
        Number of the blend.
    renderer : `~vaephot.evaluate.profiles.ProfileRenderer` or None, optional
        That of the true PSFs, to save time. `None` makes one.

    Returns
    -------
    `~numpy.ndarray`, (n_sources, 3, n_bands)
        ``known``, ``free`` and ``prior``.
    """
    if renderer is None:
        renderer = ProfileRenderer(observed.psf, observed.oversampling,
                                   observed.shape)
    truth, rows = observed.truth, observed.truth.rows(k)
    shape = observed.image.shape[1:]
    models = np.array([_whole(model, shape) for model in truth.models[rows]])
    # what correlated noise amounts to at the depth of the image
    sky = (observed.sky_rms * observed.noise_correlation)[:, None, None]
    photons = np.maximum(clean_image(observed, k), 0)
    variance = sky ** 2 + photons / observed.gain[:, None, None]
    D, sigma = _derivatives(observed, renderer, k, models, variance)
    variance = np.where(observed.mask[k], np.inf, variance)

    def flat(stack):
        return stack.reshape(*stack.shape[:-2], -1)

    templates = flat(models / truth.flux[rows][..., None, None])
    variance = flat(variance)
    nothing = np.zeros((0, *flat(D).shape[1:]))
    return np.stack([cramer_rao(templates, nothing, variance),
                     cramer_rao(templates, flat(D), variance),
                     cramer_rao(templates, flat(D), variance, sigma)],
                    axis=1)


def _whole(model, shape):
    """Source in its box on an image of the whole blend."""
    box, image = model
    out = np.zeros(shape)
    out[:, box.iymin:box.iymax, box.ixmin:box.ixmax] = image
    return out
