"""The default for images: its first layer, its rates, and how it is fitted to the data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

import swaypoint
from swaypoint.auditing.options import AuditOptions
from swaypoint.data.dataset import Dataset
from swaypoint.data.readers import read_dataset
from swaypoint.models import loop
from swaypoint.models.airbench import Airbench, Pair, whitening
from swaypoint.models.convolution import Convolution
from swaypoint.models.loop import Changes, Plan, SplitData, optimiser, seconds_of, train
from swaypoint.models.mirrored import mirrors_alike
from swaypoint.models.networks import Standardize
from swaypoint.models.predictor import ModelOptions, resolve
from swaypoint.models.recipes import AIRBENCH, build
from swaypoint.models.trajectory import Trajectory


def drawn(points, side, *, seed=0, channels=3):
    """Smooth pictures (n, side, side, 3) uint8."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(points, channels, 4, 4, generator=generator)
    smooth = F.interpolate(coarse, size=(side, side), mode="bilinear") + 0.2 * torch.rand(
        points, channels, side, side, generator=generator
    )
    return (smooth / 1.2 * 255).byte().permute(0, 2, 3, 1).expand(-1, -1, -1, 3).contiguous()


@pytest.fixture
def split():
    inputs = drawn(60, 16)
    targets = (inputs[:, 4:12, 4:12, 0].float().mean((1, 2)) > 127).long()
    rows = torch.arange(60)
    return SplitData(inputs, targets, train=rows[:48], validation=rows[48:])


SMALL = replace(AIRBENCH, batch_size=16, rate=0.05, sides=((8, 0.5),))


# -- the first layer ----------------------------------------------------------------------------------


def second_moment(pictures, filters):
    """Of the filters' outputs over all patches, by numpy in float64."""
    pictures, filters = pictures.double().numpy(), filters.double().numpy()
    patches = np.lib.stride_tricks.sliding_window_view(pictures, (2, 2), axis=(2, 3))
    outputs = np.einsum("nchwij,fcij->nhwf", patches, filters).reshape(-1, len(filters))
    return outputs.T @ outputs / len(outputs)


def test_outputs_of_the_first_layer_are_white():
    pictures = drawn(40, 12).permute(0, 3, 1, 2).float() / 255
    pictures = (pictures - pictures.mean((0, 2, 3), keepdim=True)) / 0.02  # far above what is shrunk
    filters = whitening(pictures)
    assert filters.shape == (24, 3, 2, 2)
    np.testing.assert_allclose(second_moment(pictures, filters[:12]), np.eye(12), atol=2e-3)
    assert torch.equal(filters[12:], -filters[:12])


def test_small_variances_are_shrunk():
    pictures = drawn(40, 12).permute(0, 3, 1, 2).float() / 255 - 0.5
    patches = np.lib.stride_tricks.sliding_window_view(pictures.double().numpy(), (2, 2), axis=(2, 3))
    patches = patches.transpose(0, 2, 3, 1, 4, 5).reshape(-1, 12)
    values = np.linalg.eigvalsh(patches.T @ patches / len(patches))
    expected = np.diag(values / (values + 1e-3))
    np.testing.assert_allclose(second_moment(pictures, whitening(pictures)[:12]), expected, atol=1e-5)


def test_grey_pictures_have_fewer_directions_and_no_empty_channel():
    pictures = drawn(40, 12, channels=1)
    filters = build(AIRBENCH, pictures, 2, seed=0).whiten.weight
    assert (filters.flatten(1).norm(dim=1) > 0.1).all()
    assert len({tuple(row) for row in filters.flatten(1).tolist()}) == 2 * 4


def test_nearly_constant_channels_do_not_blow_the_weights_up():
    """Scanned digits are grey, black at the border, and a single pixel in the last block."""
    digits = read_dataset("sklearn:digits")
    inputs, targets = torch.from_numpy(digits.inputs), torch.from_numpy(digits.labels)
    model = build(AIRBENCH, inputs, 10, seed=0)
    F.cross_entropy(model(inputs[:32].permute(0, 3, 1, 2).float() / 255), targets[:32]).backward()
    assert model.blocks[0].conv1.weight.grad.norm() < 200  # thousands without a level of the variances


