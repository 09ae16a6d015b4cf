"""The default networks, their recipes, and what a training records of each point."""

from __future__ import annotations

import copy
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from swaypoint.data.dataset import Dataset
from swaypoint.data.hardware import fast_bfloat16
from swaypoint.models import training as trainings
from swaypoint.models import trajectory
from swaypoint.models.airbench import Airbench
from swaypoint.models.loop import Changes, Plan, SplitData, train
from swaypoint.models.muon import Muon, orthogonal
from swaypoint.models.networks import MLP, VGG19, EfficientNetB0, ResNet20, Standardize
from swaypoint.models.predictor import ModelOptions, Objective, Rows, Training, prepare
from swaypoint.models.recipes import AIRBENCH, PERCEPTRON, RESNET20, ElasticNet, build
from swaypoint.models.trajectory import Trajectory

STILL = replace(
    PERCEPTRON, optimizer="sgd", rate=1e-12, decay=0.0, schedule="constant", batch_size=16, epochs=2
)


@pytest.fixture
def split():
    generator = torch.Generator().manual_seed(0)
    inputs, targets = torch.randn(50, 6, generator=generator), torch.randint(3, (50,), generator=generator)
    rows = torch.arange(50)
    return SplitData(inputs, targets, train=rows[:40], validation=rows[40:])


# -- networks ---------------------------------------------------------------------------------------


def standardize():
    return Standardize(torch.full((3, 1, 1), 0.5), torch.full((3, 1, 1), 0.25))


def parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


def test_efficientnet_is_that_of_the_transformers():
    from transformers import EfficientNetConfig, EfficientNetForImageClassification

    with torch.device("meta"):
        config = EfficientNetConfig(
            width_coefficient=1.0, depth_coefficient=1.0, hidden_dim=1280, num_labels=1000
        )
        theirs, ours = EfficientNetForImageClassification(config), EfficientNetB0(standardize(), 1000)
    assert parameters(ours) == parameters(theirs)


def test_networks_have_the_published_sizes():
    with torch.device("meta"):
        assert parameters(ResNet20(standardize(), 10)) == pytest.approx(0.27e6, rel=0.01)  # He et al., 6
        # Simonyan & Zisserman's 144 million without the three linear layers of 123.6, with batch norms.
        convolutions = 144e6 - (25088 * 4096 + 4096 * 4096 + 4096 * 1000)
        assert parameters(VGG19(standardize(), 10)) == pytest.approx(convolutions, rel=0.02)


@pytest.mark.parametrize(
    ("network", "features"), [(Airbench, 256), (ResNet20, 64), (VGG19, 512), (EfficientNetB0, 1280)]
)
@pytest.mark.parametrize("side", [16, 32])
def test_networks_take_images_of_several_sides(network, features, side):
    model = network(standardize(), 10).eval()
    assert model.head.in_features == features
    with torch.no_grad():
        assert model(torch.rand(2, 3, side, side)).shape == (2, 10)


# -- recipes ----------------------------------------------------------------------------------------


def test_elastic_net_is_on_the_chosen_layers():
    model = MLP(Standardize(torch.zeros(6), torch.ones(6)), 3)
    weight = model.head.weight.detach()
    expected = 0.1 * weight.abs().sum() + 0.25 * weight.square().sum()
    torch.testing.assert_close(ElasticNet(0.1, 0.5).penalty(model).detach(), expected)
    for layer in (model.hidden[0], model.hidden[2]):
        expected = expected + 0.1 * layer.weight.detach().abs().sum()
        expected = expected + 0.25 * layer.weight.detach().square().sum()
    whole = ElasticNet(0.1, 0.5, ("head", "hidden")).penalty(model).detach()
    torch.testing.assert_close(whole, expected)


