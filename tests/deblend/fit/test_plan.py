# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
import torch

from vaephot.deblend.fit.draw import PERIODS
from vaephot.deblend.fit.plan import Batch, Entries
from vaephot.deblend.fit.windows import SIDES

# groups of three, two and one source, and two bands of different binning
PARAMETERS = np.array([[22.3, 30.6, 0.9, 0.3, -0.1, 0, 0],
                       [27.1, 33.2, 0.5, -0.2, 0.3, 0.5, -1],
                       [35.4, 31.8, 1.6, 0.0, 0.0, 0, 0],
                       [71.2, 44.1, 0.7, 0.1, 0.4, 1, 0],
                       [76.0, 40.1, -0.3, 0.1, 0.4, 0, 0],
                       [100.0, 15.0, 0.3, 0.1, 0.4, 0, 0]])
FLUX = np.array([[900.0, 500], [60, 70], [3e4, 3e4], [300, 600], [50, 50],
                 [5000, 40]])
MEMBERS = ((0, 1, 2), (3, 4), (5,))


@pytest.fixture(scope='module')
def trial(make_trial, gaussian_band):
    """Return groups with windows of several sides."""
    return make_trial(PARAMETERS, FLUX, MEMBERS,
                      [gaussian_band(1.2), gaussian_band(2.2)])


def test_entries_are_the_sources_in_the_bands_used(trial):
    used = torch.tensor([[True, False], [True, True], [False, True]])
    entries = Entries(trial.problem.batch, used)
    found = sorted(zip(*(v.tolist() for v in (
        entries.group, entries.band, entries.place)), strict=True))
    assert found == sorted([*((0, 0, k) for k in range(3)),
                            *((1, b, k) for b in (0, 1) for k in (0, 1)),
                            (2, 1, 0)])
    assert (entries.of_row[entries.row] == torch.arange(len(entries))).all()


def test_values_of_entries_are_those_of_their_source_and_band(trial):
    entries = trial.plan.entries
    values = torch.arange(18).view(3, 2, 3)
    torch.testing.assert_close(
        entries.of(values),
        values[entries.group, entries.band, entries.place])


def test_every_entry_is_in_one_class(trial):
    found = torch.cat([some.entry for some in trial.plan.classes])
    assert found.sort().values.tolist() == list(
        range(len(trial.plan.entries)))


def test_windows_have_different_sides_and_lie_in_their_regions(trial):
    plan, canvas = trial.plan, trial.canvas
    entries = plan.entries
    where = entries.group.numpy(), entries.band.numpy()
    size = canvas.size[where] * plan.bin.numpy()[:, None]
    assert len(plan.side.unique()) > 2
    assert (plan.low >= 0).all()
    assert (plan.low.numpy() + plan.side.numpy()[:, None] <= size).all()
    np.testing.assert_array_equal(plan.corner,
                                  canvas.corner[where] + plan.low.numpy())
    assert (plan.low % plan.bin[:, None] == 0).all()


def test_windows_hold_the_pixels_below_them(trial):
    plane = trial.fitter.planes[0]
    for some in trial.plan.classes:
        band = trial.plan.entries.band[some.entry]
        for i in torch.nonzero(band == 0)[:, 0].tolist():
            x, y = some.corner[i].tolist()
            n = some.drawer.side
            np.testing.assert_array_equal(some.data[i].view(n, n),
                                          plane.data[y:y + n, x:x + n])


def test_light_is_not_folded_back_into_small_windows(trial):
    plan = trial.plan
    shapes = plan.entries.shapes(trial.local, trial.problem.decoder,
                                 steep=False)
    period = torch.tensor(PERIODS)[plan.period] * plan.bin
    assert (period >= 1.2 * plan.side).all()
    # a source at the edge of its window may see itself from the other side
    far = (shapes.place - plan.corner).abs().amax(1)
    assert (period >= far).all()


def test_pairs_are_the_windows_that_overlap(trial):
    plan = trial.plan
    entries, found = plan.entries, set()
    for pairs in plan.pairs:
        for a, b in zip(pairs.small.entry[pairs.first].tolist(),
                        pairs.large.entry[pairs.other].tolist(),
                        strict=True):
            found.add(frozenset((a, b)))
            assert plan.side[a] <= plan.side[b]
    low, high = plan.low, plan.low + plan.side[:, None]
    wanted = {frozenset((a, b)) for a in range(len(entries))
              for b in range(a) if entries.group[a] == entries.group[b]
              and entries.band[a] == entries.band[b]
              and bool(((low[a] < high[b]) & (low[b] < high[a])).all())}
    assert found == wanted


def test_maps_move_turn_and_stretch():
    matrix = torch.tensor([[[0.0, 2.0], [-2.0, 0.0]]]).double()
    offset = torch.tensor([[5.0, 7.0]]).double()
    one = torch.ones(1, 1, dtype=torch.bool)
    batch = Batch(members=np.array([[0]]), real=one, point=~one,
                  asymmetric=~one, free=one[..., None].expand(1, 1, 7),
                  maps=(None, (matrix, offset)),
                  psf_places=np.zeros((1, 2, 2)))
    entries = Entries(batch, torch.ones(1, 2, dtype=torch.bool))
    local = torch.tensor([3.0, 4.0, 0.5, 0, 0, 0, 0]).double().expand(
        1, 2, 1, 7)
    np.testing.assert_allclose(entries.radius(local),
                               np.exp(0.5) * np.array([1, 2]), rtol=1e-6)
    shapes = entries.shapes(local, _Round(), steep=False)
    np.testing.assert_allclose(shapes.place, [[3, 4], [13, 1]])


class _Round:
    """Decoder of anything."""

    def from_parameters(self, values):
        """Return Gaussians that do not care what they are."""
        return self

    def transformed(self, matrix):
        """Return the same."""
        return self


def test_some_groups_of_a_batch_are_taken(trial):
    batch = trial.problem.batch.take(np.array([2, 0]))
    np.testing.assert_array_equal(batch.members,
                                  trial.problem.batch.members[[2, 0]])
    assert torch.equal(batch.free, trial.problem.batch.free[[2, 0]])


def test_sides_are_multiples_of_all_binnings():
    assert all(side % 4 == 0 for side in SIDES)