def test_black_pictures_are_taken():
    pictures = torch.zeros(8, 8, 8, 3, dtype=torch.uint8)
    model = build(AIRBENCH, pictures, 2, seed=0)
    with torch.no_grad():
        assert model.eval()(pictures.permute(0, 3, 1, 2).float() / 255).isfinite().all()


# -- the network --------------------------------------------------------------------------------------


def test_convolutions_begin_as_the_identity():
    x = torch.randn(2, 8, 6, 6)
    for module, width in ((Pair(8, 12), 8), (Pair(8, 8), 8), (Pair(8, 6), 6)):
        torch.testing.assert_close(module.conv1(x)[:, :width], x[:, :width])


@pytest.mark.parametrize("side", [1, 2, 3, 7])
@pytest.mark.parametrize("channels", [(128, 256), (256, 128)])
def test_gradients_by_products_are_those_of_the_convolution(channels, side):
    """Against automatic differentiation in float64 of operands that bfloat16 holds exactly."""
    torch.manual_seed(0)
    module = Convolution(*channels).train()
    module.weight.data = module.weight.bfloat16().float()
    x = torch.randn(5, channels[0], side, side).bfloat16().float().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        output = module(x)
    assert "ByProducts" in type(output.grad_fn).__name__
    direction = torch.randn(output.shape).bfloat16()
    found = torch.autograd.grad(output, (x, module.weight), direction)
    exact = [value.detach().double().requires_grad_() for value in (x, module.weight)]
    truth = F.conv2d(*exact, padding=1)
    torch.testing.assert_close(output.double(), truth, rtol=2**-8, atol=2**-8)
    for ours, other in zip(found, torch.autograd.grad(truth, exact, direction.double()), strict=True):
        assert (ours.double() - other).norm() < 2**-8 * other.norm()  # bfloat16 keeps 8 bits


def test_products_are_taken_only_where_they_are_faster():
    few, wide, pictures = Convolution(64, 64), Convolution(256, 128), torch.randn(2, 256, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        found = [few(pictures[:, :64]), wide(F.pad(pictures, (1, 0))), wide.eval()(pictures)]
    for output in [*found, wide.train()(pictures)]:
        assert "ByProducts" not in type(output.grad_fn).__name__


@pytest.mark.parametrize("side", [2, 8, 28, 100])
def test_pictures_of_any_side_are_taken(side):
    model = Airbench(Standardize(torch.full((3, 1, 1), 0.5), torch.full((3, 1, 1), 0.25)), 100)
    pictures = torch.rand(3, 3, side, side)
    assert model.train()(pictures).shape == (3, 100)
    model.eval()
    with torch.no_grad():
        assert torch.equal(model(pictures), model(pictures))


def test_large_pictures_are_brought_to_a_moderate_side():
    seen = []
    model = build(AIRBENCH, drawn(4, 100), 2, seed=0).eval()
    model.blocks.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0].shape[-1]))
    model(torch.rand(1, 3, 100, 100))
    assert seen == [63]


def test_every_weight_has_a_rate_and_the_head_comes_first(split):
    model = build(SMALL, split.inputs, 2, seed=0)
    optimizer, _ = optimiser(model, SMALL, split, Plan(2, 0, None))
    given = [p for group in optimizer.param_groups for p in group["params"]]
    trained = [p for p in model.parameters() if p.requires_grad]
    assert sorted(map(id, given)) == sorted(map(id, trained))
    first, second = optimizer.param_groups[:2]
    assert (first["params"], second["params"]) == ([model.head.weight], [model.head.bias])
    assert (first["weight_decay"], second["weight_decay"]) == (SMALL.decay, 0.0)
    assert not any(p is model.whiten.weight for p in given)


def test_the_head_learns_as_with_logits_divided_by_nine(split):
    """One step of plain descent on W, of logits W x / 9, is that of the head here on W / 9."""
    model = build(SMALL, split.inputs, 2, seed=0)
    x, y = torch.randn(16, 256), split.targets[:16]
    whole = (9 * model.head.weight.detach()).requires_grad_()
    F.cross_entropy(x @ whole.T / 9, y).backward()
    optimizer, _ = optimiser(model, SMALL, split, Plan(2, 0, None))
    F.cross_entropy(model.head(x), y).backward()
    step = optimizer.param_groups[0]["initial_lr"] * model.head.weight.grad
    torch.testing.assert_close(9 * step, SMALL.rate * whole.grad)


