# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""photutils' catalog of sources whose images overlap."""

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.units import Quantity
from astropy.utils import lazyproperty
from photutils.segmentation import SegmentationImage, SourceCatalog

from vaephot.utils.frames import pick_band

__all__ = ['DeblendedSourceCatalog', 'make_source_catalog']

# lazy properties that do not hold one value for each source
_NOT_PER_SOURCE = {'isscalar', 'n_labels', '_slices_iter',
                   '_kron_photometry'}
# part of its peak above which a source outside all parents is measured
LOOSE_THRESHOLD = 0.01
# boxes are kept apart by this part of their size, for the apertures
MARGIN = 0.25


def _join(parts):
    """Values of several catalogs one after the other."""
    if any(part is None for part in parts):
        return None
    if all(isinstance(part, SkyCoord) for part in parts):
        angles = [np.concatenate([getattr(part.spherical, axis)
                                  for part in parts])
                  for axis in ('lon', 'lat')]
        return SkyCoord(*angles, frame=parts[0].frame.replicate_without_data(
            copy=True))
    if all(isinstance(part, np.ndarray) for part in parts):
        return np.concatenate(parts)
    return [value for part in parts for value in part]


class DeblendedSourceCatalog(SourceCatalog):
    """
    Catalog of sources that each have an image of their own.

    It behaves like any `~photutils.segmentation.SourceCatalog`, with one
    row for each source; cutouts of the data that are asked for by shape
    show the image with all sources.

    Parameters
    ----------
    layers : list of `~photutils.segmentation.SourceCatalog`
        Catalogs of images in which sources do not overlap.
    data : array, (ny, nx)
        The image with all sources.
    **kwargs
        Passed on to `~photutils.segmentation.SourceCatalog`.
    """

    def __init__(self, layers, data, **kwargs):
        super().__init__(data, layers[0]._segmentation_image, **kwargs)
        self._layers = layers
        labels = np.concatenate([layer.labels for layer in layers])
        order = np.argsort(labels)
        self._labels = labels[order]
        slices = [window for layer in layers for window in layer.slices]
        self._slices = [slices[i] for i in order]

    def __getitem__(self, index):
        out = super().__getitem__(index)
        out._layers = self._layers
        return out

    def _pick(self, parts):
        """Values of all layers, in the order of the labels."""
        values = _join(parts)
        if values is None:
            return None
        known = np.concatenate([layer.labels for layer in self._layers])
        place = {int(label): i for i, label in enumerate(known)}
        rows = [place[int(label)] for label in np.atleast_1d(self._labels)]
        if isinstance(values, list):
            return [values[i] for i in rows]
        return values[rows]

    def _gather(self, name):
        """Lazy property of all layers."""
        values = self._pick([getattr(layer, name) for layer in self._layers])
        if self.isscalar and values is not None and not name.startswith('_'):
            return values[0]
        return values

    def _measure(self, method, *args):
        """Result of a method of all layers, an array or a tuple of two."""
        parts = [getattr(layer, method)(*args) for layer in self._layers]
        pairs = isinstance(parts[0], tuple)
        columns = list(zip(*parts, strict=True)) if pairs else [parts]
        values = [self._pick(list(column)) for column in columns]
        if self.isscalar:
            values = [value[0] for value in values]
        return tuple(values) if pairs else values[0]

    def _add(self, name, values, overwrite):
        """Keep the fluxes of an aperture under a name."""
        if name is not None:
            for suffix, value in zip(('flux', 'flux_err'), values,
                                     strict=True):
                self.add_property(f'{name}_{suffix}', value,
                                  overwrite=overwrite)

    def select_label(self, label):
        """
        Catalog of one source.

        Parameters
        ----------
        label : int
            Its label.

        Returns
        -------
        `DeblendedSourceCatalog`
            A scalar catalog.
        """
        return self[self._rows([label])[0]]

    def select_labels(self, labels):
        """
        Catalog of some sources.

        Parameters
        ----------
        labels : array-like of int
            Their labels.

        Returns
        -------
        `DeblendedSourceCatalog`
            In the order of the labels.
        """
        return self[self._rows(np.atleast_1d(labels))]

    def _rows(self, labels):
        """Rows of labels of a catalog that is not scalar."""
        place = {int(label): i for i, label in enumerate(self._labels)}
        bad = [label for label in labels if int(label) not in place]
        if bad:
            msg = (f'label {bad[0]} is invalid; the labels are '
                   f'{list(place)}.')
            raise ValueError(msg)
        return [place[int(label)] for label in labels]

    def circular_photometry(self, radius, name=None, overwrite=False):
        """
        Measure in circles around the centroids.

        Parameters
        ----------
        radius : float
            Radius in pixels.
        name : str or None, optional
            Prefix of properties to keep the values in.
        overwrite : bool, optional
            Whether to replace properties of that name.

        Returns
        -------
        flux, flux_err : float or `numpy.ndarray`
            Fluxes and errors.
        """
        values = self._measure('circular_photometry', radius)
        self._add(name, values, overwrite)
        return values

    def kron_photometry(self, kron_params, name=None, overwrite=False):
        """
        Measure in Kron ellipses.

        Parameters
        ----------
        kron_params : list of float
            As in `~photutils.segmentation.SourceCatalog`.
        name : str or None, optional
            Prefix of properties to keep the values in.
        overwrite : bool, optional
            Whether to replace properties of that name.

        Returns
        -------
        flux, flux_err : float or `numpy.ndarray`
            Fluxes and errors.
        """
        values = self._measure('kron_photometry', kron_params)
        self._add(name, values, overwrite)
        return values

    def flux_radius(self, fraction, name=None, overwrite=False):
        """
        Radius of the circle that holds a part of the Kron flux.

        Parameters
        ----------
        fraction : float
            The part, more than 0 and up to 1.
        name : str or None, optional
            Property to keep the values in.
        overwrite : bool, optional
            Whether to replace a property of that name.

        Returns
        -------
        float or `numpy.ndarray`
            Radii in pixels.
        """
        values = self._measure('flux_radius', fraction)
        if name is not None:
            self.add_property(name, values, overwrite=overwrite)
        return values


