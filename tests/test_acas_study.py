"""The ACAS study on small tables, against plain loops and dense automatic differentiation."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from pyarrow import csv
from safetensors.torch import load_file
from torch.nn import functional as F

from swaypoint.auditing.run import Listener
from swaypoint.data.folds import Durable, InProcess
from swaypoint.data.splitting import Split
from swaypoint.data.tensors import write_tensors
from swaypoint.errors import InputError
from swaypoint.scoring.closed_form import Influence
from swaypoint.scoring.risks.head import HeadWeights
from swaypoint.studies.acas import scoring
from swaypoint.studies.acas.findings import fast_aircraft, findings, surroundings
from swaypoint.studies.acas.gathering import Gathering, gather, place, proposals
from swaypoint.studies.acas.learning import Learning, build, draw, learn
from swaypoint.studies.acas.optimum import TOLERANCE, at_optimum
from swaypoint.studies.acas.scoring import TablePoints
from swaypoint.studies.acas.study import AcasOptions, apart, open_table, study
from swaypoint.studies.acas.surrogate import RANGE, SPEED, Encounter, Surrogate
from swaypoint.studies.acas.tables import Axis, Table

ACTIONS = ("COC", "WL", "WR", "L", "R")
Losses = Callable[[torch.Tensor], torch.Tensor]
SMALL = Learning(width=8, sample=2_000, epochs=3, batch=256)


def encounter_table(seed: int = 0) -> Table:
    """2 x 3 x 2 x 3 x 7 x 6 points; turns away from what is near, some at random."""
    axes = (
        Axis("tau", "s", np.array([0.0, 20.0])),
        Axis("v_own", "ft/s", np.array([100.0, 600.0, 1200.0])),
        Axis("v_int", "ft/s", np.array([0.0, 900.0])),
        Axis("psi", "rad", np.linspace(-np.pi, np.pi, 3)),
        Axis("theta", "rad", np.linspace(-np.pi, np.pi, 7)),
        Axis("rho", "ft", np.array([0.0, 500.0, 2000.0, 8000.0, 20000.0, 60000.0])),
    )
    shape = tuple(len(axis) for axis in axes)
    mesh = np.meshgrid(*(axis.values for axis in axes), indexing="ij")
    theta, rho = mesh[4], mesh[5]
    decision = np.where(rho > 9000, 0, np.where(rho > 1000, 1, 3) + (theta > 0)).astype(np.uint8)
    rng = np.random.default_rng(seed)
    wrong = rng.random(shape) < 0.1
    decision[wrong] = rng.integers(0, 5, wrong.sum())
    return Table("encounters", axes, ACTIONS, decision)


@pytest.fixture(scope="module")
def table() -> Table:
    return encounter_table()


@pytest.fixture(scope="module")
def surrogate(table: Table) -> Surrogate:
    """Trained a little by plain torch, so that it is at nobody's optimum."""
    model = build(SMALL, len(ACTIONS))
    states = torch.from_numpy(table.points(slice(None)))
    labels = torch.from_numpy(table.decisions(slice(None))).long()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(150):
        optimizer.zero_grad()
        F.cross_entropy(model(states), labels).backward()
        optimizer.step()
    return model.requires_grad_(False).eval()


@pytest.fixture(scope="module")
def dense(table: Table, surrogate: Surrogate) -> np.ndarray:
    return densely(table, surrogate)