# -- the training -------------------------------------------------------------------------------------


def test_the_rate_is_a_triangle(split, tmp_path):
    rates = []

    class Rates(Trajectory):
        def before_step(self, rate):
            rates.append(rate * 81)
            super().before_step(rate)

    recipe = replace(SMALL, sides=((4, 1.0),))
    watch = Rates("head", 60, 4)
    train(build(recipe, split.inputs, 2, seed=0), split, recipe, Plan(4, 0, tmp_path), watches=[watch])
    expected = 0.05 * np.interp(np.arange(12), [0, 0.23 * 12, 12], [0.2, 1.0, 0.0])
    np.testing.assert_allclose(rates, expected, rtol=1e-6)


def test_pictures_grow_with_the_epochs(split, tmp_path):
    sides, model = [], build(SMALL, split.inputs, 2, seed=0)
    model.register_forward_pre_hook(
        lambda module, inputs: sides.append(inputs[0].shape[-1]) if module.training else None
    )
    train(model, split, SMALL, Plan(4, 0, tmp_path))
    assert sides == [8] * 6 + [16] * 6


def test_an_interrupted_training_goes_on_to_the_bit(split, tmp_path):
    found = []
    for stops in (False, True):
        (tmp_path / str(stops)).mkdir()
        plan = Plan(4, 0, tmp_path / str(stops), "cpu")

        def stop(epoch, *_):
            if epoch == 3:
                raise KeyboardInterrupt

        if stops:
            with pytest.raises(KeyboardInterrupt):
                train(
                    build(SMALL, split.inputs, 2, seed=0),
                    split,
                    SMALL,
                    plan,
                    report=stop,
                    watches=[Trajectory("head", 60, 4, 2)],
                )
        watch, epochs = Trajectory("head", 60, 4, 2), []
        trained = train(
            build(SMALL, split.inputs, 2, seed=0),
            split,
            SMALL,
            plan,
            report=lambda epoch, *_, epochs=epochs: epochs.append(epoch),
            watches=[watch],
        )
        assert epochs == ([4] if stops else [1, 2, 3, 4])
        found.append(trained.state_dict() | watch.course() | {"tracin": watch.tracin})
    for name, values in found[0].items():
        np.testing.assert_array_equal(values, found[1][name], err_msg=name)


def test_it_learns_what_is_plain_to_see(split, tmp_path):
    recipe = AIRBENCH.adapted(split.inputs[split.train], split.targets[split.train])
    assert recipe.mirror
    recipe, told = replace(recipe, batch_size=8, rate=0.05), []
    model = build(recipe, split.inputs[split.train], 2, seed=0)
    train(model, split, recipe, Plan(12, 0, tmp_path), report=lambda *one: told.append(one))
    assert told[-1][3] >= 0.75


def test_what_it_will_take_is_added_up_over_the_sides(split, monkeypatch, tmp_path):
    """By a clock that goes on by the seconds that the test gives to each side."""
    seconds = {8: 2.0, 16: 6.0}
    model, now = build(SMALL, split.inputs, 2, seed=0), [0.0]

    def worked(loss):
        now[0] += seconds[worked.side]
        return loss

    monkeypatch.setattr(loop.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(loop, "penalty", lambda model, recipe, loss: worked(loss))
    batches = loop.training_batches

    def watched(*arguments):
        for batch in batches(*arguments):
            worked.side = batch[0].shape[-1]
            yield batch

    monkeypatch.setattr(loop, "training_batches", watched)
    each = 48 + 12 / 3  # held-out points are only looked at
    assert seconds_of(model, split, SMALL, Plan(4, 0, tmp_path)) == pytest.approx(each * 2 * (2 + 6) / 16)


# -- fitted to the data -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("points", "epochs", "batch"),
    [(40_000, 14, 250), (160_000, 7, 250), (2_000_000, 4, 250), (10_000, 20, 125)],
)
def test_epochs_follow_the_number_of_images(points, epochs, batch):
    inputs = torch.zeros(1, 32, 32, 3, dtype=torch.uint8).expand(points, -1, -1, -1)
    recipe = AIRBENCH.adapted(inputs, torch.zeros(1, dtype=torch.int64).expand(points))
    assert (recipe.epochs, recipe.batch_size) == (epochs, batch)
    assert [recipe.side(epoch, 10) for epoch in (0, 5, 9)] == [16, 24, None]


