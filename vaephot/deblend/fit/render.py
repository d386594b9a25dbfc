# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Draw fitted sources on the images as the user has them."""

import numpy as np
import torch
from photutils.aperture import BoundingBox

from vaephot.deblend.fit.common import POINT_LOG_SIZE
from vaephot.deblend.fit.draw import PERIODS, make_drawer
from vaephot.deblend.fit.plan import CONCENTRIC, POINT, Batch, Entries
from vaephot.deblend.fit.windows import REACHES, SIDES, Precision
from vaephot.deblend.scene import Drawn, add_model

__all__ = ['SceneDrawer']

# what boxes of models may leave out
DRAWN = Precision(outside=0.15, spectral=0.3, pad=1.25, growth=1.0)
# share of the light that boxes hold in all bands
MIN_ENCLOSED = 0.99
# period of the transforms of stamps over their side
STAMP_PAD = 1.25
# largest frequency of stamps, a number in `REACHES`: no optics passes more
STAMP_REACH = REACHES.index(2.4)
# numbers drawn at once
CHUNK = 2_000_000


def _clip(ix, iy, image, shape):
    """Box inside the frame, and the pixels there."""
    ny, nx = shape
    height, width = image.shape[1:]
    x0, x1 = max(ix, 0), min(ix + width, nx)
    y0, y1 = max(iy, 0), min(iy + height, ny)
    if x0 >= x1 or y0 >= y1:  # outside: the nearest pixel, without light
        x0, y0 = min(max(ix, 0), nx - 1), min(max(iy, 0), ny - 1)
        return (BoundingBox(x0, x0 + 1, y0, y0 + 1),
                np.zeros((len(image), 1, 1), image.dtype))
    return (BoundingBox(x0, x1, y0, y1),
            image[:, y0 - iy:y1 - iy, x0 - ix:x1 - ix])


