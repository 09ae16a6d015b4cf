"""Cook's distance of a linear head against dense float64 automatic differentiation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import oracles
import swaypoint
from swaypoint.data.batches import ArrayBatches
from swaypoint.scoring.blank_head import blank_head, zero_head
from swaypoint.scoring.closed_form import ACCURACY, Influence
from swaypoint.scoring.risks import losses
from swaypoint.scoring.risks.chunk import check_range
from swaypoint.scoring.risks.coordinates import whitening
from swaypoint.scoring.risks.head import HeadWeights
from swaypoint.scoring.risks.losses import DiagonalMinusOuter, Loss, Terms, as_loss, regression

N, D = 300, 7


def classes(generator, n, c):
    return torch.randint(0, c, (n,), generator=generator)


CASES = {
    "cross_entropy": (losses.CrossEntropy(), 4, F.cross_entropy, classes),
    "two classes": (losses.CrossEntropy(), 2, F.cross_entropy, classes),
    "smoothed": (
        losses.CrossEntropy(label_smoothing=0.1),
        4,
        lambda z, y: F.cross_entropy(z, y, label_smoothing=0.1),
        classes,
    ),
    "weighted": (
        losses.CrossEntropy(weight=torch.tensor([0.5, 1.0, 2.0])),
        3,
        lambda z, y: F.cross_entropy(z, y, weight=torch.tensor([0.5, 1.0, 2.0]).double(), reduction="sum"),
        classes,
    ),
    "soft labels": (
        losses.CrossEntropy(),
        3,
        F.cross_entropy,
        lambda g, n, c: torch.randn(n, c, generator=g).double().softmax(1),
    ),
    "binary": (
        losses.BinaryCrossEntropy(),
        1,
        lambda z, y: F.binary_cross_entropy_with_logits(z, y, reduction="sum"),
        lambda g, n, c: torch.randint(0, 2, (n, c), generator=g).double(),
    ),
    "multi-label": (
        losses.BinaryCrossEntropy(pos_weight=3.0),
        3,
        lambda z, y: F.binary_cross_entropy_with_logits(
            z, y, pos_weight=torch.tensor(3.0).double(), reduction="sum"
        ),
        lambda g, n, c: torch.randint(0, 2, (n, c), generator=g).double(),
    ),
    "squared": (
        losses.SquaredError(),
        2,
        lambda z, y: 0.5 * (z - y).square().sum(),
        lambda g, n, c: torch.randn(n, c, generator=g).double(),
    ),
    "huber": (
        losses.Huber(delta=0.7),
        2,
        lambda z, y: F.huber_loss(z, y, delta=0.7, reduction="sum"),
        lambda g, n, c: torch.randn(n, c, generator=g).double(),
    ),
    "poisson": (
        losses.Poisson(),
        1,
        lambda z, y: F.poisson_nll_loss(z, y, reduction="sum"),
        lambda g, n, c: torch.poisson(torch.full((n, c), 2.0), generator=g).double(),
    ),
    "custom": (
        losses.Custom(lambda z, y: F.cross_entropy(z, y) + 0.05 * z.square().sum()),
        3,
        lambda z, y: F.cross_entropy(z, y) + 0.05 * z.square().sum(),
        classes,
    ),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("collinear", [False, True], ids=["full rank", "collinear"])
@pytest.mark.parametrize("l2", [0.0, 0.01], ids=["plain", "ridge"])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("case", CASES)
def test_equals_dense_autodiff(case, bias, l2, collinear, dtype):
    loss, outputs, function, make_targets = CASES[case]
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(N, D, generator=generator)
    if collinear:
        features = torch.cat([features, features[:, :1] * 2, torch.zeros(N, 1)], 1)
    targets = make_targets(generator, N, outputs)
    weight = 0.5 * torch.randn(outputs, features.shape[1], generator=generator)
    offset = torch.randn(outputs, generator=generator) if bias else None
    head = HeadWeights(weight, offset, loss, l2)
    scores = Influence(head, ArrayBatches(features, targets, 128), dtype=dtype).scores()

    phi = torch.cat([features, torch.ones(N, 1)], 1) if bias else features
    expected = oracles.cooks_distance(
        *oracles.rows_and_hessian(function, head.matrix, phi, targets), l2
    ).numpy()
    tolerance = 1e-5 if dtype == torch.float32 else 1e-10
    np.testing.assert_allclose(scores.cook, expected, rtol=tolerance, atol=1e-16)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("collinear", [False, True], ids=["full rank", "nearly collinear"])
@pytest.mark.parametrize(("classes", "width"), [(3, 8), (4, 20), (2, 40)])
@pytest.mark.parametrize("sharpness", [1.0, 20.0, 60.0])
def test_nearly_all_are_within_the_error_that_is_told(sharpness, classes, width, collinear, seed):
    # Sharp logits leave few points that curve; wrong labels give them gradients where there is no curvature.
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(2000, width, generator=generator)
    if collinear:
        half = features[:, : width // 2]
        features = torch.cat([half, half + 1e-3 * features[:, width // 2 :]], 1)
    labels = torch.randint(0, classes, (len(features),), generator=generator)
    weight = sharpness / width**0.5 * torch.randn(classes, width, generator=generator)
    head, data = HeadWeights(weight, None, losses.CrossEntropy()), ArrayBatches(features, labels)
    expected = oracles.cooks_distance(
        *oracles.rows_and_hessian(F.cross_entropy, head.matrix, features, labels)
    ).numpy()
    single, chosen = Influence(head, data, dtype=torch.float32), Influence(head, data)
    told = expected > 1e-10 * expected.mean()  # p - 1 of a sure point has no digits in the oracle
    off, left = (abs(found.scores().cook / expected - 1.0)[told] for found in (single, chosen))
    assert np.quantile(off, 0.99) <= single.estimated_error
    assert sharpness > 1.0 or single.estimated_error < 10 * np.quantile(off, 0.99)
    assert chosen.dtype == (torch.float32 if single.estimated_error <= ACCURACY else torch.float64)
    assert np.quantile(left, 0.99) <= ACCURACY


# -- coordinates ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_whitening_does_not_hang_on_the_last_digits(seed):
    """Of one-hot features many eigenvalues are equal, and their eigenvectors are anyone's."""
    generator = torch.Generator().manual_seed(seed)
    features = F.one_hot(torch.arange(400) % 20).double()
    moment = features.T @ features / 400
    noise = 1e-15 * torch.randn(20, 20, generator=generator, dtype=torch.float64)
    found, again = whitening(moment), whitening(moment + noise + noise.T)
    torch.testing.assert_close(found.T @ moment @ found, torch.eye(20).double(), rtol=0, atol=1e-6)
    torch.testing.assert_close(found, again, rtol=0, atol=1e-10)


