"""Many classes: products in place of blocks, one inverse an audit, and methods that fit the memory given."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch.nn import functional as F
from typer.testing import CliRunner

import oracles
import swaypoint
from swaypoint.auditing.options import Scale
from swaypoint.auditing.run import Listener
from swaypoint.cli.main import app
from swaypoint.data.batches import ArrayBatches
from swaypoint.scoring import rank
from swaypoint.scoring.closed_form import Influence, closed_form_bytes
from swaypoint.scoring.operators import outer
from swaypoint.scoring.options import Solving
from swaypoint.scoring.risks.head import HeadWeights, LinearHeadRisk
from swaypoint.scoring.risks.losses import CrossEntropy
from swaypoint.scoring.sketched import sketch_bytes
from swaypoint.scoring.solvers.cholesky import by_cholesky

GIB = 2**30


# -- the algebra ------------------------------------------------------------------------------------


@pytest.mark.parametrize("narrow", [True, False], ids=["products", "blocks"])
def test_added_points_of_many_classes_are_one_newton_step(narrow, monkeypatch):
    """Also where they have what no point of the fit has: the second feature, which was zero."""
    monkeypatch.setattr(outer, "NARROW", 10 if narrow else 0)
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(35, 2, generator=generator)
    seen, unseen = torch.randn(150, 2, generator=generator), torch.randn(5, 2, generator=generator)
    seen[:, 1] = 0.0
    labels = torch.arange(150) % 35
    head, l2 = HeadWeights(weight, None, CrossEntropy(), 0.02), 0.02
    solved = Influence(head, ArrayBatches(seen, labels))
    assert solved.risk.wide
    assert solved._narrow == narrow
    found = solved.unseen(ArrayBatches(unseen, labels[:5])).scores(removal="finite")
    matrix = weight.double()
    _, hessian = oracles.rows_and_hessian(F.cross_entropy, matrix, seen.double(), labels)
    rows, _ = oracles.rows_and_hessian(F.cross_entropy, matrix, unseen.double(), labels[:5])
    whole = 150 * (hessian + l2 * torch.eye(70))
    for i, row in enumerate(rows):
        own = oracles.rows_and_hessian(
            F.cross_entropy, matrix, unseen[i : i + 1].double(), labels[i : i + 1]
        )[1]
        step = torch.linalg.solve(whole + own, row)
        assert found.cook[i] == pytest.approx(float(150 * step @ whole @ step), rel=1e-7)
        assert found.first_order[i] == pytest.approx(
            float(150 * row @ torch.linalg.solve(whole, row)), rel=1e-7
        )


@pytest.mark.parametrize("narrow", [True, False], ids=["products", "blocks"])
def test_points_that_one_class_holds_by_a_thread(narrow, monkeypatch):
    """Leverage near one, where conjugate gradients do not reach the end."""
    monkeypatch.setattr(outer, "NARROW", 10 if narrow else 0)
    monkeypatch.setattr(outer, "_STEPS", 1)
    generator = torch.Generator().manual_seed(1)
    features, weight = torch.randn(60, 1, generator=generator), torch.randn(35, 1, generator=generator)
    labels = torch.arange(60) % 35
    data, head = ArrayBatches(features, labels), HeadWeights(weight, torch.zeros(35), CrossEntropy(), 1e-3)
    found = Influence(head, data).scores()
    columns = torch.cat([features, torch.ones(60, 1)], 1).double()
    matrix = torch.cat([weight, torch.zeros(35, 1)], 1).double()
    rows, hessian = oracles.rows_and_hessian(F.cross_entropy, matrix, columns, labels)
    for i in (0, 20, 59):
        own = oracles.rows_and_hessian(F.cross_entropy, matrix, columns[i : i + 1], labels[i : i + 1])[1]
        without = hessian + 1e-3 * torch.eye(70) - own / 60
        logits = matrix @ columns[i] + (torch.linalg.solve(without, rows[i]) / 60).view(35, 2) @ columns[i]
        assert found.loo_loss[i] == pytest.approx(float(F.cross_entropy(logits, labels[i])), rel=1e-7)


@pytest.mark.parametrize("condition", [1e1, 1e5, 1e9])
@pytest.mark.parametrize("seed", range(3))
def test_a_hessian_is_regular_up_to_the_condition_number_that_its_accuracy_allows(condition, seed):
    generator = np.random.default_rng(seed)
    blocks = []
    for largest in (1.0, condition):
        basis, _ = np.linalg.qr(generator.normal(size=(40, 40)))
        blocks.append((basis * np.geomspace(1.0, largest, 40)) @ basis.T)
    dense = torch.from_numpy(np.stack(blocks))
    by_norms = float(max(np.linalg.cond(block, 1) for block in blocks))
    assert by_cholesky(dense, noise=1 / (0.99 * condition * dense.shape[1])) is None
    identity = torch.eye(40).double().expand(2, -1, -1)
    assert by_cholesky(dense, noise=1 / (1.01 * by_norms * dense.shape[1])).condition == pytest.approx(
        by_norms, rel=1e-6
    )
    # Where it is known not to be larger: by norms, or by eigenvalues that are too small by half at most.
    for known in (1.01 * by_norms, min(1.01 * by_norms, 4.04 * condition)):
        found = by_cholesky(dense, noise=1 / (known * dense.shape[1]))
        assert condition <= found.condition <= known
        torch.testing.assert_close(found.matrix @ dense, identity, atol=1e-14 * condition, rtol=0.0)
    assert by_cholesky(-dense, noise=1e-14) is None


def test_a_step_of_the_refit_takes_each_point_s_probabilities_once(monkeypatch):
    taken = []
    terms = CrossEntropy.terms
    monkeypatch.setattr(CrossEntropy, "terms", lambda *given: taken.append(1) or terms(*given))
    generator = torch.Generator().manual_seed(0)
    features, labels = torch.randn(90, 3, generator=generator), torch.arange(90) % 5
    head = HeadWeights(torch.randn(5, 3, generator=generator), torch.zeros(5), CrossEntropy(), 1e-2)
    risk = LinearHeadRisk(head, ArrayBatches(features, labels))
    matrix, step = risk.matrix, torch.randn(5, 4, generator=generator).double()
    risk.objective(matrix)
    taken.clear()
    products = [risk.hessian_product(matrix, step) for _ in range(4)]
    assert len(taken) == 1
    columns = torch.cat([features, torch.ones(90, 1)], 1).double()
    _, hessian = oracles.rows_and_hessian(F.cross_entropy, matrix, columns, labels)
    expected = (hessian + 1e-2 * torch.eye(20)) @ step.flatten()
    for product in products:
        torch.testing.assert_close(product.flatten(), expected)
    other = matrix + 1.0
    other[0] += 1.0
    again = oracles.rows_and_hessian(F.cross_entropy, other, columns, labels)[1] + 1e-2 * torch.eye(20)
    torch.testing.assert_close(risk.hessian_product(other, step).flatten(), again @ step.flatten())


# -- how often --------------------------------------------------------------------------------------


@pytest.fixture
def fifty(tmp_path):
    """15 classes of 20 features: 15 x 21 parameters of a head that has to be fitted."""
    generator = np.random.default_rng(0)
    labels = np.arange(600) % 15
    features = generator.normal(size=(15, 20))[labels] + generator.normal(size=(600, 20))
    np.savez(tmp_path / "fifty.npz", features=features.astype(np.float32), labels=labels)
    return tmp_path / "fifty.npz"


@pytest.fixture
def counted(monkeypatch):
    """How often each costly routine was called on a matrix of the Hessian's size."""
    calls: dict[str, int] = {}

    def count(owner, name):
        function = getattr(owner, name)

        def called(matrix, *rest, **named):
            if matrix.shape[-1] == 14 * 21:
                calls[name] = calls.get(name, 0) + 1
            return function(matrix, *rest, **named)

        monkeypatch.setattr(owner, name, called)

    for name in ("cholesky_ex", "cholesky", "eigh", "eigvalsh", "svd", "inv", "pinv"):
        count(torch.linalg, name)
    count(torch, "cholesky_inverse")
    return calls