def test_elastic_net_shrinks_the_weights_that_it_is_on(split, tmp_path):
    norms = []
    for number, elastic in enumerate((None, ElasticNet(1e-2, 1e-1))):
        (tmp_path / str(number)).mkdir()
        model = build(PERCEPTRON, split.inputs, 3, seed=0)
        recipe = replace(PERCEPTRON, elastic=elastic, decay=0.0, batch_size=8)
        norms.append(train(model, split, recipe, Plan(20, 0, tmp_path / str(number))).head.weight.norm())
    assert norms[1] < 0.7 * norms[0]


@pytest.mark.parametrize(("side", "mixed"), [(8, False), (15, False), (16, True), (32, True)])
@pytest.mark.parametrize("recipe", [RESNET20, AIRBENCH])
def test_tiny_images_are_trained_in_float32(recipe, side, mixed):
    assert recipe.adapted(torch.zeros(400, side, side, 3), torch.arange(400) % 2).mixed is mixed


def test_sides_grow_with_the_epochs():
    recipe = replace(RESNET20, sides=((16, 0.3), (24, 0.7)))
    assert [recipe.side(epoch, 10) for epoch in range(10)] == [16] * 3 + [24] * 4 + [None] * 3
    assert RESNET20.side(0, 10) is None


@pytest.mark.parametrize(
    ("schedule", "last"), [("cosine", 0.0), ("step", 0.01), ("constant", 1.0), ("cycle", 0.0)]
)
def test_schedules_end_where_they_should(split, tmp_path, schedule, last):
    rates = []
    recipe = replace(PERCEPTRON, schedule=schedule, rate=1e-2, batch_size=8)

    class Rates(Trajectory):
        def before_step(self, rate):
            rates.append(rate)
            super().before_step(rate)

    watch = Rates("head", 50, 8)
    train(build(recipe, split.inputs, 3, seed=0), split, recipe, Plan(8, 0, tmp_path), watches=[watch])
    assert len(rates) == 40
    assert max(rates) == pytest.approx(1e-2, rel=0.01)
    assert rates[-1] == pytest.approx(1e-2 * last, abs=3e-5)


@pytest.mark.parametrize("elastic", [None, ElasticNet(1e-3, 1e-2)])
@pytest.mark.parametrize("kind", ["classes", "values"])
@pytest.mark.parametrize(
    ("optimizer", "schedule"),
    [("sgd", "cycle"), ("adam", "cycle"), ("adam", "cosine"), ("adamw", "step"), ("muon", "triangle")],
)
def test_the_small_loop_trains_as_lightning_does(split, tmp_path, optimizer, schedule, kind, elastic):
    """To the bit: weights, trajectory, and what is reported of each epoch (there to rounding)."""
    from swaypoint.models.lightning_loop import train_by_lightning
    from swaypoint.models.small_loop import train_small

    if kind == "values":
        split = replace(split, targets=split.inputs.sum(1).double())
    recipe = replace(PERCEPTRON, optimizer=optimizer, schedule=schedule, batch_size=16, elastic=elastic)
    found = []
    for number, loop in enumerate((train_by_lightning, train_small)):
        (tmp_path / str(number)).mkdir()
        told, watches = [], [Trajectory("head", 50, 4, 3)] if kind == "classes" else []
        model = build(recipe, split.inputs, 3 if kind == "classes" else 1, seed=0)
        plan = Plan(4, 0, tmp_path / str(number), "cpu")
        loop(model, split, recipe, plan, report=lambda *one, told=told: told.append(one), watches=watches)
        found.append((model.state_dict(), [watch.state_dict() for watch in watches], told))
    (weights, records, told), (ours, our_records, we_told) = found
    for name, weight in weights.items():
        assert torch.equal(weight, ours[name]), name
    for record, our_record in zip(records, our_records, strict=True):
        for name, values in record.items():
            torch.testing.assert_close(values, our_record[name], rtol=0, atol=0, equal_nan=True)
    np.testing.assert_allclose(told, we_told, rtol=1e-5)