@pytest.mark.parametrize("points", [2, 9, 65, 97, 200, 1438])
def test_few_images_are_seen_for_enough_steps(points):
    inputs = drawn(points, 8)
    recipe = AIRBENCH.adapted(inputs, torch.arange(points) % 2)
    steps = recipe.epochs * -(-points // recipe.batch_size)
    assert 200 <= steps <= 600
    assert points % recipe.batch_size != 1  # no batch of one, which a norm takes no moments of
    assert not recipe.sides  # 8 pixels do not begin smaller


def test_the_default_of_images():
    digits = read_dataset("sklearn:digits")  # of 8 x 8 pixels
    assert resolve(ModelOptions(), digits) == "resnet20"
    larger = replace(digits, inputs=digits.inputs.repeat(2, axis=1).repeat(2, axis=2))
    assert resolve(ModelOptions(), larger) == "airbench"
    values = replace(larger, classes=(), labels=larger.labels.astype(np.float64))
    assert resolve(ModelOptions(), values) == "resnet20"


@pytest.mark.parametrize("mirrored", [False, True])
def test_features_of_mirrored_pictures_are_the_mean_of_both(mirrored, split):
    model = build(SMALL, split.inputs, 2, seed=0).eval()
    model.mirrored.fill_(mirrored)
    pictures = split.inputs[:9].permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        plain = [
            model.blocks(F.gelu(model.whiten(model.standardize(x)))) for x in (pictures, pictures.flip(3))
        ]
        features = [x.flatten(2).max(2).values for x in plain]
        expected = model.head(torch.stack(features).mean(0) if mirrored else features[0])
        torch.testing.assert_close(model(pictures), expected)
        alike = torch.allclose(model(pictures), model(pictures.flip(3)), atol=1e-6)
    assert alike is mirrored
    assert "mirrored" in model.state_dict()  # who loads the weights has the same features


def test_a_training_that_mirrors_is_told_to_the_model(tmp_path):
    photos = drawn(400, 16).numpy()
    bright = (photos[:, 4:12, 4:12].mean((1, 2, 3)) > 127).astype(np.int64)
    left = (photos[:, :, :8].mean((1, 2, 3)) > photos[:, :, 8:].mean((1, 2, 3))).astype(np.int64)
    for name, labels in (("bright", bright), ("left", left)):
        data = Dataset(name, "images", photos, labels, ("no", "yes"), (), np.arange(400), (), (), name)
        folder = swaypoint.audit(data, tmp_path / name, options=AuditOptions(model=ModelOptions(epochs=1)))
        assert bool(load_file(folder.path / "model.safetensors")["mirrored"]) is (name == "bright")


def test_mirrored_photographs_mean_the_same_and_digits_do_not():
    photos, digits = drawn(400, 16), read_dataset("sklearn:digits")
    assert mirrors_alike(photos, (photos[:, 4:12, 4:12].float().mean((1, 2, 3)) > 127).long())
    assert not mirrors_alike(torch.from_numpy(digits.inputs), torch.from_numpy(digits.labels))


def test_what_lies_to_the_left_is_not_mirrored():
    photos = drawn(400, 16)
    left, right = (photos[:, :, part].float().mean((1, 2, 3)) for part in (slice(8), slice(8, None)))
    assert not mirrors_alike(photos, (left > right).long())
    assert not mirrors_alike(photos, (left - right).double())
    assert mirrors_alike(photos, (left + right).double())


def test_shifts_are_a_part_of_the_side():
    images = torch.rand(64, 3, 16, 16)
    padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
    shifted = Changes(shift=True, part=16)(images, torch.Generator().manual_seed(0))
    for before, after in zip(padded, shifted, strict=True):
        places = [(y, x) for y in range(3) for x in range(3)]
        assert any(torch.equal(before[:, y : y + 16, x : x + 16], after) for y, x in places)
