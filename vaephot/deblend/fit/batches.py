# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Fit groups of sources in batches, each group by itself."""

import os
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import replace

import numpy as np
import torch

from vaephot.deblend.fit.bands import Bands
from vaephot.deblend.fit.canvas import Plane
from vaephot.deblend.fit.collect import fill
from vaephot.deblend.fit.common import CommonFit, default_shapes
from vaephot.deblend.fit.joint import JointFit
from vaephot.deblend.fit.plan import Batch
from vaephot.deblend.fit.problem import Problem
from vaephot.deblend.scene import empty_result
from vaephot.models.config import N_EXPLICIT

__all__ = ['FIXED_SIGMA', 'GroupFitter']

# entries of a batch on a processor and elsewhere
BATCH_ENTRIES = {'cpu': 2400, 'other': 100_000}
# least entries of a batch of many that are fitted at once
MIN_ENTRIES = 400
# entries with asymmetry count as so many
ASYMMETRIC_COST = 3
# prior 1-sigma of positions that must not move, in pixels
FIXED_SIGMA = 1e-3


def _plane(observation, i, binning):
    """Band of an observation in units of its noise."""
    good = ~observation.mask[i]
    variance = (observation.variance[i].astype(float)
                * observation.noise_correlation[i] ** 2)
    if variance.size == 1:
        level = float(variance[0, 0])
    else:
        level = float(np.median(variance[good])) if good.any() else 1.0
        variance = np.where(good, variance, level)
    unit = np.sqrt(level)
    gain = None if observation.gain is None else observation.gain[i]
    return Plane(
        data=np.where(good, observation.data[i] / unit, 0).astype(
            np.float32),
        good=good.view(np.uint8),
        variance=(variance / level).astype(np.float32),
        inverse_gain=0.0 if gain is None else 1 / (gain * unit), unit=unit,
        binning=binning)


def _map(function, items, n_workers):
    """Results in the order of the items, of some threads."""
    if n_workers == 1 or len(items) < 2:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(min(n_workers, len(items))) as pool:
        yield from pool.map(function, items)


def _not_done(fit):
    """Numbers of the groups of a fit that need more steps."""
    return torch.nonzero(~fit.trust.done)[:, 0]


def _single(decoder, config, device):
    """Copy of a decoder in single precision."""
    out = type(decoder)(config)
    out.load_state_dict(decoder.state_dict())
    return out.to(device=device, dtype=torch.float32).requires_grad_(False)