# -- losses by name ---------------------------------------------------------------------------------


class LogCosh(Loss):
    """log cosh(z - y), summed over the outputs."""

    name = "log_cosh"
    separable = True

    def check(self, targets, outputs, offset=0):
        return targets.double().view(len(targets), outputs)

    def terms(self, logits, targets):
        error = logits - targets
        slope = error.tanh()
        return Terms(error.cosh().log().sum(1), slope, DiagonalMinusOuter(1 - slope.square()))


@pytest.fixture
def log_cosh():
    losses.losses.register("log_cosh", LogCosh)
    yield
    del losses.losses._own["log_cosh"]


@pytest.mark.usefixtures("log_cosh")
@pytest.mark.parametrize("params", [None, "*"])
def test_a_loss_of_anothers_works_where_ours_do(params):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(N, D, generator=generator).double()
    targets = torch.randn(N, 2, generator=generator).double()
    model = torch.nn.Linear(D, 2).double()
    ranking = swaypoint.cooks_distance(
        model, (features, targets), loss="log_cosh", l2=0.01, params=params, progress=False
    )
    matrix = torch.cat([model.weight, model.bias.unsqueeze(1)], 1).detach()
    phi = torch.cat([features, torch.ones(N, 1)], 1)
    expected = oracles.cooks_distance(
        *oracles.rows_and_hessian(lambda z, y: (z - y).cosh().log().sum(), matrix, phi, targets), 0.01
    )
    np.testing.assert_allclose(ranking.values, expected, rtol=1e-5)
    fitted = swaypoint.cooks_distance_from_features(
        features, targets[:, 0], loss="log_cosh", progress=False, dtype=torch.float64
    )
    assert fitted.diagnostics.checks[0].verdict == "fit"  # at its optimum
    assert regression("log_cosh")