def test_an_audit_inverts_its_hessian_once(fifty, tmp_path, counted, monkeypatch):
    """It took three inverses for the check of the damping alone; the two further factors are that check's."""
    monkeypatch.setattr("swaypoint.auditing.audit.weighing", lambda *_: None)  # of other heads: their optima
    options = swaypoint.AuditOptions(scores=("finite_removal", "leave_one_out_loss"))
    folder = swaypoint.audit(fifty, tmp_path / "out", options=options)
    assert "Damping" in [check.name for check in folder.manifest().diagnostics.checks]
    assert counted["cholesky_inverse"] == 1
    assert counted["cholesky_ex"] <= 4  # float32, where it is too coarse; float64; a tenth and ten times
    assert not set(counted) - {"cholesky_inverse", "cholesky_ex"}


# -- memory -----------------------------------------------------------------------------------------


def zeros(outputs, width):
    return HeadWeights(torch.zeros(1).expand(outputs, width), None, CrossEntropy(), 1e-3)


def test_the_method_is_that_which_fits_the_memory_given():
    head = zeros(100, 100)
    assert rank.choose(head, Solving()) == "dense"
    assert rank.choose(head, Solving(), memory=1.01 * closed_form_bytes(head)) == "dense"
    assert rank.choose(head, Solving(), memory=0.99 * closed_form_bytes(head)) == "sketch"
    with pytest.raises(swaypoint.InputError, match=r"needs .* GB and .* may be held .*a larger --max-memory"):
        rank.choose(head, Solving(), memory=0.99 * sketch_bytes(head))
    with pytest.raises(swaypoint.InputError, match=r"solver='sketch'.*a larger --max-memory"):
        rank.choose(head, Solving(solver="exact"), memory=GIB)