def problem(table: Table, surrogate: Surrogate) -> tuple[Losses, torch.Tensor, torch.Tensor]:
    """Every point's loss by the head's flat matrix, in float64; that matrix; which points train."""
    index = np.arange(table.size)
    states = torch.from_numpy(table.points(index))
    labels = torch.from_numpy(table.decisions(index)).long()
    features = torch.cat([surrogate.features(states), torch.ones(len(states), 1)], 1).double()
    weights = torch.cat([surrogate.head.weight, surrogate.head.bias[:, None]], 1).double()

    def losses(flat: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(features @ flat.view_as(weights).T, labels, reduction="none")

    return losses, weights.flatten(), torch.from_numpy(~Split(3).held_out(index))


def densely(
    table: Table, surrogate: Surrogate, damping: float = 0.0, matrix: torch.Tensor | None = None
) -> np.ndarray:
    """Cook's distance of every point, NaN of those held out: float64 autodiff, pseudo-inverse."""
    losses, weights, train = problem(table, surrogate)
    weights = weights if matrix is None else matrix.flatten()
    hessian = torch.func.hessian(lambda flat: losses(flat)[train].mean())(weights)
    gradients = torch.func.jacrev(losses)(weights)
    hessian += damping * torch.eye(len(hessian))
    inverse = torch.linalg.pinv(hessian, hermitian=True, rtol=1e-12)
    cook = torch.einsum("np,pq,nq->n", gradients, inverse, gradients)
    return torch.where(train, cook, torch.nan).numpy()


@pytest.fixture(scope="module")
def scored(table: Table, surrogate: Surrogate) -> tuple[scoring.TableScores, object]:
    influence = scoring.factorize(table, surrogate, Split(3), InProcess())
    return scoring.score(influence, InProcess(), top=40), influence


# -- the split ------------------------------------------------------------------------------------


def split_mix(x: int) -> int:
    """SplitMix64's output function on Python integers."""
    mask = 2**64 - 1
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
    return x ^ (x >> 31)


def test_held_out_points_are_those_of_the_hash() -> None:
    index = np.array([0, 1, 2, 3, 12_345, 92_044_835])
    limit = int(0.2 * 2.0**64)
    expected = [split_mix((int(i) + 8 * 0x9E3779B97F4A7C15) % 2**64) < limit for i in index]
    assert Split(7).held_out(index).tolist() == expected


def test_a_fifth_is_held_out_whatever_the_stretch() -> None:
    index = np.arange(200_000)
    held = Split().held_out(index)
    assert abs(held.mean() - 0.2) < 4 * np.sqrt(0.16 / len(index))
    assert np.array_equal(held[5000:6000], Split().held_out(index[5000:6000]))


# -- the encounter ---------------------------------------------------------------------------------


def test_the_closest_point_of_approach_is_that_of_flying_on() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        own, intruder = rng.uniform(100, 1200, 2)
        psi, theta = rng.uniform(-np.pi, np.pi, 2)
        rho = rng.uniform(500, 60_000)
        state = torch.tensor([[0.0, own, intruder, psi, theta, rho]])
        columns = Encounter()(state)[0].tolist()
        time_ = np.linspace(-400, 400, 400_001)
        x = rho * np.cos(theta) + time_ * (intruder * np.cos(psi) - own)
        y = rho * np.sin(theta) + time_ * intruder * np.sin(psi)
        distance = np.hypot(x, y)
        nearest = distance.argmin()
        if 0 < nearest < len(time_) - 1:
            assert abs(columns[18]) * RANGE == pytest.approx(distance[nearest], abs=0.02 * SPEED)
            assert columns[21] * RANGE / SPEED == pytest.approx(time_[nearest], abs=0.02)


@pytest.mark.parametrize("states", [1, 2048, 5000])
def test_columns_are_features_layer_by_layer(states):
    torch.manual_seed(0)
    surrogate = Surrogate(width=13, outputs=5)
    points = torch.rand(states, 6) * torch.tensor([100.0, 1200.0, 1200.0, 3.0, 3.0, 60000.0])
    shown = surrogate.encounter(points).double()
    for layer in surrogate.hidden:
        if isinstance(layer, torch.nn.Linear):
            shown = (shown @ layer.weight.double().T + layer.bias.double()).clamp_min(0)
    found = surrogate.columns(points)
    assert found.shape == (13, states)
    assert not found.requires_grad
    torch.testing.assert_close(found.T.double(), shown.detach(), rtol=1e-4, atol=1e-5)


def test_encounter_columns_are_finite_at_the_corners_and_of_order_one() -> None:
    angles = [-3.2, 0.0, 3.2]
    ends = [[0.0, 100.0], [100.0, 1200.0], [0.0, 1200.0], angles, angles, [0.0, 60760.0]]
    corners = torch.cartesian_prod(*(torch.tensor(values) for values in ends))
    columns = Encounter()(corners)
    assert columns.shape == (len(corners), Encounter.width)
    assert bool(torch.isfinite(columns).all())
    assert float(columns.abs().max()) < 20


# -- scores ----------------------------------------------------------------------------------------


def test_the_top_is_that_of_the_dense_computation(
    scored: tuple[scoring.TableScores, object], dense: np.ndarray
) -> None:
    scores, _ = scored
    order = np.argsort(-np.nan_to_num(dense, nan=-1.0), kind="stable")[:40]
    np.testing.assert_allclose(scores.cook, dense[order], rtol=1e-5)
    np.testing.assert_allclose(dense[scores.index], scores.cook, rtol=1e-5)
    assert scores.points == np.isfinite(dense).sum()


def test_another_damping_of_the_same_first_pass(
    table: Table, surrogate: Surrogate, tmp_path: Path, dense: np.ndarray
) -> None:
    fold = Durable(tmp_path, "key")
    influence = scoring.factorize(table, surrogate, Split(3), fold)
    for damping in (1e-3, 0.0, 1e-3):  # each finds what was kept of its own
        scores = scoring.score(influence.damped(damping), fold, top=40)
        expected = densely(table, surrogate, damping) if damping else dense
        assert scores.damping == damping
        assert scores.total == pytest.approx(np.nansum(expected), rel=1e-5)
        np.testing.assert_allclose(expected[scores.index], scores.cook, rtol=1e-5)


def regularised(
    table: Table, surrogate: Surrogate, ridge: float
) -> tuple[Losses, torch.Tensor, torch.Tensor]:
    """Mean loss of the training points plus ridge, as a function of the flat matrix; the surrogate's; a basis
    of the directions that some point sees."""
    losses, weights, train = problem(table, surrogate)
    gradients = torch.func.jacrev(losses)(weights)[train]
    _, singular, vectors = torch.linalg.svd(gradients, full_matrices=False)

    def objective(flat: torch.Tensor) -> torch.Tensor:
        return losses(flat)[train].mean() + 0.5 * ridge * flat.square().sum()

    return objective, weights, vectors[singular > 1e-9 * singular[0]].T


def optimum(
    table: Table, surrogate: Surrogate, folder: Path, on_shard: object = None, ridge: float = 1e-2
) -> tuple[Influence, Durable]:
    """At the optimum, and where the second pass runs."""
    folds: list[Durable] = []

    def fold_of(head: HeadWeights, among: Split) -> Durable:
        key = str((head.matrix.tolist(), among))
        folds.append(Durable(folder, key, on_shard=on_shard))  # type: ignore[arg-type]
        return folds[-1]

    found = at_optimum(table, surrogate, Split(3), ridge, fold_of, folder / "head.safetensors")
    return found, folds[-1]


@pytest.mark.parametrize("sample", [40, 10**6])  # of the start; whole steps from a few points' go astray
def test_the_optimum_has_no_gradient_and_its_own_distances(
    table: Table, surrogate: Surrogate, tmp_path: Path, sample: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("swaypoint.studies.acas.optimum._SAMPLE", sample)
    influence, fold = optimum(table, surrogate, tmp_path)
    objective, weights, seen = regularised(table, surrogate, 1e-2)
    found = influence.head.matrix
    slope = torch.func.grad(objective)
    assert (seen.T @ slope(found.flatten())).norm() < 1e-4 * (seen.T @ slope(weights)).norm()
    scores = scoring.score(influence, fold, top=40)
    expected = densely(table, surrogate, 1e-2, found)
    assert scores.ridge == 1e-2
    assert scores.total == pytest.approx(np.nansum(expected), rel=1e-5)
    np.testing.assert_allclose(expected[scores.index], scores.cook, rtol=1e-5)


@pytest.mark.parametrize("last", [False, True])  # of a tenth, of all
def test_an_interrupted_walk_to_the_optimum_gives_the_same_bits(
    table: Table, surrogate: Surrogate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: bool
) -> None:
    monkeypatch.setattr("swaypoint.studies.acas.optimum._SAMPLE", 40)
    whole: list[int] = []
    rest: list[int] = []
    straight, _ = optimum(table, surrogate, tmp_path / "whole", lambda _, done, of: whole.append(done))
    passes = whole.count(1) - 1 if last else 1

    def kill(name: str, done: int, of: int) -> None:
        rest.append(done)
        if len(rest) == passes * of + 3:
            raise Killed

    with pytest.raises(Killed):
        optimum(table, surrogate, tmp_path / "killed", kill)
    rest.clear()
    resumed, _ = optimum(table, surrogate, tmp_path / "killed", lambda _, done, of: rest.append(done))
    assert torch.equal(resumed.head.matrix, straight.head.matrix)
    assert torch.equal(resumed.inverse.matrix, straight.inverse.matrix)
    assert rest.count(1) == whole.count(1) - passes


@pytest.mark.parametrize(("sample", "ridge"), [(40, 1e-6), (10**6, 1e-8)])
def test_steps_that_go_too_far_are_shortened(
    table: Table,
    surrogate: Surrogate,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    sample: int,
    ridge: float,
) -> None:
    monkeypatch.setattr("swaypoint.studies.acas.optimum._SAMPLE", sample)
    influence, _ = optimum(table, surrogate, tmp_path, ridge=ridge)
    objective, weights, seen = regularised(table, surrogate, ridge)
    slope = torch.func.grad(objective)
    found = seen.T @ slope(influence.head.matrix.flatten())
    assert found.norm() < 1e-4 * (seen.T @ slope(weights)).norm()


def test_an_optimum_that_is_not_found_is_said(
    table: Table, surrogate: Surrogate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("swaypoint.studies.acas.optimum._SAMPLE", 40)
    monkeypatch.setattr("swaypoint.studies.acas.optimum._STEPS", 2)
    for _ in range(2):  # however often it is asked
        with pytest.raises(
            InputError, match=r"ridge is 1e-06: no optimum .* after 2 Newton .* larger --ridge"
        ):
            optimum(table, surrogate, tmp_path, ridge=1e-6)


def test_sums_over_cuts_are_those_of_the_dense_computation(
    scored: tuple[scoring.TableScores, object], dense: np.ndarray, table: Table
) -> None:
    scores, _ = scored
    by_cut = dense.reshape(-1, 7 * 6)
    np.testing.assert_allclose(scores.cut_sum, np.nansum(by_cut, 1), rtol=1e-5)
    np.testing.assert_allclose(scores.cut_max, np.nanmax(by_cut, 1), rtol=1e-5)
    assert scores.cut_points.tolist() == np.isfinite(by_cut).sum(1).tolist()
    assert scores.total == pytest.approx(np.nansum(dense), rel=1e-5)
    assert scores.effective == pytest.approx(np.nansum(dense) ** 2 / np.nansum(dense**2), rel=1e-5)


def test_a_cut_shows_table_model_and_influence(
    scored: tuple[scoring.TableScores, object], dense: np.ndarray, table: Table, surrogate: Surrogate
) -> None:
    _, influence = scored
    number = 17
    cut = scoring.cut(influence, Split(3), number)
    rows = np.arange(number * 42, (number + 1) * 42)
    np.testing.assert_allclose(cut.cook.ravel(), dense[rows], rtol=1e-5)
    assert np.array_equal(cut.decided.ravel(), table.decisions(rows))
    predicted = surrogate(torch.from_numpy(table.points(rows))).argmax(1)
    assert np.array_equal(cut.predicted.ravel(), predicted.numpy())
    assert list(cut.state.values()) == table.points(rows[:1])[0, :4].tolist()


def test_shards_make_the_whole(table: Table, surrogate: Surrogate) -> None:
    points = TablePoints(table, surrogate, Split(3), scoring.shards_of(table))
    index = np.concatenate([shard.index() for shard in points.shards()])
    assert np.array_equal(index, np.flatnonzero(~Split(3).held_out(np.arange(table.size))))
    assert len(points) == len(index)


class Killed(Exception):
    pass


@pytest.mark.parametrize("stop", [("curvature-loss-float64", 2), ("scores-0.0", 3)])
def test_an_interrupted_scoring_gives_the_same_bits(
    table: Table, surrogate: Surrogate, tmp_path: Path, stop: tuple[str, int]
) -> None:
    def run(folder: Path, on_shard: object = None) -> scoring.TableScores:
        fold = Durable(folder, "key", on_shard=on_shard)  # type: ignore[arg-type]
        return scoring.score(scoring.factorize(table, surrogate, Split(3), fold), fold, top=40)

    def kill(name: str, done: int, of: int) -> None:
        if (name, done) == stop:
            raise Killed

    with pytest.raises(Killed):
        run(tmp_path / "killed", kill)
    resumed, whole = run(tmp_path / "killed"), run(tmp_path / "whole")
    for name in ("index", "cook", "predicted", "cut_sum", "cut_max", "cut_points"):
        assert np.array_equal(getattr(resumed, name), getattr(whole, name)), name
    assert resumed.total == whole.total


def test_the_key_changes_with_everything_that_scores_depend_on(table: Table, surrogate: Surrogate) -> None:
    other = build(replace(SMALL, seed=1), len(ACTIONS))
    keys = {
        scoring.key_of(table, surrogate, Split(3), 40),
        scoring.key_of(table, surrogate, Split(4), 40),
        scoring.key_of(table, surrogate, Split(3), 41),
        scoring.key_of(table, other, Split(3), 40),
        scoring.key_of(replace(table, name="other"), surrogate, Split(3), 40),
    }
    assert len(keys) == 5


# -- findings --------------------------------------------------------------------------------------


def test_surroundings_against_loops(table: Table) -> None:
    sense = {0: 0, 1: 1, 2: -1, 3: 1, 4: -1}
    index = np.arange(0, table.size, 11)
    found = surroundings(table, index)
    for row, flat in enumerate(index):
        place_ = list(np.unravel_index(flat, table.shape))
        own = int(table.decision[tuple(place_)])
        plane, anywhere, opposite = False, False, False
        for axis in range(6):
            for step in (-1, 1):
                there = list(place_)
                there[axis] += step
                if 0 <= there[axis] < table.shape[axis]:
                    other = int(table.decision[tuple(there)])
                    anywhere |= other != own
                    if axis >= 4:
                        plane |= other != own
                        opposite |= sense[own] * sense[other] == -1
        assert (found.differs[row], found.differs_anywhere[row], found.opposite[row]) == (
            plane, anywhere, opposite,
        )  # fmt: skip


def test_the_areas_of_a_circle_of_points_sum_to_the_disc(table: Table) -> None:
    index = np.arange(6)  # one theta, all rho
    area = surroundings(table, index).spacing ** 2
    assert area.sum() * 6 == pytest.approx(np.pi * 60_000.0**2)


def test_fast_aircraft_are_those_in_the_upper_third(table: Table) -> None:
    fast = fast_aircraft(table).reshape(2, 3, 2, 3)
    assert fast[0, :, :, 0].tolist() == [[0, 1], [0, 1], [1, 2]]


def test_findings_of_a_scoring(
    scored: tuple[scoring.TableScores, object], table: Table, dense: np.ndarray
) -> None:
    scores, _ = scored
    found = {finding.measure.split(": ")[1]: finding for finding in findings(table, Split(3), scores)}
    train = np.flatnonzero(np.isfinite(dense))
    boundary = found["a neighbour in theta or rho decides otherwise"]
    assert boundary.influential == pytest.approx(surroundings(table, scores.index).differs.mean())
    assert boundary.base == pytest.approx(surroundings(table, train).differs.mean())  # the sample is all
    errs = found["the model decides otherwise than the table"]
    assert errs.influential == pytest.approx((table.decisions(scores.index) != scores.predicted).mean())
    cuts = np.argsort(-scores.cut_sum)[:100]
    fast = fast_aircraft(table)
    assert found["one or both in the upper third of speeds"].influential == pytest.approx(
        (fast[cuts] > 0).mean()
    )


# -- learning --------------------------------------------------------------------------------------


def test_training_is_kept_and_resumed(table: Table, tmp_path: Path) -> None:
    whole = learn(table, Split(), SMALL, tmp_path / "whole")

    def stop(epoch: int, *rest: float) -> None:
        if epoch == 2:
            raise Killed

    (tmp_path / "killed").mkdir()
    with pytest.raises(Killed):
        learn(table, Split(), SMALL, tmp_path / "killed", report=stop)
    told: list[int] = []
    resumed = learn(table, Split(), SMALL, tmp_path / "killed", report=lambda epoch, *_: told.append(epoch))
    assert told == [3]
    for ours, theirs in zip(resumed.surrogate.parameters(), whole.surrogate.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert len(whole.curve) == len(resumed.curve) == 3
    again = learn(table, Split(), SMALL, tmp_path / "whole", report=lambda *_: pytest.fail("trained again"))
    assert again.curve == whole.curve


def test_other_settings_train_anew(table: Table, tmp_path: Path) -> None:
    learn(table, Split(), SMALL, tmp_path)
    told: list[int] = []
    learn(table, Split(), replace(SMALL, epochs=2), tmp_path, report=lambda epoch, *_: told.append(epoch))
    assert told == [1, 2]


def test_a_training_goes_on_from_anothers_weights(table: Table, tmp_path: Path) -> None:
    before = learn(table, Split(), SMALL, tmp_path / "first")
    onward = replace(SMALL, start=tmp_path / "first/surrogate.safetensors", rate=0.0, epochs=1)
    kept = learn(table, Split(), onward, tmp_path / "second")
    for ours, theirs in zip(kept.surrogate.parameters(), before.surrogate.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert kept.curve == pytest.approx(before.curve[-1:])
    assert kept.learning["start"] != before.learning.get("start")


def test_weights_to_go_on_from_that_cannot_be_used_change_nothing(table: Table, tmp_path: Path) -> None:
    first = learn(table, Split(), SMALL, tmp_path)
    own = tmp_path / "surrogate.safetensors"
    narrow = tmp_path / "narrow.safetensors"
    write_tensors(narrow, build(replace(SMALL, width=SMALL.width - 1), len(ACTIONS)).state_dict())
    for start, message in (
        (tmp_path / "absent.safetensors", r"absent\.safetensors does not exist; name the surrogate"),
        (narrow, "same --width"),
        (own, "what this study writes; give it another --out"),
    ):
        with pytest.raises(InputError, match=message):
            learn(table, Split(), replace(SMALL, start=start), tmp_path)
    again = learn(table, Split(), SMALL, tmp_path, report=lambda *_: pytest.fail("trained again"))
    assert again.curve == first.curve


def test_a_sample_is_distinct_and_all_of_a_small_table(table: Table) -> None:
    assert np.array_equal(draw(table, 10**9, 0), np.arange(table.size))
    sample = draw(table, 500, 0)
    assert len(np.unique(sample)) == len(sample)
    assert sample.max() < table.size


# -- gathering -------------------------------------------------------------------------------------


def test_inputs_are_placed_at_the_nearest_grid_point(table: Table) -> None:
    rng = np.random.default_rng(1)
    inputs = np.stack([rng.uniform(axis.values[0], axis.values[-1], 50) for axis in table.axes], 1)
    nearest = [
        np.abs(axis.values - column[:, None]).argmin(1)
        for axis, column in zip(table.axes, inputs.T, strict=True)
    ]
    assert np.array_equal(place(table, inputs), np.ravel_multi_index(nearest, table.shape))


def test_proposals_are_new_training_points(table: Table, surrogate: Surrogate) -> None:
    split = Split(3)
    start = draw(table, 400, 0)
    start = start[~split.held_out(start)]
    index = proposals(table, surrogate, start, Gathering(added=60, seeds=2), split, 0)
    assert len(index)
    assert not np.isin(index, start).any()
    assert not split.held_out(index).any()


def test_gathering_compares_as_many_points_by_seed(table: Table, tmp_path: Path) -> None:
    gathering = Gathering(start=400, added=60, seeds=2, learning=replace(SMALL, epochs=1))
    gains = gather(table, gathering, tmp_path)
    stored = [json.loads((tmp_path / f"seed-{seed}.json").read_text())["accuracy"] for seed in (0, 1)]
    for gain in gains:
        difference = [s["regions"][gain.where] - s["random"][gain.where] for s in stored]
        assert gain.gain == pytest.approx(np.mean(difference))
        # Student's t with one degree of freedom: 12.706
        half = 12.7062047 * np.std(difference, ddof=1) / np.sqrt(2)
        assert (gain.low, gain.high) == pytest.approx((gain.gain - half, gain.gain + half))
    (tmp_path / "seed-1.json").unlink()
    assert gather(table, gathering, tmp_path) == gains
    with pytest.raises(InputError, match="at least 2"):
        gather(table, replace(gathering, seeds=1), tmp_path)


# -- the study -------------------------------------------------------------------------------------


def write(table: Table, path: Path) -> Path:
    import h5py

    with h5py.File(path, "w") as file:
        file.attrs["name"], file.attrs["actions"] = table.name, list(table.actions)
        file.attrs["axes"] = [axis.name for axis in table.axes]
        for axis in table.axes:
            file[axis.name] = axis.values
            file[axis.name].attrs["unit"] = axis.unit
        file["decision"] = table.decision
    return path


@pytest.mark.slow
def test_the_study_of_a_users_table(table: Table, tmp_path: Path) -> None:
    options = AcasOptions(str(write(table, tmp_path / "mine.h5")), learning=SMALL, top=50, propose=2)
    result = study(options, tmp_path / "out")
    out = tmp_path / "out"
    top = pq.read_table(out / "top.parquet")
    assert top["cook"].to_pylist() == sorted(result.scores.cook.tolist(), reverse=True)
    cuts = pq.read_table(out / "cuts.parquet")
    assert len(cuts) == 2 * 3 * 2 * 3
    assert np.sum(cuts["influence"].to_numpy()) == pytest.approx(result.scores.total)
    summary = json.loads((out / "findings.json").read_text())
    assert summary["scored"] == result.scores.points
    assert (out / "cuts.png").read_bytes().startswith(b"\x89PNG")
    proposals_ = csv.read_csv(out / "proposals.csv").to_pydict()
    for axis in table.axes:
        distance = np.abs(np.subtract.outer(proposals_[axis.name], axis.values)).min(1)
        assert distance.max() < 1e-5  # on the grid
    kept = {file: file.stat().st_mtime_ns for file in (out / "shards").iterdir()}
    damped = study(replace(options, damping=1e-2), out)
    assert json.loads((out / "findings.json").read_text())["damping"] == 1e-2
    assert damped.scores.total < result.scores.total
    again = study(options, out)
    assert np.array_equal(again.scores.cook, result.scores.cook)
    assert all(file.stat().st_mtime_ns == time for file, time in kept.items())
    settled = study(replace(options, ridge=1e-2), out)
    assert settled.scores.facts.decrement <= TOLERANCE
    assert json.loads((out / "findings.json").read_text())["ridge"] == 1e-2
    head = load_file(out / "optimum" / "head.safetensors")
    assert (head["weight"].shape, head["bias"].shape) == ((5, 8), (5,))
    assert study(replace(options, ridge=1e-2), out).scores.total == settled.scores.total


def test_pictured_cuts_are_apart(table: Table) -> None:
    sums = np.arange(36.0)
    chosen = apart(table, sums, 3)
    places = [np.array(np.unravel_index(number, (2, 3, 2, 3))) for number in chosen]
    assert chosen[0] == 35
    assert all(np.abs(a - b).max() > 1 for i, a in enumerate(places) for b in places[:i])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (AcasOptions(damping=-1.0), r"damping is -1\.0; expected 0 or more"),
        (AcasOptions(damping=float("nan")), "damping is nan; expected 0 or more"),
        (AcasOptions(ridge=0.0), r"ridge is 0\.0; expected more than 0"),
        (AcasOptions(ridge=float("nan")), "ridge is nan; expected more than 0"),
        (AcasOptions(ridge=float("inf")), "ridge is inf; expected more than 0"),
    ],
)
def test_numbers_that_are_none_are_refused_before_anything_is_made(
    tmp_path: Path, options: AcasOptions, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        study(options, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_decoded_table_says_where_its_networks_are(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--networks DIR .* Reluplex"):
        open_table(AcasOptions("decoded"), tmp_path, Listener())


def test_a_table_without_the_axes_of_an_encounter_is_refused(table: Table, tmp_path: Path) -> None:
    path = write(table.select(tau=0).load(), tmp_path / "five.h5")
    with pytest.raises(InputError, match="axes v_own, v_int, psi, theta, rho; expected tau"):
        open_table(AcasOptions(str(path)), tmp_path, Listener())


KILLED = """
import sys
from pathlib import Path
from swaypoint.studies.acas.study import AcasOptions, study
from swaypoint.studies.acas.learning import Learning
learning = Learning(width=8, sample=2_000, epochs=3, batch=256)
ridge = float(sys.argv[3]) or None
study(AcasOptions(sys.argv[1], learning=learning, ridge=ridge, top=50), Path(sys.argv[2]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("ridge", "folder"), [(0.0, "shards"), (1e-3, "optimum")])
def test_a_study_killed_at_any_moment_resumes_to_the_same_scores(
    table: Table, tmp_path: Path, ridge: float, folder: str
) -> None:
    source, killed = write(table, tmp_path / "mine.h5"), tmp_path / "killed"
    command = [sys.executable, "-W", "ignore", "-c", KILLED, str(source), str(killed), str(ridge)]
    process = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"})
    shards = killed / folder
    deadline = time.monotonic() + 120
    while not list(shards.glob("curvature-*.safetensors")) and time.monotonic() < deadline:
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (killed / "findings.json").exists()
    options = AcasOptions(str(source), learning=SMALL, ridge=ridge or None, top=50)
    resumed, whole = study(options, killed), study(options, tmp_path / "whole")
    assert np.array_equal(resumed.scores.index, whole.scores.index)
    np.testing.assert_array_equal(resumed.scores.cook, whole.scores.cook)