def test_a_table_is_trained_without_lightning():
    code = (
        "import sys, tempfile, swaypoint; from swaypoint.models.predictor import ModelOptions\n"
        "from swaypoint.auditing.options import AuditOptions\n"
        "options = AuditOptions(model=ModelOptions(epochs=1), top=3)\n"
        "swaypoint.audit('sklearn:wine', tempfile.mkdtemp(), options=options)\n"
        "assert not {'lightning', 'torch._dynamo'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# -- images -----------------------------------------------------------------------------------------


def test_changes_shift_and_mirror():
    images = torch.rand(64, 3, 16, 16)
    generator = torch.Generator().manual_seed(0)
    mirrored = Changes(mirror=True)(images, generator)
    turned = [bool((after == before.flip(2)).all()) for before, after in zip(images, mirrored, strict=True)]
    kept = [bool((after == before).all()) for before, after in zip(images, mirrored, strict=True)]
    assert all(a != b for a, b in zip(turned, kept, strict=True))
    assert 15 < sum(turned) < 49
    padded = F.pad(images, (2, 2, 2, 2), mode="replicate")
    shifted = Changes(shift=True)(images, generator)
    for before, after in zip(padded, shifted, strict=True):
        places = [(y, x) for y in range(5) for x in range(5)]
        assert any(torch.equal(before[:, y : y + 16, x : x + 16], after) for y, x in places)


def test_changes_bring_images_to_a_side():
    flat = torch.full((2, 3, 32, 32), 0.3)
    assert Changes(side=16)(flat, torch.Generator()).shape == (2, 3, 16, 16)
    torch.testing.assert_close(Changes(side=16)(flat, torch.Generator()), flat[:, :, :16, :16])
    assert torch.equal(Changes(side=64)(flat, torch.Generator()), flat)  # never enlarged


def test_bfloat16_is_used_where_the_processor_has_it():
    flags = torch.cpu.get_capabilities()
    assert fast_bfloat16("cpu") == bool(flags.get("avx512_bf16") or flags.get("amx_bf16"))


def small_network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 24), nn.ReLU(), nn.Linear(24, 3))


@pytest.mark.parametrize("shape", [(24, 32), (32, 24), (40, 40), (1, 7)])
def test_orthogonal_steps_are_near_the_polar_factor(shape):
    """U V' of numpy's singular value decomposition."""
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, _, v = np.linalg.svd(matrix.double().numpy(), full_matrices=False)
    found = orthogonal(matrix).double().numpy()
    values = np.linalg.svd(found, compute_uv=False)
    assert 0.3 < values.min() <= values.max() < 1.3
    assert np.sum(found * (u @ v)) / np.linalg.norm(found) / min(shape) ** 0.5 > 0.95


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch before 2.9 has no Muon")
def test_muon_steps_as_torch_does():
    """Its Muon between the first and the last matrix, its Adam for the rest, with the ridge on both ends."""
    model, other = small_network(), small_network()
    ours = Muon(model, 1e-2, 1e-1, torch.bfloat16)
    ends = [other[0].weight, other[4].weight]
    theirs = (
        torch.optim.Muon([other[2].weight], 1e-2, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"),
        torch.optim.Adam(ends, 1e-2, weight_decay=1e-1),
        torch.optim.Adam([other[number].bias for number in (0, 2, 4)], 1e-2),
    )
    x, y = torch.randn(100, 6), torch.randint(3, (100,))
    for _ in range(5):
        for network, optimizers in ((model, (ours,)), (other, theirs)):
            network.zero_grad()
            F.cross_entropy(network(x), y).backward()
            for optimizer in optimizers:
                optimizer.step()
    for found, expected in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_an_interrupted_training_by_muon_goes_on_to_the_same_bits(split, tmp_path):
    recipe = replace(PERCEPTRON, optimizer="muon", schedule="triangle", batch_size=16)
    whole, stopped = (build(recipe, split.inputs, 3, seed=0) for _ in range(2))
    (tmp_path / "whole").mkdir()
    (tmp_path / "stopped").mkdir()
    train(whole, split, recipe, Plan(4, 0, tmp_path / "whole", "cpu"))

    def interrupt(epoch, *_):
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(stopped, split, recipe, Plan(4, 0, tmp_path / "stopped", "cpu"), report=interrupt)
    again = build(recipe, split.inputs, 3, seed=1)
    train(again, split, recipe, Plan(4, 0, tmp_path / "stopped", "cpu"))
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name]), name