class GroupFitter:
    """
    Fit groups of one observation.

    Parameters
    ----------
    layers : list of tuple
        Of each pixel grid: the observation, the numbers of its bands, and
        the map from the reference grid to it
        (`~vaephot.utils.grids.GridMap`) or `None`.
    vae : `~vaephot.models.vae.VAE`
        Decoder and prior.
    settings : `~vaephot.deblend.fit.problem.FitSettings`
        How far the fit goes.
    device : str
        Torch device.
    batch_size : int or None
        Groups fitted at once.
    """

    def __init__(self, layers, vae, settings, *, device='cpu',
                 batch_size=None):
        self.settings, self.device = settings, device
        self.batch_size = batch_size
        self.vae, self.config = vae, vae.config
        self.decoder = _single(vae.decoder, vae.config, device)
        self.between = torch.diagonal(vae.prior.band_precision()).to(device)
        self._set_bands(layers)

    def with_settings(self, **changes):
        """The same fitter with other settings."""
        out = copy(self)
        out.settings = replace(self.settings, **changes)
        return out

    def _set_bands(self, layers):
        """PSFs, planes and maps, in the order of the bands."""
        where = sorted((int(band), observation, i, grid_map)
                       for observation, rows, grid_map in layers
                       for i, band in enumerate(rows))
        self.maps = [grid_map for *_, grid_map in where]
        self.bands = Bands(
            [observation.psfs[i] for _, observation, i, _ in where],
            [observation.data.shape[1:] for _, observation, _, _ in where],
            self.device)
        self.planes = [
            _plane(observation, i, int(binning))
            for (_, observation, i, _), binning in zip(
                where, self.bands.binning, strict=True)]
        self.units = np.array([plane.unit for plane in self.planes])
        ny, nx = layers[0][0].data.shape[1:]
        scale = [1.0 if grid_map is None else np.sqrt(abs(np.linalg.det(
            grid_map.affine([(nx - 1) / 2], [(ny - 1) / 2])[0][0])))
            for grid_map in self.maps]
        self.fwhm = self.bands.fwhm / scale

    # --------------------------------------------------------------- batches
    def _batches(self, groups, asymmetric, n_workers=1):
        """Groups with equal numbers of sources, in batches."""
        keys = [(bool(asymmetric[list(g.members)].any()), len(g.members))
                for g in groups]
        order = sorted(range(len(groups)), key=lambda i: (keys[i], i))
        room = BATCH_ENTRIES['cpu' if self.device == 'cpu' else 'other']
        if n_workers > 1:
            total = len(self.planes) * sum(len(g.members) for g in groups)
            room = min(room, max(MIN_ENTRIES, total // (3 * n_workers)))
        batch, last = [], None
        for i in order:
            size = max(1, room // (len(self.planes) * keys[i][1]
                                   * (ASYMMETRIC_COST if keys[i][0] else 1)))
            size = self.batch_size or size
            if batch and (keys[i] != last or len(batch) >= size):
                yield batch
                batch = []
            batch.append(groups[i])
            last = keys[i]
        if batch:
            yield batch

    def _n_workers(self):
        """Batches that are fitted at once: cores that torch leaves free."""
        if self.device != 'cpu':
            return 1
        cores = (len(os.sched_getaffinity(0))
                 if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1)
        return max(1, cores // torch.get_num_threads())

    def problem(self, groups, sources, asymmetric=None, light=None):
        """The fit of some groups."""
        width = max(len(g.members) for g in groups)
        members = np.full((len(groups), width), -1)
        for row, group in zip(members, groups, strict=True):
            row[:len(group.members)] = group.members
        real = members >= 0
        xy = np.stack([sources.x, sources.y], 1)[members]
        sigma = np.where(real, sources.position_sigma[members], 1.0)
        waved = (np.zeros_like(real) if asymmetric is None
                 else asymmetric[members] & real)
        spans = np.array([group.span for group in groups])
        n = (self.config.n_parameters if waved.any()
             else self.config.n_concentric)
        point = sources.is_point[members] & real
        free = np.repeat(real[..., None], n, 2)
        free[..., :2] &= (sigma > FIXED_SIGMA)[..., None]
        free[..., 2:] &= ~point[..., None]
        free[..., self.config.n_concentric:] &= waved[..., None]
        maps, places = self.maps_at((spans[:, ::2] + spans[:, 1::2]) / 2)

        def tensor(values):
            return torch.as_tensor(values, device=self.device)
        batch = Batch(members=members, psf_places=places, maps=maps,
                      real=tensor(real), point=tensor(point),
                      asymmetric=tensor(waved), free=tensor(free))
        return Problem(
            batch=batch, spans=spans, xy=tensor(np.where(
                real[..., None], xy, 0.0)), position_sigma=tensor(sigma),
            planes=self.planes, bands=self.bands, decoder=self.decoder,
            prior=self.vae.prior, settings=self.settings, fwhm=self.fwhm,
            light=light)

    def maps_at(self, centre):
        """Affine maps of groups at (g, 2) to the bands, places of PSFs."""
        maps, places = [], []
        for grid_map in self.maps:
            if grid_map is None:
                maps.append(None)
                places.append(centre)
                continue
            matrix, offset = grid_map.affine(*centre.T)
            places.append(np.einsum('nij,nj->ni', matrix, centre) + offset)
            maps.append(tuple(torch.as_tensor(v, device=self.device)
                              for v in (matrix, offset)))
        return tuple(maps), self.bands.psf_places(np.stack(places, 1))

    # ------------------------------------------------------------------- fit
    def fit(self, sources, groups, *, start=None, known=None,
            joint=False, asymmetric=None, light=None, progress=None):
        """
        Fit groups, each by itself.

        Parameters
        ----------
        sources : `~vaephot.deblend.scene.Sources`
            All sources.
        groups : list of `~vaephot.deblend.fit.groups.Group`
            What is fitted together.
        start : `~vaephot.deblend.scene.FitResult`, optional
            Fit of all sources to begin with; by default shapes of the
            prior.
        known : `numpy.ndarray` of bool, (n,), optional
            Sources that ``start`` knows; by default all.
        joint : bool, optional
            Whether to begin with all bands, as ``start`` has them.
        asymmetric : `numpy.ndarray` of bool, (n,), optional
            Galaxies whose asymmetry is free.
        light : callable, optional
            Light of other sources, as `NeighbourLight`.
        progress : callable, optional
            Called with the number of sources measured.

        Returns
        -------
        `~vaephot.deblend.scene.FitResult`
            Rows of sources in no core are empty.
        """
        n = len(sources)
        asymmetric = np.zeros(n, bool) if asymmetric is None else asymmetric
        known = np.full(n, start is not None) if known is None else known
        out = empty_result(n, len(self.planes), self.config.n_parameters)
        n_workers = self._n_workers()
        batches = list(self._batches(groups, asymmetric, n_workers))

        def work(some):
            """Fit one batch."""
            problem = self.problem(some, sources, asymmetric, light)
            with torch.inference_mode():
                return problem.batch.members, self._fit(problem, start,
                                                        known, joint)
        for some, (members, found) in zip(
                batches, _map(work, batches, n_workers), strict=True):
            cores = np.array([len(group.core) for group in some])
            fill(out, cores, members, found)
            if progress is not None:
                progress(int(cores.sum()))
        latent = slice(N_EXPLICIT, self.config.n_concentric)
        apart = out.parameters[:, latent] - out.prior_mean[:, latent]
        return replace(out, prior_distance=(apart ** 2).sum(1))

    def _fit(self, problem, start, known, joint):
        """Both phases, or the second; arrays over groups and places."""
        refine = self.settings.refine
        if joint or refine == 'network':
            shape, flux = self._former(problem, start)
        else:
            shape, flux = self._common(problem, start, known)
        fit = JointFit(problem, shape, flux, self.between[:shape.shape[-1]])
        if refine is True:
            fit.run()
            self._converge(problem, fit, _not_done(fit))
        elif refine is False:
            self._leap(problem, fit)
        else:
            fit.trust.done[:] = True
        return self._found(problem, fit)

    def _converge(self, problem, fit, left):
        """Step until some groups are done, each time with new curvature."""
        problem = replace(problem, settings=replace(problem.settings,
                                                    refine=True))
        for _ in range(self.settings.max_restarts):
            if not len(left):
                break
            k = fit.local.shape[2]
            again = JointFit(problem.take(left), fit.local[left],
                             fit.flux[left][..., :k], fit.between)
            again.run()
            fit.replace(left, again)
            left = _not_done(fit)

    def _leap(self, problem, fit):
        """Take one step; groups too bright for that are fitted to the end."""
        bright = self._too_bright(problem, fit)
        local, flux = fit.local[bright], fit.flux[bright]
        fit.leap()
        fit.local[bright], fit.flux[bright] = local, flux
        self._converge(problem, fit, bright)

    def _too_bright(self, problem, fit):
        """Groups with sources too bright for a quick fit."""
        k = fit.local.shape[2]
        snr = problem.point_snr(fit.flux[..., :k],
                                problem.noise(fit.local[:, 0, :, :2]))
        bright = snr.flatten(1).amax(1) > self.settings.quick_snr
        return torch.nonzero(bright)[:, 0]

    def _common(self, problem, start, known):
        """Shapes (g, k, p) and fluxes (g, b, k) of the first phase."""
        local = default_shapes(problem)
        members = problem.batch.members
        known = torch.as_tensor(known[members], device=self.device)
        known &= problem.batch.real
        if known.any():
            former = torch.as_tensor(
                start.parameters[members][..., :local.shape[-1]],
                device=self.device)
            local = torch.where(known[..., None], former, local)
        return CommonFit(problem, local, known=known).run()[:2]

    def _former(self, problem, start):
        """Shapes (g, b, k, p) and fluxes (g, b, k) of a former fit."""
        batch = problem.batch
        n_par = batch.free.shape[-1]
        shape = start.band_parameters[batch.members][..., :n_par]
        flux = start.flux[batch.members] / self.units
        real = batch.real[:, None]
        shape, flux = (torch.as_tensor(v, device=self.device).transpose(1, 2)
                       for v in (shape, flux))
        return (torch.where(real[..., None], shape, 0.0),
                torch.where(real, flux, 0.0))

    def _found(self, problem, fit):
        """What a fit found, in units of the data."""
        k = fit.local.shape[2]
        noise = problem.noise(fit.local[:, 0, :, :2])
        flux = fit.flux[..., :k]
        units = torch.as_tensor(self.units, device=flux.device)
        return {name: values.cpu().numpy() for name, values in {
            'parameters': fit.common(fit.local),
            'band_parameters': fit.local.transpose(1, 2),
            'flux': (flux * units[:, None]).transpose(1, 2),
            'snr': problem.point_snr(flux, noise).transpose(1, 2),
            'prior_mean': fit.mean, 'prior_precision': fit.precision,
            'converged': fit.trust.done[:, None].expand(-1, k),
            'covariance': self._in_data_units(
                fit.covariance(), k * fit.local.shape[3]),
        }.items()}

    def _in_data_units(self, covariance, n_shape):
        """Covariances with fluxes and backgrounds in units of the data."""
        n_flux = covariance.shape[-1] - n_shape
        scale = covariance.new_ones(covariance.shape[-1])
        scale[:n_flux] = torch.as_tensor(self.units).repeat_interleave(
            n_flux // len(self.units))
        return covariance * scale[:, None] * scale
