# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Looks of the encoder at the sources of a frame.

The first guess is the prior. The encoder sees the sources as they are and
what that guess leaves, and corrects it. Then the light that others were found
to have is taken away before it looks again. As long as a bright source is not
known well, its faint neighbours are given part of its light; so it is at first
seen with these as they are, and only brighter sources are taken away.
"""

from dataclasses import replace

import numpy as np

from vaephot.deblend.encode.stamps import prior_of_sources
from vaephot.deblend.encode.turned import encode_both_ways
from vaephot.deblend.groups import Piece
from vaephot.models.encoder import Gaussian
from vaephot.utils.boxes import overlap

__all__ = ['N_LOOKS', 'common_window', 'first_looks', 'look_again',
           'reference_fitter']

# looks at every source, as many as in the training; and as many as tell which
# sources there are
N_LOOKS = 3
QUICK_LOOKS = 2
# and further ones at sources with neighbours, where no fit follows: with the
# fainter neighbours as they are, and alone
LOOKS_CROWDED = ('fainter', 'fainter', 'fainter', 'none', 'none', 'none')
# sources this many times fainter than another are seen with it
FAINTER = 2.0


def reference_fitter(fitter):
    """
    Fitter of the bands on the pixel grid of the parents.

    Parameters
    ----------
    fitter : `~vaephot.deblend.scene.SceneFitter`
        Of bands on one grid or several.

    Returns
    -------
    `~vaephot.deblend.scene.SceneFitter`
    """
    return getattr(fitter, 'fitters', (fitter,))[0]


def common_window(piece, bbox):
    """
    Pixels that a piece's stamp and a box share.

    Parameters
    ----------
    piece : `~vaephot.deblend.groups.Piece`
        Piece.
    bbox : `~photutils.aperture.BoundingBox`
        Box.

    Returns
    -------
    tuple
        Index of these pixels in the stamp, ``(n_bands, size, size)``, and
        in the image of the box.
    """
    rows = overlap(piece.iy, piece.iy + piece.size, bbox.iymin, bbox.iymax)
    columns = overlap(piece.ix, piece.ix + piece.size, bbox.ixmin,
                      bbox.ixmax)

    def index(iy, ix):
        return np.s_[:, rows.start - iy:rows.stop - iy,
                     columns.start - ix:columns.stop - ix]
    return index(piece.iy, piece.ix), index(bbox.iymin, bbox.ixmin)


class _Light:
    """
    Light of sources on windows about others.

    Parameters
    ----------
    boxes, models : list
        Where the models of sources lie, and these.
    others : sequence of sequence of int
        For each source those whose light is given.
    """

    def __init__(self, boxes, models, others):
        self.boxes = boxes
        self.models = models
        self.others = others

    def __call__(self, band, rows, ix, iy, side):
        """Models on the windows of sources, (n, side, side)."""
        out = np.zeros((len(rows), side, side))
        for image, source, x, y in zip(out, rows, ix, iy, strict=True):
            window = Piece(core=(), halo=(), ix=int(x), iy=int(y),
                           size=side, cropped=False)
            for k in self.others[source]:
                stamp, own = common_window(window, self.boxes[k])
                image[stamp[1:]] += self.models[k][own][band]
        return out


def _fainter(pieces, rows, brightness):
    """For each of some sources those fainter ones it is fitted with."""
    number = {row: i for i, row in enumerate(rows.tolist())}
    out = [[] for _ in number]
    for piece in pieces:
        members = [number[k] for k in piece.members if k in number]
        for k in piece.core:
            if k in number:
                limit = brightness[number[k]] / FAINTER
                out[number[k]] = [i for i in members
                                  if brightness[i] < limit]
    return out


def _look(fitter, sources, is_point, snr, shapes, own_light, **known):
    """Shapes and prior of all sources from the encoder."""
    posterior, prior = encode_both_ways(
        reference_fitter(fitter), sources, snr[:, fitter.image_bands],
        shapes, own_light, **known)
    return tuple(fitter.force_points(g, is_point)
                 for g in (posterior, prior))


def first_guess(fitter, sources, is_point, snr):
    """
    Shapes before any look: the prior.

    Parameters
    ----------
    fitter, sources, is_point, snr
        As for `look_again`.

    Returns
    -------
    `~vaephot.models.encoder.Gaussian`
    """
    if not len(sources):
        return fitter.default_shapes(sources)
    first = reference_fitter(fitter)
    prior = prior_of_sources(first.vae, first.fwhm, sources,
                             snr[:, fitter.image_bands], device=first.device)
    return fitter.force_points(prior, is_point)


def look_again(fitter, sources, pieces, is_point, shapes, snr, image, *,
               rows=None, others='none'):
    """
    Look at sources and at what their models leave.

    Parameters
    ----------
    fitter : `~vaephot.deblend.scene.SceneFitter`
        Observation and networks.
    sources : `~vaephot.deblend.groups.SourceList`
        Sources to look at.
    pieces : list of `~vaephot.deblend.groups.Piece`
        How fluxes are measured; their numbers are rows of ``shapes``.
    is_point : `numpy.ndarray` of bool
        Which of the sources are point sources.
    shapes : `~vaephot.models.encoder.Gaussian`
        Shapes so far.
    snr : `numpy.ndarray`, (n, n_bands)
        Brightness so far.
    image : `numpy.ndarray`, (n_bands, ny, nx)
        Frame with the light of these sources.
    rows : `numpy.ndarray` of int, optional
        Rows of ``shapes`` and ``snr`` that ``sources`` are; by default
        all.
    others : {'none', 'fainter', 'all'}, optional
        Sources whose light is not taken away: those much fainter than the
        one that is looked at, or all of them.

    Returns
    -------
    shapes, prior : `~vaephot.models.encoder.Gaussian`
        Of the sources.
    snr : `numpy.ndarray`, (n, n_bands)
        Their brightness.
    drawn : dict
        Their former shapes, as
        `~vaephot.deblend.images.draw_scene` returns them.
    """
    flux, drawn = fitter.linear_scene(pieces, shapes, snr, rows)
    if rows is not None:
        shapes = Gaussian(*[column[rows] for column in shapes])
    boxes, models = drawn['boxes'], drawn['models']
    snr = fitter.point_snr(shapes, flux)
    kept = None
    if others == 'fainter':
        rows = np.arange(len(snr)) if rows is None else rows
        kept = _Light(boxes, models, _fainter(pieces, rows, snr.max(1)))
    shapes, prior = _look(
        fitter, sources, is_point, snr, shapes,
        _Light(boxes, models, [[k] for k in range(len(snr))]),
        image=image if others == 'all' else image - drawn['model_image'],
        alone=others != 'all', kept_light=kept)
    return shapes, prior, snr, drawn


def _crowded(pieces):
    """Sources that are fitted with others, and their pieces by them."""
    some = [piece for piece in pieces if len(piece.members) > 1]
    rows = np.unique([i for piece in some for i in piece.members]).astype(int)
    number = {row: i for i, row in enumerate(rows.tolist())}
    return rows, [replace(piece, core=tuple(number[i] for i in piece.core),
                          halo=tuple(number[i] for i in piece.halo))
                  for piece in some]


def first_looks(fitter, sources, pieces, is_point):
    """
    Start, prior and brightness of all sources from the encoder.

    At first it sees the sources as they are; then each without the light
    that brighter ones were found to have. Where no fit follows, it looks
    more often at sources with neighbours, in the end at each one alone.

    Parameters
    ----------
    fitter : `~vaephot.deblend.scene.SceneFitter`
        Observation and networks.
    sources : `~vaephot.deblend.groups.SourceList`
        Sources.
    pieces : list of `~vaephot.deblend.groups.Piece`
        What is measured together.
    is_point : `numpy.ndarray` of bool, (n,)
        Sources that are point sources.

    Returns
    -------
    shapes, prior : `~vaephot.models.encoder.Gaussian`
        Positions in the image.
    snr : `numpy.ndarray`, (n, n_bands)
        Brightness that the prior went by.
    """
    snr = fitter.linear_snr(pieces, fitter.default_shapes(sources))
    shapes = first_guess(fitter, sources, is_point, snr)
    image = fitter.observation.data
    for look in range(QUICK_LOOKS if fitter.settings.quick else N_LOOKS):
        shapes, prior, snr, drawn = look_again(
            fitter, sources, pieces, is_point, shapes, snr, image,
            others='fainter' if look else 'all')
    rows, some = _crowded(pieces)
    settings = fitter.settings
    if settings.max_steps or settings.quick or not len(rows):
        return shapes, prior, snr
    rest = image - drawn['model_image']
    for k in rows:
        box = drawn['boxes'][k]
        rest[:, box.iymin:box.iymax, box.ixmin:box.ixmax] += (
            drawn['models'][k])
    subset, points = sources.take(rows), np.asarray(is_point)[rows]
    few, few_snr = Gaussian(*[column[rows] for column in shapes]), snr[rows]
    for others in LOOKS_CROWDED:
        few, few_prior, few_snr, _ = look_again(
            fitter, subset, some, points, few, few_snr, rest, others=others)
    for old, new in zip((*shapes, *prior), (*few, *few_prior), strict=True):
        old[rows] = new
    snr[rows] = few_snr
    return shapes, prior, snr