# -- trajectories -------------------------------------------------------------------------------------


def test_trajectory_is_what_the_training_saw(split, tmp_path):
    """At a rate of nearly nothing the model stands still: every visit sees the first model."""
    model = build(STILL, split.inputs, 3, seed=0)
    logits = model(split.inputs)
    own = logits.gather(1, split.targets[:, None]).squeeze(1)
    others = torch.stack(
        [torch.cat([z[:y], z[y + 1 :]]).max() for z, y in zip(logits, split.targets, strict=True)]
    )
    losses = F.cross_entropy(logits, split.targets, reduction="none")
    squares = []
    for loss in losses:
        gradient = torch.autograd.grad(loss, list(model.head.parameters()), retain_graph=True)
        squares.append(sum(float(part.square().sum()) for part in gradient))
    watch = Trajectory("head", 50, 2, 3)
    train(model, split, STILL, Plan(2, 0, tmp_path), watches=[watch])
    for epoch in range(2):
        torch.testing.assert_close(watch.margins[:40, epoch], (own - others).detach()[:40])
        torch.testing.assert_close(watch.losses[:40, epoch], losses.detach()[:40])
    expected = 2 * 1e-12 * torch.tensor(squares[:40])
    torch.testing.assert_close(watch.tracin[:40], expected, rtol=1e-4, atol=0.0)
    assert watch.margins[40:].isnan().all()  # held out
    assert not watch.tracin[40:].any()
    for name in ("probabilities", "whole"):
        recorded = watch.course()[name]
        assert recorded.dtype == torch.float16
        torch.testing.assert_close(recorded[:40].float(), logits.softmax(1)[:40], rtol=1e-3, atol=1e-4)
        assert recorded[40:].isnan().all()