class SceneDrawer:
    """
    Draw sources on the pixel grids of an observation.

    Parameters
    ----------
    fitter : `~vaephot.deblend.fit.batches.GroupFitter`
        Decoder, PSFs and maps.
    layers : list of tuple
        As for the fitter.
    """

    def __init__(self, fitter, layers):
        self.fitter = fitter
        self.layers = layers
        self.bands = fitter.bands.unbinned()

    def draw(self, parameters, flux, number=0):
        """
        Draw sources on one pixel grid.

        Parameters
        ----------
        parameters : `numpy.ndarray`, (n, b, p)
            Of the sources in all bands, positions in the reference grid.
        flux : `numpy.ndarray`, (n, b)
            In units of the data.
        number : int, optional
            Number of the grid.

        Returns
        -------
        Drawn
        """
        observation, rows, _ = self.layers[number]
        shape = observation.data.shape[1:]
        boxes, models, truncated = [], [], []
        image = np.zeros((len(rows), *shape))
        step = 500
        for start in range(0, len(flux), step):
            part = slice(start, start + step)
            for values, new in zip(
                    (boxes, models, truncated),
                    self._stamps(parameters[part], flux[part],
                                 np.asarray(rows), shape), strict=True):
                values.extend(new)
        for box, model in zip(boxes, models, strict=True):
            add_model(image, box, model)
        return Drawn(boxes, models, np.array(truncated, bool), image)

    def stamps(self, parameters, size, corner):
        """
        Unit-flux images (n, n_bands, size, size) on the reference grid.

        Of sources (n, b, p), from the pixels ``corner`` (n, 2) on, with all
        frequencies.
        """
        rows = np.asarray(self.layers[0][1])
        batch, local = self._batch(parameters)
        used = torch.zeros(len(local), len(self.fitter.maps),
                           dtype=torch.bool, device=self.fitter.device)
        used[:, rows] = True
        entries = Entries(batch, used)
        corner = torch.as_tensor(corner, device=self.fitter.device)
        images = corner.new_zeros(len(entries), size * size,
                                  dtype=torch.float32)
        need = STAMP_PAD * size
        with torch.inference_mode():
            shapes = entries.shapes(local, self.fitter.decoder, steep=False)
            kind = self.bands.kind[entries.band]
            for number in kind.unique().tolist():
                entry = torch.nonzero(kind == number)[:, 0]
                _, *how = self.bands.drawing(number, 0, 0, STAMP_REACH)
                how[1] = next(p for p in PERIODS if p >= need)
                drawer = make_drawer(size, *how)
                for what in entries.kind[entry].unique().tolist():
                    some = entry[entries.kind[entry] == what]
                    images[some] = self._template(drawer, what, some,
                                                  entries, shapes, corner)
        return images.view(len(local), len(rows), size,
                           size).cpu().double().numpy()

    def _stamps(self, parameters, flux, rows, shape):
        """Boxes, models and truncation of some sources, three lists."""
        batch, local = self._batch(parameters)
        used = torch.zeros(len(flux), len(self.fitter.maps),
                           dtype=torch.bool, device=self.fitter.device)
        used[:, rows] = True
        entries = Entries(batch, used)
        with torch.inference_mode():
            shapes = entries.shapes(local, self.fitter.decoder, steep=False)
            bright = self._bright(entries, shapes, flux)
            number = self._sides(entries, shapes, local, bright)
            place = shapes.place.view(len(flux), len(rows), 2)[:, 0]
            corner = torch.round(place).long() - torch.tensor(
                SIDES, device=place.device)[number][:, None] // 2
            images = self._images(entries, shapes, bright, number, corner,
                                  len(rows))
        return self._clipped(images, corner.cpu().numpy(),
                             flux[:, rows], shape)

    def _batch(self, parameters):
        """Each source as a group, and its parameters (n, b, 1, p)."""
        fitter = self.fitter
        local = torch.as_tensor(parameters, device=fitter.device)[:, :, None]
        maps, places = fitter.maps_at(parameters[:, 0, :2])
        n_concentric = fitter.config.n_concentric
        waved = (local[..., n_concentric:] != 0).any(3).any(1)
        if not waved.any():
            local = local[..., :n_concentric]
        point = local[:, 0, :, 2] <= POINT_LOG_SIZE
        every = torch.ones_like(local[:, 0], dtype=torch.bool)
        return Batch(members=np.arange(len(local))[:, None],
                     psf_places=places, maps=maps, real=every[..., 0],
                     point=point, asymmetric=waved, free=every), local

    def _bright(self, entries, shapes, flux):
        """Fluxes over the noise of a pixel of entries, (e,)."""
        band = entries.band.cpu().numpy()
        place = shapes.place.cpu().numpy()
        rms = np.empty(len(band))
        for b in np.unique(band):
            here = band == b
            rms[here] = self.fitter.planes[b].rms(*place[here].T)
        units = self.fitter.units[band] * rms
        values = np.abs(flux[entries.group.cpu().numpy(), band]) / units
        return torch.as_tensor(np.nan_to_num(values), dtype=torch.float32,
                               device=self.fitter.device)

    def _sides(self, entries, shapes, local, bright):
        """Number in `SIDES` of each source's box, (n,)."""
        chooser = self.bands.chooser
        radius = entries.radius(local)
        number = torch.maximum(
            chooser.sides(shapes.mixture, radius, bright, entries.band,
                          DRAWN),
            chooser.enclosing(shapes.mixture, radius, entries.band,
                              1 - MIN_ENCLOSED))
        return number.view(len(local), -1).amax(1)

    def _images(self, entries, shapes, bright, number, corner, n_bands):
        """Unit-flux images (m, n_bands, w, w) by side, with their rows."""
        group = entries.group
        side = torch.tensor(SIDES, device=group.device)[number][group]
        reach = self.bands.chooser.reaches(
            shapes.mixture, bright, entries.band, side, DRAWN)
        out = {}
        for value in number.unique().tolist():
            rows = torch.nonzero(number == value)[:, 0]
            width = SIDES[value]
            images = shapes.place.new_zeros(
                len(rows) * n_bands, width * width, dtype=torch.float32)
            entry = (rows[:, None] * n_bands + torch.arange(
                n_bands, device=rows.device)).ravel()
            self._fill(images, entry, entries, shapes, corner, value, reach)
            out[value] = rows, images.view(len(rows), n_bands, width, width)
        return out

    def _fill(self, images, entry, entries, shapes, corner, side, reach):
        """Draw entries of one side into (m, w * w)."""
        band = self.bands.kind[entries.band[entry]]
        key = torch.stack([band, reach[entry], entries.kind[entry]], 1)
        need = SIDES[side] * DRAWN.pad
        for kind, number, what in key.unique(dim=0).tolist():
            some = torch.nonzero((key == torch.tensor(
                [kind, number, what], device=key.device)).all(1))[:, 0]
            binning = int(self.bands.binning[entries.band[entry[some[0]]]])
            period = next(i for i, p in enumerate(PERIODS)
                          if p >= need / binning)
            drawer = make_drawer(*self.bands.drawing(kind, side, period,
                                                     number))
            step = max(1, CHUNK // max(12 * drawer.quadratic.shape[1],
                                       drawer.side ** 2))
            for i in range(0, len(some), step):
                part = some[i:i + step]
                images[part] = self._template(drawer, what, entry[part],
                                              entries, shapes, corner)

    def _template(self, drawer, kind, entry, entries, shapes, corner):
        """Unit-flux images of entries, (m, w * w)."""
        mixture = None
        if kind != POINT:
            mixture = shapes.mixture.take(entry)
            if kind == CONCENTRIC:
                mixture = mixture._replace(structure=None)
        group = entries.group[entry]
        transfer = self.bands.transfers(
            (group, entries.band[entry]), entries.batch.psf_places,
            drawer.grid)
        place = shapes.place[entry] - corner[group]
        return drawer.template(mixture, transfer, place)[0]

    @staticmethod
    def _clipped(images, corner, flux, shape):
        """Boxes in the frame, models, and whether light is missing."""
        n = len(flux)
        boxes, models, truncated = [None] * n, [None] * n, [False] * n
        for value, (rows, stamps) in images.items():
            stamps = stamps.cpu().numpy()
            if value == len(SIDES) - 1:
                short = (stamps.sum((2, 3)) < MIN_ENCLOSED).any(1)
            else:
                short = np.zeros(len(stamps), bool)
            for row, stamp, lost in zip(rows.tolist(), stamps,
                                        short.tolist(), strict=True):
                light = stamp * flux[row].astype(np.float32)[:, None, None]
                boxes[row], models[row] = _clip(*corner[row].tolist(), light,
                                                shape)
                truncated[row] = lost
        return boxes, models, truncated