def test_an_unknown_loss_lists_those_there_are():
    with pytest.raises(swaypoint.InputError, match=r"no loss 'hinge'; expected binary_cross_entropy, cross_"):
        as_loss("hinge")
    with pytest.raises(swaypoint.InputError, match="no loss 'hinge'"):
        regression("hinge")
    with pytest.raises(swaypoint.InputError, match="loss is a int; expected a name"):
        as_loss(3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "values", "outputs"),
    [
        ("cross_entropy", False, [1, 2, 5]),
        ("binary_cross_entropy", False, [1, 1, 1]),
        ("squared_error", True, [1, 1, 1]),
        ("huber", True, [1, 1, 1]),
        ("poisson", True, [1, 1, 1]),
    ],
)
def test_a_loss_knows_its_targets_and_the_outputs_of_its_head(name, values, outputs):
    assert regression(name) is values
    assert [as_loss(name).outputs(classes) for classes in (0, 2, 5)] == outputs


@pytest.mark.parametrize(
    ("loss", "targets", "classes", "outputs"),
    [
        ("cross_entropy", torch.tensor([0, 2, 1, 0]), 0, 3),
        ("cross_entropy", torch.tensor([0, 2, 1, 0]), 5, 5),  # two of them without a point here
        ("cross_entropy", torch.ones(4, 3) / 3, 0, 3),
        ("binary_cross_entropy", torch.tensor([0.0, 1.0, 1.0, 0.0]), 2, 1),
        ("squared_error", torch.zeros(4, 2), 0, 2),
        ("poisson", torch.zeros(4), 0, 1),
    ],
)
def test_the_head_to_start_from(loss, targets, classes, outputs):
    head = blank_head(ArrayBatches(torch.ones(4, 6), targets, 3), as_loss(loss), 0.5, classes=classes)
    assert head.weight.shape == (outputs, 6)
    assert (head.l2, head.penalize_bias) == (0.5, False)
    assert not head.matrix.any()
    assert zero_head(outputs, 6, as_loss(loss), 0.5).matrix.equal(head.matrix)


@pytest.mark.parametrize(("bytes_kept", "passes"), [(1 << 30, 1), (0, 2)])
def test_points_are_read_once_where_memory_holds_what_is_made_of_them(monkeypatch, bytes_kept, passes):
    read = []

    class Read(ArrayBatches):
        def __iter__(self):
            read.append(1)
            return super().__iter__()

    monkeypatch.setattr("swaypoint.scoring.risks.head.room", lambda device: bytes_kept)
    generator = torch.Generator().manual_seed(0)
    features, labels = torch.randn(900, 5, generator=generator), torch.arange(900) % 3
    weights = HeadWeights(torch.randn(3, 5, generator=generator), None, losses.CrossEntropy(), l2=1e-3)
    found = Influence(weights, Read(features, labels)).scores().cook
    assert len(read) == passes
    monkeypatch.undo()
    np.testing.assert_array_equal(found, Influence(weights, ArrayBatches(features, labels)).scores().cook)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e150, -1e153, 1e160])
def test_features_beyond_the_range_of_squares_are_refused_by_row(value):
    columns = torch.full(
        (3, 5), 9e149, dtype=torch.float64
    )  # allowed, though the sum of their squares is not
    check_range(columns, 10)
    columns[1, 2] = value
    message = (
        r"features of row 12 are NaN or infinite" if not np.isfinite(value) else r"feature 1 of row 12 is"
    )
    with pytest.raises(swaypoint.InputError, match=message):
        check_range(columns, 10)