def archive(path, n, width, classes):
    generator = np.random.default_rng(0)
    labels = np.arange(n) % classes
    np.savez(path, features=generator.normal(size=(n, width)).astype(np.float32), labels=labels)
    return path


@pytest.mark.slow
def test_max_memory_picks_the_method_of_an_audit_and_says_so(tmp_path):
    data, said = archive(tmp_path / "many.npz", 200, 110, 40), []
    assert rank.choose(zeros(40, 111), Solving()) == "dense"
    listener, scale = Listener(note=said.append), Scale(max_memory=1.0)
    small = swaypoint.audit(data, tmp_path / "b", listener=listener, scale=scale)
    assert small.manifest().diagnostics.solver.startswith("sketch of 160 draws")
    assert said == [
        "4,440 parameters of the last layer: too many to factorise here; Cook's distances are estimated by a"
        " sketch, with an error"
    ]
    assert "standard_error" in small.scores().column_names


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (
            (200, 500, 100),
            "needs .* GB and 1.1 may be held .max_memory.; use fewer features.*a larger --max-memory",
        ),
        (
            (6000, 2, 5000),
            "the probabilities of 5,000 classes at 6,000 points take 1.2 GB, and 1.1 may be held",
        ),
    ],
    ids=["head", "probabilities"],
)
def test_what_does_not_fit_is_refused_before_it_starts(size, words, tmp_path):
    data = archive(tmp_path / "many.npz", *size)
    result = CliRunner().invoke(
        app, ["audit", str(data), "--max-memory", "1", "--out", str(tmp_path / "out")]
    )
    assert isinstance(result.exception, swaypoint.InputError)
    assert re.search(words, str(result.exception))
    assert not (tmp_path / "out").exists()


def test_a_last_layer_that_is_too_wide_is_refused_before_its_network_is_trained(tmp_path):
    labels = np.arange(4000) % 2000
    columns = {f"x{i}": np.random.default_rng(i).normal(size=4000) for i in range(3)}
    pq.write_table(
        pa.table({**columns, "label": [f"c{label}" for label in labels]}), tmp_path / "wide.parquet"
    )
    stages = []
    with pytest.raises(
        swaypoint.InputError, match=r"2,000 outputs on 65 features needs 1\.7 GB and 1\.1 may"
    ):
        swaypoint.audit(
            tmp_path / "wide.parquet",
            tmp_path / "out",
            scale=Scale(max_memory=1.0),
            listener=Listener(stage=stages.append),
        )
    assert not (tmp_path / "out").exists()
    assert not any("train" in stage for stage in stages)


CHILD = """
import resource, sys
from swaypoint.cli.main import main
resource.setrlimit(resource.RLIMIT_DATA, (int(float(sys.argv.pop(1)) * 1e9), resource.RLIM_INFINITY))
main()
"""


@pytest.mark.parametrize(
    ("size", "gigabytes", "words"),
    [
        pytest.param((500, 2, 330), 1.7, "closed form, Cholesky of 987 parameters", marks=pytest.mark.slow),
        pytest.param((300, 128, 150), 1.8, "sketch of 160 draws", marks=pytest.mark.slow),
        pytest.param((300, 500, 150), 1.0, "needs .* GB and .* are free here", marks=pytest.mark.slow),
    ],
    ids=["many classes", "embeddings", "too little"],
)
def test_an_audit_stays_within_the_memory_there_is(size, gigabytes, words, tmp_path):
    data = archive(tmp_path / "many.npz", *size)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CHILD, str(gigabytes), "audit", "many.npz"],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=data.parent,
    )
    assert re.search(words, re.sub(r"\s+", " ", done.stdout + done.stderr)), done.stderr[-500:]
    assert done.returncode == (1 if "needs" in words else 0)
    assert "Traceback" not in done.stderr
