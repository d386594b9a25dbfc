# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Fit all sources of an observation, and draw them.

Groups are independent but for the light that their sources throw on each
other. They are fitted first as if there were none; then the model of all
sources is drawn, and groups on which others shine are fitted again without
that light, until it changes no more.
"""

from copy import copy
from dataclasses import replace

import numpy as np

from vaephot.deblend.detect.pixels import Pixels
from vaephot.deblend.fit.asymmetry import may_be_asymmetric
from vaephot.deblend.fit.batches import FIXED_SIGMA, GroupFitter
from vaephot.deblend.fit.common import POINT_LOG_SIZE
from vaephot.deblend.fit.groups import Footprints, make_groups, segment_boxes
from vaephot.deblend.fit.render import SceneDrawer
from vaephot.deblend.scene import Scene
from vaephot.utils.labels import segment_radii

__all__ = ['Engine', 'NeighbourLight']

# light of other groups, over the noise, that asks for another fit
NEIGHBOUR_SIGMA = 0.1
MAX_SWEEPS = 12
# signal-to-noise ratio from which on one step is not enough to tell what is
# under a source: two bright ones on each other need several
QUICK_SNR = 100.0
# change of all fluxes, over their errors, after which nothing is fitted again
LEAST_CHANGE = 0.05


class NeighbourLight:
    """
    Light of all sources but those of a group, over the noise.

    Parameters
    ----------
    drawn : tuple of `~vaephot.deblend.scene.Drawn`
        Models of all sources on each grid.
    where : list of tuple of int
        Number of the grid of each band, and of the band on it.
    units : `numpy.ndarray`, (n_bands,)
        What one stands for in the unit of the data.
    """

    def __init__(self, drawn, where, units):
        self.drawn, self.where, self.units = drawn, where, units

    def __call__(self, band, members, ix, iy, shape):
        """On a rectangle of a band, (height, width) single precision."""
        grid, row = self.where[band]
        drawn = self.drawn[grid]
        known = [k for k in members if k < len(drawn.boxes)]
        light = drawn.others(row, known, ix, iy, shape)
        return (light / self.units[band]).astype(np.float32)


def _rectangle(low, high):
    """First column and row, and shape, between corners (x, y)."""
    x0, y0 = np.floor(low).astype(int).tolist()
    x1, y1 = np.ceil(high).astype(int).tolist()
    return x0, y0, (y1 - y0, x1 - x0)


def _differ(one, two, limit):
    """Whether images of bands, or None for dark ones, differ by a limit."""
    if one is None or two is None:
        one, two = one or two, None
        return one is not None and any(
            np.abs(image).max() > most
            for image, most in zip(one, limit, strict=True))
    return any(np.abs(image - other).max() > most for image, other, most
               in zip(one, two, limit, strict=True))


class Engine:
    """
    Fit and draw the sources of one observation.

    Parameters
    ----------
    observation : `~vaephot.deblend.inputs.observation.Observation` or \
            `~vaephot.deblend.inputs.observation.NativeObservation`
        Images.
    parents : `~photutils.segmentation.SegmentationImage`
        Segments on the reference grid.
    vae : `~vaephot.models.vae.VAE`
        Decoder and prior.
    settings : `~vaephot.deblend.fit.problem.FitSettings`
        How far the fit goes.
    device, batch_size
        As for `~vaephot.deblend.fit.batches.GroupFitter`.
    """

    def __init__(self, observation, parents, vae, settings, *, device='cpu',
                 batch_size=None):
        layers = observation.grids
        self.settings, self.parents, self.vae = settings, parents, vae
        self.observation = observation
        self.pixels = Pixels.of(observation.reference)
        self._noise = [(self.pixels if grid_map is None else Pixels.of(layer),
                        rows, grid_map) for layer, rows, grid_map in layers]
        self.fitter = GroupFitter(layers, vae, settings, device=device,
                                  batch_size=batch_size)
        self.drawer = SceneDrawer(self.fitter, layers)
        self._where = [None] * len(self.fitter.planes)
        for grid, (_, rows, _) in enumerate(layers):
            for i, band in enumerate(np.asarray(rows).tolist()):
                self._where[band] = grid, i
        self._footprints = Footprints(parents, float(self.fwhm.max()))
        self._boxes = segment_boxes(parents)

    # -------------------------------------------------------------- the image
    @property
    def image_bands(self):
        """Numbers of the bands on the reference grid."""
        return np.asarray(self._noise[0][1])

    @property
    def fwhm(self):
        """Widths of the PSFs of all bands in reference pixels."""
        return self.fitter.fwhm

    @property
    def config(self):
        """Sizes of the networks."""
        return self.fitter.config

    def sky_rms(self, xy):
        """Noise of a pixel of each band at positions (n, 2), (n, b)."""
        out = np.empty((len(xy), len(self._where)))
        for pixels, rows, grid_map in self._noise:
            here = xy if grid_map is None else np.stack(
                grid_map(*np.asarray(xy).T), -1)
            out[:, rows] = pixels.sky_rms(here)
        return out

    # -------------------------------------------------------------------- fit
    def quick(self):
        """An engine that fits the same quickly."""
        if self.settings.refine is not True:
            return self
        out = copy(self)
        out.fitter = self.fitter.with_settings(refine=False,
                                               quick_snr=QUICK_SNR)
        out.settings = out.fitter.settings
        return out

    def finish(self, scene):
        """A scene whose quick fits have been brought to convergence."""
        if self.settings.refine is not True or not len(scene):
            return scene
        scene = self._again(scene, scene.groups, joint=True,
                            asymmetric=self.asymmetric(scene.fit))
        return self.settle(scene)

    def groups(self, sources):
        """What is fitted together."""
        return make_groups(sources, self._footprints.group(sources),
                           self._boxes, float(self.fwhm.min()))

    def fit(self, sources, *, start=None, progress=None):
        """
        Fit sources.

        Parameters
        ----------
        sources : `~vaephot.deblend.scene.Sources`
            Where they were found.
        start : `~vaephot.deblend.scene.FitResult`, optional
            Shapes to begin with.
        progress : callable, optional
            Called with the number of sources measured.

        Returns
        -------
        `~vaephot.deblend.scene.Scene`
            Of groups that do not know of each other; `settle` mends that.
        """
        groups = self.groups(sources)
        fit = self.fitter.fit(sources, groups, start=start,
                              progress=progress)
        return Scene(sources=sources, fit=fit, groups=groups,
                     drawn=self.draw(fit))

    def draw(self, fit, rows=slice(None)):
        """Models of sources on each pixel grid."""
        return tuple(self.drawer.draw(fit.band_parameters[rows],
                                      fit.flux[rows], number)
                     for number in range(len(self._noise)))

    def point_parameters(self, xy):
        """Parameters (n, b, p) of point sources at places (n, 2)."""
        out = np.zeros((len(xy), len(self._where), self.config.n_parameters))
        out[..., :2] = np.asarray(xy)[:, None]
        out[..., 2] = POINT_LOG_SIZE
        return out

    def draw_points(self, xy, size, corner):
        """Points of unit flux on stamps (n, n_bands, size, size)."""
        return self.drawer.stamps(self.point_parameters(xy), size, corner)

    def point_image(self, xy, flux):
        """Light of points with fluxes in the bands on the reference grid."""
        fluxes = np.zeros((len(xy), len(self._where)))
        fluxes[:, self.image_bands] = flux
        return self.drawer.draw(self.point_parameters(xy), fluxes).image

    def _light(self, drawn):
        """Light between groups, or None."""
        return drawn and NeighbourLight(drawn, self._where,
                                        self.fitter.units)

    def refit(self, scene, keep, *, added=None):
        """
        Fit again without some of the sources, or with more of them.

        Parameters
        ----------
        scene : `~vaephot.deblend.scene.Scene`
            What was fitted before.
        keep : `numpy.ndarray` of bool, (n,)
            Sources that stay.
        added : `~vaephot.deblend.scene.Sources`, optional
            Sources that are new; they follow the others.

        Returns
        -------
        `~vaephot.deblend.scene.Scene`
            Groups that lost or got nobody are taken over as they are.
        """
        sources = scene.sources.take(keep)
        fit, drawn = scene.fit.take(keep), [d.take(keep) for d in scene.drawn]
        n_old = len(sources)
        if added is not None and len(added):
            sources = self._join(sources, added)
            fit = fit.join(fit.blank(len(added)))
        groups = self.groups(sources)
        same = self._unchanged(scene, keep)
        changed = [group for group in groups if group not in same]
        new = self.fitter.fit(sources, changed, start=fit,
                              known=np.arange(len(sources)) < n_old,
                              light=self._light(tuple(drawn)))
        rows = np.array([k for group in changed for k in group.core], int)
        fit = fit.merge(new, rows)
        seen = {**same, **self._seen(changed, sources, tuple(drawn))}
        drawn = self._redrawn(drawn, fit, rows, n_old)
        lost = np.union1d(scene.rejected, scene.sources.parent[~keep])
        scored = scene.scores is not None and len(sources) == n_old
        return Scene(sources=sources, fit=fit, groups=groups, drawn=drawn,
                     seen=seen, rejected=tuple(lost.astype(int).tolist()),
                     scores=scene.scores[keep] if scored else None)

    def _redrawn(self, drawn, fit, rows, n_old):
        """Models with those of some sources renewed, others behind them."""
        old = np.sort(rows[rows < n_old])
        new = np.arange(n_old, len(fit.flux))
        made = self.draw(fit, np.concatenate([old, new]))
        out = []
        for before, after in zip(drawn, made, strict=True):
            first = np.arange(len(after.boxes)) < len(old)
            out.append(before.merged(after, old).join(after.take(~first)))
        return tuple(out)

    def _join(self, sources, added):
        """Sources and new ones, with their parts of segments renewed."""
        joined = sources.join(added)
        touched = np.isin(joined.parent, added.parent)
        radius = segment_radii(joined.parent, self.parents)
        return replace(joined,
                       radius=np.where(touched, radius, joined.radius))

    @staticmethod
    def _unchanged(scene, keep):
        """Groups that lost nobody, in new numbers, and what they saw."""
        number = np.cumsum(keep) - 1
        out = {}
        for group in scene.groups:
            members = list(group.members)
            if keep[members].all():
                n = len(group.core)
                now = tuple(number[members].tolist())
                out[replace(group, core=now[:n], halo=now[n:])] = (
                    scene.seen.get(group))
        return out

    # -------------------------------------------------------------- asymmetry
    def fit_asymmetry(self, scene):
        """Fit galaxies that no concentric profile describes with asymmetry."""
        if self.settings.refine is not True:
            return scene
        fixed = scene.sources.position_sigma <= FIXED_SIGMA
        free = may_be_asymmetric(self, scene, fixed)
        again = [group for group in scene.groups
                 if free[list(group.core)].any()]
        if not again:
            return scene
        return self.settle(self._again(scene, again, asymmetric=free))

    def as_points(self, scene, rows):
        """A scene with some galaxies (n,) fitted as points."""
        if self.settings.refine == 'network':
            return scene
        sources = replace(scene.sources, is_point=scene.is_point | rows)
        again = [group for group in scene.groups
                 if rows[list(group.members)].any()]
        return self._again(replace(scene, sources=sources), again,
                           known=~rows, asymmetric=self.asymmetric(scene.fit))

    def _again(self, scene, groups, **how):
        """A scene with some groups fitted without the light of others."""
        fit = self.fitter.fit(scene.sources, groups, start=scene.fit,
                              light=self._light(scene.drawn), **how)
        rows = np.array([k for group in groups for k in group.core], int)
        fit = scene.fit.merge(fit, rows)
        seen = {**scene.seen,
                **self._seen(groups, scene.sources, scene.drawn)}
        drawn = self._redrawn(scene.drawn, fit, rows, len(scene))
        return replace(scene, fit=fit, drawn=drawn, seen=seen)

    def fit_alone(self, scene, groups, without):
        """
        Fit hosts with asymmetry, each without one of the other sources.

        ``groups`` of a host each; ``without``: host to the source that is
        left out. Returns a fit whose other rows are empty.
        """
        free = np.zeros(len(scene), bool)
        free[[group.core[0] for group in groups]] = True
        light = self._light(scene.drawn)

        def others(band, members, *where):
            """Light of all but a host and the source in question."""
            host = int(members[0])
            return light(band, (host, without[host]), *where)
        # one step tells as much as convergence does, in a fifth of the time
        quick = self.fitter.with_settings(refine=False, quick_snr=np.inf)
        return quick.fit(scene.sources, groups, start=scene.fit,
                         asymmetric=free, light=others)

    # ----------------------------------------------------------------- settle
    def settle(self, scene):
        """Fit again what other groups shine on, until it does not change."""
        if len(scene.groups) < 2 or self.settings.refine == 'network':
            return scene
        sweeps = MAX_SWEEPS if self.settings.refine else 1
        for _ in range(sweeps):
            again = self._shone_on(scene)
            if not again:
                break
            before = scene.fit
            for part in self._apart(scene, again):
                scene = self._again(scene, part, joint=True,
                                    asymmetric=self.asymmetric(scene.fit))
            change = np.abs(scene.fit.flux - before.flux)
            if (change < LEAST_CHANGE * scene.fit.flux_err).all():
                break
        return scene

    def _shone_on(self, scene):
        """Groups on which other light falls than when they were fitted."""
        now = self._seen(scene.groups, scene.sources, scene.drawn)
        rms = self.fitter.problem(scene.groups,
                                  scene.sources).noise_at_centres()
        return [group for group, limit in zip(
            scene.groups, NEIGHBOUR_SIGMA * rms, strict=True)
            if _differ(scene.seen.get(group), now[group], limit)]

    def _seen(self, groups, sources, drawn):
        """
        Light of others on the regions of groups, by group.

        One image a band over the noise, `None` where all of it is negligible.
        """
        if not groups:
            return {}
        problem, light = self.fitter.problem(groups, sources), self._light(
            drawn)
        low, high = problem.footprints()
        limit = NEIGHBOUR_SIGMA * problem.noise_at_centres()
        out = {}
        for g, group in enumerate(groups):
            images = [light(b, group.members,
                            *_rectangle(low[g, b], high[g, b]))
                      for b in range(len(self._where))]
            out[group] = images if _differ(None, images, limit[g]) else None
        return out

    def _apart(self, scene, groups):
        """
        Parts of some groups that may be fitted at once, faint ones first.

        Neighbours that change together may each take the other's light, and
        again twice as much: one after the other, chi-square only falls. Bright
        ones know least of the light of others before these know theirs.
        """
        low, high = self.fitter.problem(groups, scene.sources).footprints()
        low, high = low.min(1), high.max(1)
        bright = np.array([scene.fit.snr[list(group.core)].max()
                           for group in groups])
        part = np.full(len(groups), -1)
        for g in np.argsort(bright, kind='stable'):
            touch = ((low < high[g]) & (high > low[g])).all(1)
            taken = np.append(part[touch], -1)
            part[g] = np.setdiff1d(np.arange(taken.max() + 2), taken)[0]
        return [[groups[g] for g in np.flatnonzero(part == number)]
                for number in range(part.max() + 1)]

    def asymmetric(self, fit):
        """Sources with asymmetry, (n,)."""
        return (fit.parameters[:, self.config.n_concentric:] != 0).any(1)