def test_the_last_third_is_recorded_apart(split):
    """Logits that the test gives in place of a training's, another in each of five epochs."""
    watch, model = Trajectory("", 50, 5, 3), torch.nn.Identity()
    logits = torch.randn(5, 50, 3, generator=torch.Generator().manual_seed(0))
    watch.start(model)
    for epoch in range(5):
        model(logits[epoch])
        watch.after_step(split.targets, torch.arange(50), epoch)
    watch.stop()
    course, p = watch.course(), logits.softmax(2)
    torch.testing.assert_close(course["probabilities"].float(), p[3:].mean(0), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(course["whole"].float(), p.mean(0), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("gathered", [1, 40, 10**9])
def test_records_of_several_steps_at_once_are_those_of_each(split, monkeypatch, gathered):
    """To rounding, whatever is worked out together, and whole whenever the state is asked for."""
    rng = torch.Generator().manual_seed(1)
    logits, rates = 3 * torch.randn(3, 50, 3, generator=rng), torch.rand(15, generator=rng).tolist()
    order = torch.randperm(50, generator=rng)

    def recorded(points, *, asked):
        monkeypatch.setattr(trajectory, "_GATHERED", points)
        watch, model, steps = Trajectory("", 50, 3, 3), torch.nn.Identity(), iter(rates)
        watch.start(model)
        for epoch in range(3):
            for rows in order.roll(7 * epoch).split(11):
                watch.before_step(next(steps))
                model(logits[epoch, rows])
                watch.after_step(split.targets[rows], rows, epoch)
                if asked:
                    state = watch.state_dict()
                    assert not state["losses"][rows, epoch].isnan().any()
                    again = Trajectory("", 50, 3, 3)
                    again.load_state_dict(copy.deepcopy(state))
                    watch.stop()
                    watch = again
                    watch.start(model)
        watch.stop()
        return watch

    together, interrupted = recorded(gathered, asked=False), recorded(gathered, asked=True)
    alone = recorded(1, asked=False)
    for watch in (together, interrupted):
        for name, values in alone.state_dict().items():
            torch.testing.assert_close(watch.state_dict()[name], values, rtol=1e-5, atol=1e-6)
        for name, values in alone.course().items():
            torch.testing.assert_close(watch.course()[name], values, rtol=1e-3, atol=1e-5)
    z = logits[2].double()  # and by another route, of the last epoch
    losses = torch.nn.functional.nll_loss(z.log_softmax(1), split.targets, reduction="none")
    torch.testing.assert_close(together.losses[:, 2].double(), losses, rtol=1e-5, atol=1e-6)


@given(points=st.integers(1, 10**7))
def test_batches_grow_where_an_epoch_would_take_too_many_steps(points):
    recipe = PERCEPTRON.for_points(points)
    steps = -(-points // recipe.batch_size)
    assert steps <= 128
    times = recipe.batch_size / 64
    assert recipe.rate == pytest.approx(3e-3 * times**0.5)
    assert times == 1 or -(-points // (recipe.batch_size - 64)) > 128  # no larger than they must be
    assert RESNET20.for_points(points) == RESNET20
    if points <= 8192:
        assert recipe == PERCEPTRON


def test_a_large_table_is_trained_in_few_steps(tmp_path, monkeypatch):
    points, asked = 10_000, []

    def stop(model, split, recipe, plan, **_):
        asked.append(recipe)
        raise KeyboardInterrupt

    inputs = np.random.default_rng(0).normal(size=(points, 2)).astype(np.float32)
    dataset = Dataset(
        name="made",
        kind="rows",
        inputs=inputs,
        labels=(inputs[:, 0] > 0).astype(np.int64),
        classes=("a", "b"),
        columns=("x", "y"),
        index=np.arange(points),
        names=(),
        skipped=(),
        fingerprint="",
    )
    monkeypatch.setattr(trainings, "train", stop)
    rows = Rows(np.arange(points), np.arange(0))
    training = Training(tmp_path, 0, "cpu")
    with pytest.raises(KeyboardInterrupt):
        prepare(dataset, rows, ModelOptions("mlp", epochs=1), Objective(), training=training)
    assert asked[0].batch_size == 128


def test_probabilities_that_take_too_much_are_not_recorded():
    assert set(Trajectory("head", 2**20, 1, 2**8).course()) == {"margins", "losses"}


def test_an_interrupted_training_records_the_same(split, tmp_path):
    recipe = replace(PERCEPTRON, batch_size=16)
    watches = {}
    for name in ("whole", "interrupted"):
        (tmp_path / name).mkdir()
        plan, watches[name] = Plan(4, 0, tmp_path / name), Trajectory("head", 50, 4, 3)
        if name == "interrupted":

            def stop(epoch, *_):
                if epoch == 2:
                    raise KeyboardInterrupt

            model = build(recipe, split.inputs, 3, seed=0)
            with pytest.raises(KeyboardInterrupt):
                train(model, split, recipe, plan, report=stop, watches=[Trajectory("head", 50, 4, 3)])
        model = build(recipe, split.inputs, 3, seed=0)
        train(model, split, recipe, plan, watches=[watches[name]])
    for part in ("margins", "losses", "tracin"):
        np.testing.assert_array_equal(getattr(watches["whole"], part), getattr(watches["interrupted"], part))
    whole, interrupted = (watches[name].course() for name in ("whole", "interrupted"))
    for part in ("probabilities", "whole"):
        np.testing.assert_array_equal(whole[part], interrupted[part])
