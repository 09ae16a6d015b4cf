"""The toy study: distances against brute force, counts against hand, influence against dense autodiff."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.spatial import cKDTree
from typer.testing import CliRunner

import oracles
from swaypoint import InputError
from swaypoint.cli.main import app
from swaypoint.studies.intervals import interval
from swaypoint.studies.pieces import Cell, cell
from swaypoint.studies.toy import boundaries, flip
from swaypoint.studies.toy import study as studies
from swaypoint.studies.toy.boundaries import BoundaryOptions, boundary_cell, counts
from swaypoint.studies.toy.flip import CONVERGED, FlipOptions, flip_cell, flipped_sample
from swaypoint.studies.toy.measures import among_first, enrichment, rank_of
from swaypoint.studies.toy.problems import MIDDLE, PROBLEMS, Sample, draw
from swaypoint.studies.toy.study import ToyOptions, study
from swaypoint.studies.toy.summary import summarise, tables
from swaypoint.studies.toy.training import converge, objective, perceptron, rank

laws = settings(max_examples=50, deadline=None, derandomize=True)
DOCS = Path(__file__).parent.parent / "docs"
KNOWN = {problem.name: problem for problem in (*PROBLEMS, MIDDLE)}
TINY = ToyOptions(
    seeds=2,
    boundaries=BoundaryOptions(points=60, hidden=(4, 3), steps=5),
    flip=FlipOptions(points=50, hidden=4, epochs=4, steps=5),
)


# -- the problems -----------------------------------------------------------------------------------------


def circle(x, y, radius, start=0.0, end=2 * np.pi):
    angle = np.linspace(start, end, 40_001)
    return np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle)], axis=1)


def line(start, end):
    return np.linspace(start, end, 40_001)


CURVES = [
    circle(-2 / 3, 0.3, 1 / 3, 0, np.pi),
    line((-1 / 3, 0.3), (-1 / 3, -0.3)),
    circle(0, -0.3, 1 / 3, np.pi, 2 * np.pi),
    line((1 / 3, -0.3), (1 / 3, 0.3)),
    circle(2 / 3, 0.3, 1 / 3, 0, np.pi),
]
BOUNDARIES = {
    "straight": [line((-1, -0.4), (1, 0.4))],
    "ring": [circle(0, 0, 0.4), circle(0, 0, 0.8)],
    "curves": CURVES,
    "sparse": CURVES,
    "checkerboard": [line((at, -1), (at, 1)) for at in (-0.5, 0, 0.5)]
    + [line((-1, at), (1, at)) for at in (-0.5, 0, 0.5)],
    "noisy": [circle(0, 0, 0.6)],
    "flip": [line((0, -1), (0, 1))],
}


@pytest.mark.parametrize("name", KNOWN)
def test_the_distance_is_that_to_the_nearest_of_many_boundary_points(name):
    points = np.random.default_rng(0).uniform(-1, 1, (2000, 2))
    nearest, _ = cKDTree(np.concatenate(BOUNDARIES[name])).query(points)
    np.testing.assert_allclose(KNOWN[name].distance(points), nearest, atol=1e-4)


@pytest.mark.parametrize("name", KNOWN)
def test_the_class_changes_at_the_boundary_and_only_there(name):
    random = np.random.default_rng(1)
    points = random.uniform(-1, 1, (2000, 2))
    angle, share = random.uniform(0, 2 * np.pi, 2000), random.uniform(0, 0.999, 2000)
    away = KNOWN[name].distance(points) * share
    others = points + away[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    inside = np.abs(others).max(axis=1) < 1
    side = KNOWN[name].side
    np.testing.assert_array_equal(side(points)[inside], side(others)[inside])
    # At every piece of the boundary both classes are near.
    for piece in BOUNDARIES[name]:
        around = piece[20_000] + random.normal(0, 0.01, (50, 2))
        assert set(side(around).tolist()) == {False, True}


def test_the_stretch_is_sampled_a_tenth_as_densely():
    even, sparse = (draw(KNOWN[name], 20_000, np.random.default_rng(2)) for name in ("curves", "sparse"))
    assert len(even) == len(sparse) == 20_000
    # The box has a fifth of the square's area: 0.2 of the points, and 0.02 / 0.82 where a tenth is kept.
    assert even.stretch.mean() == pytest.approx(0.2, abs=0.01)
    assert sparse.stretch.mean() == pytest.approx(0.02 / 0.82, abs=0.004)
    x, y = sparse.points[sparse.stretch].T
    assert -0.5 < x.min() < x.max() < 0.5
    assert -0.85 < y.min() < y.max() < -0.05


def test_labels_are_random_within_the_band_alone():
    sample = draw(KNOWN["noisy"], 20_000, np.random.default_rng(3))
    right = sample.labels == (np.hypot(*sample.points.T) < 0.6)
    np.testing.assert_array_equal(sample.noisy, np.abs(np.hypot(*sample.points.T) - 0.6) < 0.1)
    np.testing.assert_array_equal(sample.wrong, ~right)
    assert right[~sample.noisy].all()
    assert right[sample.noisy].mean() == pytest.approx(0.5, abs=0.03)


def test_one_label_is_flipped_far_from_the_boundary_and_from_the_corners():
    for seed in range(20):
        sample, flipped = flipped_sample(400, np.random.default_rng(seed))
        wrong = np.flatnonzero(sample.labels != (sample.points[:, 0] > 0))
        assert wrong.tolist() == np.flatnonzero(sample.wrong).tolist() == [flipped]
        assert 0.3 < abs(sample.points[flipped, 0]) < 0.7
        assert abs(sample.points[flipped, 1]) < 0.7


# -- what is counted --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "wanted", "share", "top", "base"),
    [
        ([5, 4, 3, 2, 1], [1, 0, 0, 0, 0], 0.2, 1.0, 0.2),
        ([5, 4, 3, 2, 1], [0, 1, 0, 0, 1], 0.4, 0.5, 0.4),
        ([1, 2, 3, 4, 5], [1, 0, 0, 0, 0], 0.4, 0.0, 0.2),
        ([1, 1, 1, 1], [1, 0, 0, 0], 0.3, 0.5, 0.25),  # two of four, equal ones in dataset order
        ([3, 2, 1], [0, 0, 0], 0.1, 0.0, 0.0),
    ],
)
def test_enrichment_by_hand(values, wanted, share, top, base):
    found = enrichment(np.array(values, float), np.array(wanted, bool), share)
    assert (found.top, found.base) == pytest.approx((top, base))
    assert found.ratio == pytest.approx(top / base if base else np.nan, nan_ok=True)


@laws
@given(st.permutations(range(40)), st.integers(0, 40), st.integers(1, 40))
def test_enrichment_depends_on_the_order_alone(order, wanted, top):
    values, chosen = np.array(order, float), np.arange(40) < wanted
    found = enrichment(values, chosen, top / 40)
    assert found == enrichment(np.exp(values / 7), chosen, top / 40)
    assert found == enrichment(values[::-1], chosen[::-1], top / 40)
    assert found.top * top == pytest.approx(sum(v >= 40 - top for v in order[:wanted]))


def test_the_first_and_a_rank():
    values = np.array([1.0, 3.0, 2.0, 3.0])
    assert among_first(values, 0.5).tolist() == [False, True, False, True]
    assert [rank_of(values, position) for position in range(4)] == [4, 1, 3, 2]
    assert among_first(np.arange(1600.0), 0.05).sum() == 80  # 0.05 x 1600 is above 80 by rounding


def test_interval_by_the_printed_quantile():
    found = interval([1.0, 2.0, 3.0])
    half = 4.302653 / np.sqrt(3)  # of Student's t with 2 degrees of freedom
    assert (found.mean, found.low, found.high) == pytest.approx((2.0, 2.0 - half, 2.0 + half))


def test_counts_by_hand():
    distance = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    flags = np.arange(10)
    points = np.zeros((10, 2))
    sample = Sample(points, flags, distance, stretch=flags < 1, noisy=flags >= 8, wrong=flags == 3)
    cook, loss = np.array([9, 2, 3, 8, 0, 0, 0, 0, 1, 1.0]), np.arange(10.0)
    found = counts(sample, cook, loss, top=0.2, near=0.3)
    assert found == pytest.approx(
        {
            "near_top": 0.5, "near_base": 0.3, "near_ratio": 0.5 / 0.3, "near_ratio_by_loss": 0.0,
            "stretch_top": 0.5, "stretch_base": 0.1, "stretch_ratio": 5.0, "stretch_ratio_by_loss": 0.0,
            "noisy_top": 0.0, "noisy_base": 0.2, "noisy_ratio": 0.0, "noisy_ratio_by_loss": 5.0,
            "wrong_top": 0.5, "wrong_base": 0.1, "wrong_ratio": 5.0, "wrong_ratio_by_loss": 0.0,
            "stretch_against_near": 9 / 2.5,
        }
    )  # fmt: skip


# -- training and influence -------------------------------------------------------------------------------


def dense_cooks_distance(model, x, y, l2):
    """g^T (H + l2 I)^-1 g by the last layer, bias included, by automatic differentiation in float64."""
    x, y = torch.as_tensor(x), torch.as_tensor(y).double()
    features = model[:-1](x).detach()
    features = torch.cat([features, torch.ones(len(x), 1, dtype=torch.float64)], dim=1)
    matrix = torch.cat([model[-1].weight, model[-1].bias[:, None]], dim=1).detach()

    def loss(logits, target):
        return F.binary_cross_entropy_with_logits(logits[0], target)

    return oracles.cooks_distance(*oracles.rows_and_hessian(loss, matrix, features, y), l2).numpy()


@pytest.mark.parametrize("hidden", [(4,), (5, 3)])
def test_cooks_distances_are_those_of_dense_differentiation(hidden):
    sample = draw(KNOWN["ring"], 80, np.random.default_rng(0))
    x, y = torch.from_numpy(sample.points), torch.from_numpy(sample.labels).double()
    model = perceptron(hidden, torch.Generator().manual_seed(0))
    converge(model, x, y, l2=1e-3, steps=30)
    ranking = rank(model, sample.points, sample.labels, 1e-3)
    np.testing.assert_allclose(ranking.values, dense_cooks_distance(model, x, y, 1e-3), rtol=1e-8)


def spied(monkeypatch, module):
    """The ridge and the dense Cook's distances at each call of the module's ``rank``."""
    ridges, dense = [], []

    def spy(model, points, labels, l2):
        ridges.append(l2)
        dense.append(dense_cooks_distance(model, points, labels, l2))
        return rank(model, points, labels, l2)

    monkeypatch.setattr(module, "rank", spy)
    return ridges, dense


def test_the_cell_of_a_problem_holds_them(monkeypatch):
    ridges, dense = spied(monkeypatch, boundaries)
    found = boundary_cell(KNOWN["sparse"], TINY.boundaries, 5)
    assert ridges == [TINY.boundaries.l2]
    np.testing.assert_allclose(found.points["cook"], dense[0], rtol=1e-8)
    x, y = found.points["x"].to_numpy(), found.points["y"].to_numpy()
    np.testing.assert_array_equal(found.points["label"], KNOWN["sparse"].side(np.stack([x, y], 1)))
    assert len(x) == 48  # four fifths of 60


def test_the_cell_of_the_flipped_label_holds_them(monkeypatch):
    ridges, dense = spied(monkeypatch, flip)
    found = flip_cell(TINY.flip, 5)
    records = found.measured["records"]
    assert ridges == [TINY.flip.l2] * 4 + [TINY.flip.weak_l2]
    assert [record["epoch"] for record in records] == ["0", "2", "4", CONVERGED]
    flipped = int(found.points["flipped"].to_numpy().argmax())
    for record, expected in zip(records, dense, strict=False):
        np.testing.assert_allclose(found.points[f"cook-{record['epoch']}"], expected, rtol=1e-8)
        assert record["rank"] == 1 + (expected > expected[flipped]).sum()
        assert record["share"] == pytest.approx(expected[flipped] / expected.sum())
    assert found.measured["weak"]["rank"] == 1 + (dense[-1] > dense[-1][flipped]).sum()


def newton(x, y, l2):
    """Ridge logistic regression, bias penalised: weights, mean loss."""
    x, theta = np.column_stack([x, np.ones(len(x))]), np.zeros(3)
    for _ in range(30):
        p = 1 / (1 + np.exp(-x @ theta))
        hessian = (x * (p * (1 - p))[:, None]).T @ x / len(x) + l2 * np.eye(3)
        theta = theta - np.linalg.solve(hessian, x.T @ (p - y) / len(x) + l2 * theta)
    return theta, np.mean(np.logaddexp(0, x @ theta) - y * (x @ theta))


def test_training_reaches_the_optimum_where_it_is_known():
    sample = draw(KNOWN["noisy"], 100, np.random.default_rng(1))
    x, y = torch.from_numpy(sample.points), torch.from_numpy(sample.labels).double()
    model, seen = perceptron((), torch.Generator().manual_seed(1)), []
    fit = converge(model, x, y, l2=0.01, steps=200, on_steps=lambda *step: seen.append(step))
    theta, loss = newton(sample.points, sample.labels, 0.01)
    np.testing.assert_allclose(torch.cat([model[0].weight[0], model[0].bias]).detach(), theta, atol=1e-4)
    assert fit.loss == pytest.approx(loss, abs=1e-7)
    assert fit.gradient < 1e-5
    assert seen == [(step, 200) for step in range(1, fit.steps + 1)]


def test_the_reported_gradient_is_the_objectives():
    sample = draw(KNOWN["ring"], 60, np.random.default_rng(2))
    x, y = torch.from_numpy(sample.points), torch.from_numpy(sample.labels).double()
    model = perceptron((3,), torch.Generator().manual_seed(2))
    fit = converge(model, x, y, l2=0.01, steps=3)
    squares = 0.0
    for parameter in model.parameters():
        for at in range(parameter.numel()):
            ends = []
            for step in (1e-5, -2e-5, 1e-5):
                ends.append(objective(model, x, y, 0.01).item())
                parameter.data.view(-1)[at] += step
            squares += ((ends[1] - ends[2]) / 2e-5) ** 2
    assert fit.gradient == pytest.approx(np.sqrt(squares), rel=1e-6)
    assert fit.steps == 3


# -- cells, and the whole ---------------------------------------------------------------------------------


class Maker:
    def __init__(self):
        self.made = 0

    def __call__(self):
        self.made += 1
        return Cell({"value": self.made, "gradient": 1e-7}, pa.table({"x": [0.5, 0.25]}))


def test_a_cell_is_made_once_for_the_same_settings(tmp_path):
    make, path = Maker(), tmp_path / "cell.parquet"
    first = cell(path, {"hidden": (3, 2), "l2": 1e-4}, make)
    again = cell(path, {"hidden": (3, 2), "l2": 1e-4}, make)
    assert make.made == 1
    assert again.measured == first.measured == {"value": 1, "gradient": 1e-7}
    assert again.points.equals(first.points)
    assert cell(path, {"hidden": (3, 3), "l2": 1e-4}, make).measured["value"] == 2


@pytest.mark.parametrize("damage", [b"", b"PAR1 but not really", None])
def test_a_damaged_or_foreign_cell_is_made_again(tmp_path, damage):
    make, path = Maker(), tmp_path / "cell.parquet"
    if damage is None:
        pq.write_table(pa.table({"x": [1.0]}), path)
    else:
        path.write_bytes(damage)
    assert cell(path, {}, make).measured["value"] == 1
    assert cell(path, {}, make).measured["value"] == 1
    assert [file.name for file in tmp_path.iterdir()] == ["cell.parquet"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("toy")
    return out, study(TINY, out)


def test_an_interrupted_study_goes_on_to_the_same_answer(tmp_path, monkeypatch, finished):
    calls = []

    def counted(problem, options, seed, **told):
        calls.append((problem.name, seed))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return boundary_cell(problem, options, seed, **told)

    monkeypatch.setattr(studies, "boundary_cell", counted)
    with pytest.raises(KeyboardInterrupt):
        study(TINY, tmp_path)
    assert not (tmp_path / "toy.json").exists()
    study(TINY, tmp_path)
    # The three that were finished are not made again, the fourth is.
    assert len(calls) == 2 * len(PROBLEMS) + 1
    assert (tmp_path / "toy.json").read_text() == (finished[0] / "toy.json").read_text()


def test_what_is_written(finished):
    out, summary = finished
    assert json.loads((out / "toy.json").read_text()) == json.loads(json.dumps(summary))
    written = {path.name for path in out.iterdir()}
    assert written == {
        "cells", "toy.json", "toy-points.parquet", "toy-problems.png", "toy-flip.png", "toy-flip.webp",
    }  # fmt: skip
    points = pq.read_table(out / "toy-points.parquet").to_pandas()
    assert points.problem.value_counts().to_dict() == {
        **{problem.name: 48 for problem in PROBLEMS}, "flip": 50,
    }  # fmt: skip
    with Image.open(out / "toy-flip.webp") as animation:
        assert animation.n_frames == 4  # epochs 0, 2, 4, and the stationary point
    with Image.open(out / "toy-problems.png") as picture:
        assert picture.size[0] > 1000


def test_the_summary_is_the_mean_of_the_cells(finished):
    out, summary = finished
    for problem in PROBLEMS:
        cells = [
            json.loads(pq.read_schema(out / "cells" / f"{problem.name}-{seed}.parquet").metadata[b"cell"])
            for seed in (0, 1)
        ]
        ratios = [one["measured"]["found"]["near_ratio"] for one in cells]
        found = summary["problems"][problem.name]
        assert found["found"]["near_ratio"]["mean"] == pytest.approx(np.mean(ratios))
        assert sum(found["verdicts"].values()) == 2


def flip_of(ranks):
    of_epoch = {"rank_by_loss": 1, "share": 0.5, "near": 1.0, "outermost": 2.0}
    of_epoch |= {"verdict": "caution", "doubts": ["Saturation"]}
    records = [{"epoch": str(2 * n), "rank": rank, **of_epoch} for n, rank in enumerate(ranks)]
    fit = {"loss": 0.1, "gradient": 1e-6, "steps": 9}
    return Cell({"fit": fit, "records": records, "weak": {"rank": 3, "share": 0.25}}, pa.table({}))


def test_from_when_on_the_flipped_label_is_first():
    found = summarise({}, [flip_of([9, 1, 2, 1, 1]), flip_of([1, 1, 1, 1, 2])])["flip"]
    assert found["rank"] == [[9, 1, 2, 1, 1], [1, 1, 1, 1, 2]]
    assert found["first_from"] == ["6", None]
    assert found["rank_weak_l2"] == [3, 3]
    assert found["doubts"] == [{"Saturation": 2}] * 5


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (replace(TINY, seeds=1), "seeds is 1; expected 2"),
        (replace(TINY, seed=-1), "seed is -1; expected 0"),
        (replace(TINY, boundaries=BoundaryOptions(points=10)), "points is 10; expected 50"),
        (replace(TINY, boundaries=BoundaryOptions(steps=0)), "steps is 0; expected 1"),
        (replace(TINY, flip=FlipOptions(epochs=-1)), "epochs is -1; expected 0"),
    ],
)
def test_options_out_of_range(tmp_path, options, words):
    with pytest.raises(InputError, match=words):
        study(options, tmp_path / "toy")
    assert not (tmp_path / "toy").exists()


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "toy").write_text("mine")
    with pytest.raises(InputError, match="is a file; name a folder"):
        study(TINY, tmp_path / "toy")


def test_command(tmp_path):
    arguments = ["--seeds", 2, "--points", 60, "--steps", 5, "--epochs", 2, "--out", tmp_path / "toy"]
    result = CliRunner().invoke(app, ["study", "toy", *map(str, arguments)], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    for words in ("near the boundary", "in the watched stretch", "in the noisy band", "converged"):
        assert words in result.output
    assert (tmp_path / "toy" / "toy.json").exists()


def test_the_documentation_shows_what_the_study_wrote():
    summary = json.loads((DOCS / "toy.json").read_text())
    assert summary["settings"] == json.loads(json.dumps(asdict(ToyOptions())))
    text = (DOCS / "toy.md").read_text()
    for table in tables(summary).split("\n\n"):
        assert table in text
