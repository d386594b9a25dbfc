# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
import torch

from vaephot.deblend.batches import PLACES, Batches, Layer, Run, Stamps
from vaephot.deblend.groups import Piece
from vaephot.deblend.optics import Optics
from vaephot.models.encoder import Gaussian

SHAPE = (70, 110)
N_PARAMETERS = 7
N_CONCENTRIC = 5


def _piece(core, halo=(), *, ix=0, iy=0, size=32):
    return Piece(core=tuple(core), halo=tuple(halo), ix=ix, iy=iy, size=size,
                 cropped=False)


@pytest.fixture
def make_layer(gaussian_band, make_observation):
    """Return a function that makes a layer of two bands of noise."""
    def make(**options):
        data = np.random.default_rng(4).normal(0, 1, (2, *SHAPE))
        psfs = [gaussian_band(1.2), gaussian_band(1.6)]
        observation = make_observation(data, psfs, **options)
        return Layer(observation, observation.variance, Optics(psfs, SHAPE))
    return make


@pytest.fixture
def make_batches(make_layer):
    """Return a function that makes what makes batches of a layer."""
    def make(batch_size=None, **options):
        return Batches(make_layer(**options), torch.eye(N_PARAMETERS),
                       N_CONCENTRIC, dtype=torch.float64,
                       batch_size=batch_size)
    return make


def _shapes(n):
    mean = np.random.default_rng(2).uniform(0, 40, (n, N_PARAMETERS))
    mean = torch.as_tensor(mean)
    return Gaussian(mean, 2 + mean)


def test_runs_hold_every_piece_once_with_enough_places(make_batches):
    pieces = [_piece(range(n), size=s)
              for n in (1, 3, 7, 1, 1) for s in (32, 48)]
    seen = []
    for run in make_batches(2).runs(pieces, np.zeros((7, 2)),
                                     np.zeros(7, bool)):
        assert run.places in PLACES
        assert len(run.pieces) <= 2
        assert {piece.size for piece in run.pieces} == {run.size}
        assert all(len(p.members) <= run.places for p in run.pieces)
        seen += run.pieces
    assert sorted(map(id, seen)) == sorted(map(id, pieces))


def test_runs_keep_pieces_of_bright_sources_apart(make_batches):
    batches = make_batches()
    batches.layer.optics.wings = [np.array([1.0] * 30 + [0.0])] * 2
    runs = list(batches.runs([_piece([0]), _piece([1])],
                             np.array([[0.0, 0], [0, 1e3]]),
                             np.zeros(2, bool)))
    assert [(run.reach, run.pieces[0].core) for run in runs] == [
        (0, (0,)), (32, (1,))]


def test_runs_have_structure_where_a_source_has(make_batches):
    runs = list(make_batches().runs(
        [_piece([0], [1]), _piece([2]), _piece([1], [0]), _piece([3])],
        np.zeros((4, 2)), np.array([True, False, False, False])))
    assert sorted((run.n_parameters, [p.core[0] for p in run.pieces])
                  for run in runs) == [(N_CONCENTRIC, [2, 3]),
                                       (N_PARAMETERS, [0, 1])]


def test_runs_without_structure_have_fewer_parameters(make_batches):
    run = Run(pieces=[_piece([1, 0])], places=2, reach=0,
              n_parameters=N_CONCENTRIC)
    shapes = _shapes(2)
    batch = make_batches().make(run, shapes)
    torch.testing.assert_close(batch.prior.mean[0],
                               shapes.mean[[1, 0], :N_CONCENTRIC])
    assert batch.band_precision.shape == (N_CONCENTRIC, N_CONCENTRIC)


def test_sources_are_gathered_with_positions_in_their_stamps():
    run = Run(pieces=[_piece([2], [0], ix=5, iy=-3), _piece([1])], places=3,
              reach=0, n_parameters=N_PARAMETERS)
    shapes = _shapes(3)
    mean, precision = run.gather_shapes(shapes)
    assert run.occupied.tolist() == [[True, True, False],
                                     [True, False, False]]
    torch.testing.assert_close(
        mean[0, :2, :2], shapes.mean[[2, 0], :2] - torch.tensor([5, -3]))
    torch.testing.assert_close(mean[0, :2, 2:], shapes.mean[[2, 0], 2:])
    torch.testing.assert_close(mean[1, 0], shapes.mean[1])
    torch.testing.assert_close(precision[0, :2], shapes.precision[[2, 0]])
    assert (mean[~run.occupied] == 0).all()
    assert (precision[~run.occupied] == 1).all()


def test_stamps_are_filled_beyond_the_frame():
    image = np.arange(12.0).reshape(1, 3, 4)
    stamps = Stamps(corners=np.array([[2, -1], [0, 0]]), side=3, reach=0)
    first, second = stamps.cut(image, -1.0)
    np.testing.assert_array_equal(first[0], [[-1, -1, -1], [2, 3, -1],
                                             [6, 7, -1]])
    np.testing.assert_array_equal(second, image[:, :, :3])


@pytest.mark.parametrize('single', [False, True])
def test_batches_hold_the_pixels_of_their_pieces(make_batches, single):
    mask = np.zeros((2, *SHAPE), bool)
    mask[1, 30, 25] = True
    batches = make_batches(mask=mask, rms=(1.0, 2.0), gain=3.0)
    run = Run(pieces=[_piece([0, 1], ix=20, iy=10)], places=3, reach=0,
              n_parameters=N_PARAMETERS)
    shapes, flux = _shapes(2), np.array([[3.0, 4.0], [5.0, 6.0]])
    batch = batches.make(run, shapes, flux, single=single)
    data = batches.layer.observation.data
    for i, band in enumerate(batch.bands):
        np.testing.assert_allclose(band.data[0], data[i, 10:42, 20:52],
                                   rtol=1e-6)
        assert (band.variance == (1, 4)[i]).all()
        assert band.gain == 3
        assert band.data.dtype == (torch.float32 if single
                                   else torch.float64)
        assert band.windows.flux[0].tolist() == [*flux[:, i], 0]
    assert batch.bands[0].good.all()
    assert not batch.bands[1].good[0, 20, 5]
    assert batch.active.tolist() == [[1, 1, 0]]
    torch.testing.assert_close(batch.prior.mean,
                               run.gather_shapes(shapes).mean)
    assert batches.make(run, shapes).bands[0].windows is None


def test_foreign_light_is_taken_off_each_stamp(make_batches):
    batches = make_batches()
    run = Run(pieces=[_piece([0], ix=3, iy=4), _piece([1], ix=40, iy=9)],
              places=1, reach=0, n_parameters=N_PARAMETERS)

    def foreign(members, ix, iy, side):
        return np.full((2, side, side), 100.0 * members[0] + ix - iy)
    plain, less = (batches.make(run, _shapes(2), foreign=given)
                   for given in (None, foreign))
    for before, after in zip(plain.bands, less.bands, strict=True):
        light = (before.data - after.data).mean((1, 2))
        np.testing.assert_allclose(light, [-1, 131])