def _gathering(name):
    """Lazy property that collects the values of the layers."""
    def gather(self):
        return self._gather(name)

    gather.__name__ = name
    gather.__doc__ = getattr(SourceCatalog, name).__doc__
    return lazyproperty(gather)


for _name in dir(SourceCatalog):
    if isinstance(getattr(SourceCatalog, _name, None), lazyproperty) \
            and _name not in _NOT_PER_SOURCE:
        setattr(DeblendedSourceCatalog, _name, _gathering(_name))


def _segments(result):
    """Box, label and pixels of each source that has pixels to measure."""
    # labels may have 64 bits, without a sign
    number = {0: 0}
    for source in result:
        number.setdefault(source.parent_label, len(number))
    parents, found = _parents(result, number), []
    for source in result:
        region = parents[source.slices] == number[source.parent_label]
        if source.parent_label == 0:
            model = getattr(source.model, 'value', source.model)
            stack = model if result.is_2d else model.sum(0)
            region &= stack > LOOSE_THRESHOLD * stack.max()
        if region.any():
            found.append((source, region))
    return found


def _parents(result, number):
    """Numbers of the parents in the input, for the pixels of sources."""
    segm = result.segmentation_image
    parents = np.zeros(segm.shape, int)
    parent_of = {source.label: number[source.parent_label]
                 for source in result}
    for label, window in zip(segm.labels.tolist(), segm.slices, strict=True):
        # a segment that was passed through without a row is nobody's
        parents[window][segm.data[window] == label] = parent_of.get(label,
                                                                    -1)
    return parents


def _split_into_layers(boxes):
    """Number of the layer of each box; boxes in one layer are apart."""
    edges = np.array([(box.ixmin, box.ixmax, box.iymin, box.iymax)
                      for box in boxes], float)
    margin = MARGIN * np.maximum(edges[:, 1] - edges[:, 0],
                                 edges[:, 3] - edges[:, 2])
    edges += np.outer(margin, [-1, 1, -1, 1])
    layer = np.full(len(boxes), -1)
    for i, (x0, x1, y0, y1) in enumerate(edges):
        before = edges[:i]
        touches = ((before[:, 0] < x1) & (before[:, 1] > x0)
                   & (before[:, 2] < y1) & (before[:, 3] > y0))
        used = set(layer[:i][touches].tolist())
        layer[i] = next(k for k in range(i + 1) if k not in used)
    return layer


def _layer_images(found, shape, pick, dtype):
    """Image and segmentation of the sources of one layer."""
    data, labels = np.zeros(shape), np.zeros(shape, dtype)
    for source, region in found:
        image = pick(getattr(source.image, 'value', source.image))
        data[source.slices] = image
        labels[source.slices][region] = source.label
    return data, SegmentationImage(labels)


def _check_options(result, options):
    """Raise if an option cannot be used with images of single sources."""
    if options.get('convolved_data') is not None:
        msg = ('convolved_data cannot be used: each source is measured on '
               'an image of its own.')
        raise TypeError(msg)
    if result.on_own_grids and options.get('detection_catalog') is not None:
        msg = ('detection_catalog cannot be used where each band has a '
               'pixel grid of its own: its apertures are in pixels.')
        raise ValueError(msg)


def _found_segments(result):
    """Sources and their segments; an error if there are none."""
    found = _segments(result)
    if not found:
        msg = (f'none of the {len(result)} sources has a pixel to measure; '
               'a catalog needs at least one.')
        raise ValueError(msg)
    return found


def make_source_catalog(result, band=None, **kwargs):
    """
    Measure each source of a result with photutils, on its own image.

    Parameters
    ----------
    result : `~vaephot.results.result.DeblendResult`
        The sources.
    band : str, int or None, optional
        Name or number of the band; `None` is the first.
    **kwargs
        Passed on to `~photutils.segmentation.SourceCatalog`.

    Returns
    -------
    `DeblendedSourceCatalog`
        One row for each source that has pixels to measure, by label.

    Raises
    ------
    TypeError
        If a convolved image is given: it would hold all sources.
    ValueError
        If there is no source to measure, or a detection catalog is given
        for bands on pixel grids of their own.
    """
    _check_options(result, kwargs)
    if result.on_own_grids:
        return make_source_catalog(result.band(band), **kwargs)
    index = result.band_index(band)

    def pick(frame):
        return pick_band(frame, index, result.bands[index])
    shape = result.data.shape[-2:]
    found = _found_segments(result)
    unit = 1 if result.unit is None else result.unit
    error = pick(result.error)
    if error is not None:
        error = np.broadcast_to(error, shape, subok=True)
    kwargs = {'error': error, 'mask': pick(result.mask), 'wcs': result.wcs,
              **kwargs}
    detection = kwargs.pop('detection_catalog', None)
    number = _split_into_layers([source.bbox for source, _ in found])
    layers = []
    for k in range(number.max() + 1):
        members = [found[i] for i in np.flatnonzero(number == k)]
        data, segm = _layer_images(members, shape, pick, int)
        layers.append(SourceCatalog(
            Quantity(data, unit) if unit != 1 else data, segm, **kwargs,
            detection_catalog=None if detection is None
            else detection._layers[k]))
    return DeblendedSourceCatalog(layers, pick(result.data), **kwargs)
