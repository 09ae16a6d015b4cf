"""The Ray engine on a real cluster of several nodes: the same bits as in this process, whatever dies."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import streamed_data
import swaypoint
from cases import MODEL, SIDE
from ray_nodes import HERE, cluster, scores
from swaypoint.auditing.options import Scale
from swaypoint.auditing.shards import ScoreShards, score_shards
from swaypoint.data.dataset import ReadOptions
from swaypoint.data.folds import Durable, Fold, InProcess, Statistic, engine
from swaypoint.data.readers import parquet
from swaypoint.data.splitting import Split
from swaypoint.errors import InputError
from swaypoint.scoring.closed_form import Influence
from swaypoint.scoring.risks.head import HeadWeights
from swaypoint.scoring.risks.losses import CrossEntropy

pytest.importorskip("ray", reason="needs Ray: pip install 'swaypoint[ray]'")
pytestmark = pytest.mark.slow  # a cluster takes as long as a hundred other tests


@pytest.fixture(scope="module")
def nodes():
    with cluster(3, ray_client_server_port=_free_port()) as found:
        yield found


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


@pytest.fixture
def ray_fold(nodes):
    from swaypoint.data.folds.ray_cluster import RayCluster

    fold = RayCluster(nodes.address)
    yield fold
    fold.close()


def test_scores_are_those_of_this_process_to_the_last_bit(ray_fold):
    assert np.array_equal(scores(ray_fold), scores(InProcess()))


def test_work_is_done_on_several_nodes(ray_fold):
    def where(shard: int) -> Statistic:
        import ray

        time.sleep(0.3)
        node = ray.get_runtime_context().get_node_id()
        return {"node": torch.tensor(list(bytes.fromhex(node)), dtype=torch.uint8)}

    found = {bytes(part["node"].tolist()) for part in ray_fold.map("where", where, range(9))}
    assert len(found) == 3


def test_a_sum_is_the_same_tree_on_every_engine(ray_fold):
    def of(shard: int) -> Statistic:
        generator = torch.Generator().manual_seed(shard)
        return {"sum": torch.randn(50, dtype=torch.float64, generator=generator) * 10.0**shard}

    told = []
    there = ray_fold.total("sum", of, range(13), on_shard=lambda: told.append(1))
    here = InProcess().total("sum", of, range(13))
    assert len(told) == 13
    assert torch.equal(there["sum"], here["sum"])
    one_by_one = sum(of(shard)["sum"] for shard in range(13))
    torch.testing.assert_close(here["sum"], one_by_one, rtol=1e-12, atol=0)
    assert ray_fold.total("none", lambda _: {}, range(3)) is None
    assert ray_fold.total("none", of, []) is None


def test_what_a_worker_refuses_is_said_here_as_it_is_in_process(ray_fold):
    def refuse(shard: int) -> Statistic:
        if shard == 2:
            raise InputError("row 7 is NaN; drop it")
        return {"n": torch.tensor(1)}

    for run in (
        lambda: list(ray_fold.map("a", refuse, range(4))),
        lambda: ray_fold.total("b", refuse, range(4)),
    ):
        with pytest.raises(InputError, match=r"^row 7 is NaN; drop it$"):
            run()


def test_few_shards_are_asked_for_at_a_time(ray_fold, tmp_path):
    def mark(shard: int) -> Statistic:
        (tmp_path / str(shard)).touch()
        return {"n": torch.tensor(shard)}

    parts = ray_fold.map("few", mark, range(40))
    next(parts)
    time.sleep(2.0)
    assert 1 <= len(list(tmp_path.iterdir())) <= 7  # two for each of three workers, and the one taken
    parts.close()
    assert len(list(tmp_path.iterdir())) <= 7


def test_a_worker_that_is_killed_is_replaced(ray_fold, tmp_path):
    def die_once(shard: int) -> Statistic:
        mark = tmp_path / str(shard)
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return {"n": torch.tensor(shard)}

    assert [int(part["n"]) for part in ray_fold.map("dying", die_once, range(3))] == [0, 1, 2]


def test_a_shard_that_kills_every_worker_is_given_up_with_one_sentence(nodes, monkeypatch):
    from swaypoint.data.folds import ray_cluster

    def die(shard: int) -> Statistic:
        os.kill(os.getpid(), signal.SIGKILL)
        return {}

    monkeypatch.setattr(ray_cluster, "RETRIES", 1)
    fold = ray_cluster.RayCluster(nodes.address)
    with pytest.raises(InputError, match=r"could not finish the pass 'deadly'.*goes on with what is done"):
        list(fold.map("deadly", die, [0]))
    fold.close()


def test_durable_around_ray_keeps_what_the_workers_made(ray_fold, tmp_path):
    folder = tmp_path / "kept"
    first = scores(Durable(folder, "key", inner=ray_fold))
    assert len(list(folder.glob("curvature-loss-float64-*.safetensors"))) == 12
    dates = {file: file.stat().st_mtime_ns for file in folder.iterdir()}
    again = scores(Durable(folder, "key", inner=InProcess()))
    assert np.array_equal(first, again)
    assert {file: file.stat().st_mtime_ns for file in folder.iterdir()} == dates


def test_an_audit_is_the_same_on_the_cluster(nodes, tmp_path, monkeypatch):
    whole = streamed_data.table(*streamed_data.points())
    data = streamed_data.write(tmp_path / "data", whole)
    monkeypatch.setattr(parquet, "SHARD_BYTES", 250 * 4 * streamed_data.WIDTH)
    monkeypatch.setenv("RAY_ADDRESS", nodes.address)
    read = ReadOptions(features="embedding", label="label")
    here, there = (
        swaypoint.audit(data, tmp_path / name, read=read, scale=Scale(name, max_memory=0.0))
        for name in ("in-process", "ray")
    )
    assert there.every_score().to_table().equals(here.every_score().to_table())
    assert (there.path / "top.parquet").read_bytes() == (here.path / "top.parquet").read_bytes()
    same = ("key", "data", "model", "diagnostics", "streamed")
    assert [getattr(there.manifest(), name) for name in same] == [
        getattr(here.manifest(), name) for name in same
    ]


def test_features_are_the_same_on_the_cluster(nodes, tmp_path, monkeypatch):
    from PIL import Image

    from swaypoint.auditing.features import extract_features
    from swaypoint.data.readers import pictures

    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for row in range(10):
            values = rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
            Image.fromarray(values).save(tmp_path / "photos" / name / f"{row}.png")
    monkeypatch.setattr(pictures, "SHARD", 6)
    monkeypatch.setenv("RAY_ADDRESS", nodes.address)
    here, there = (
        extract_features(tmp_path / "photos", tmp_path / name, MODEL, engine_name=name)
        for name in ("in-process", "ray")
    )
    for part in range(4):
        file = f"part-{part:05d}.parquet"
        assert (there / file).read_bytes() == (here / file).read_bytes()


def test_a_folder_that_workers_do_not_share_is_told(ray_fold, tmp_path):
    """Workers that write elsewhere look the same from here: what they wrote is not there."""
    data = streamed_data.write(tmp_path / "data", streamed_data.table(*streamed_data.points()))
    table = parquet.open_parquet(data, ReadOptions(features="embedding", label="label"))
    points = parquet.ParquetPoints(table, parquet.read_classes(table), Split(0, 0.0))
    head = HeadWeights(torch.randn(3, 5).double(), None, CrossEntropy())
    scoring = ScoreShards(Influence(head, points), tmp_path / "away" / "scores", "infinitesimal", 10)

    class Elsewhere(Fold):
        def map(self, name, function, shards):
            for statistic in ray_fold.map(name, function, shards):
                shutil.rmtree(tmp_path / "away", ignore_errors=True)
                yield statistic

        total = ray_fold.total

    with pytest.raises(InputError, match=r"away is not shared with all workers; choose an --out"):
        score_shards(scoring, points, Elsewhere())


def test_by_the_client_of_ray(nodes):
    port = nodes.head_node._ray_params.ray_client_server_port
    with engine(f"ray://127.0.0.1:{port}") as fold:
        assert np.array_equal(scores(fold), scores(InProcess()))


def test_bad_engines_are_refused_with_the_remedy(nodes):
    with (
        pytest.raises(InputError, match=r"'spark'; expected in-process, ray, or ray://HOST:PORT"),
        engine("spark"),
    ):
        pass
    from swaypoint.data.folds.ray_cluster import RayCluster

    with pytest.raises(InputError, match=r"has 3 CPU, 0 GPU; a worker takes 1 CPU, 1 GPU"):
        RayCluster(nodes.address, gpus=1)


@pytest.fixture
def driver(nodes, tmp_path):
    """The command of a process that scores slowly on the cluster, and waits for so many shards of it."""
    command = [
        *(sys.executable, HERE / "ray_driver.py", nodes.address),
        *(tmp_path / "kept", tmp_path / "scores.npy"),
    ]

    def started(shards: int) -> subprocess.Popen:
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert _until(lambda: len(list(tmp_path.glob("kept/scores-*.safetensors"))) >= shards, process)
        return process

    return started


def test_a_node_lost_in_the_middle_of_a_pass_changes_nothing(nodes, driver, tmp_path):
    lost = nodes.add_node(num_cpus=1, object_store_memory=100 << 20)
    process = driver(4)
    nodes.remove_node(lost, allow_graceful=False)
    assert process.wait(900) == 0
    assert np.array_equal(np.load(tmp_path / "scores.npy"), scores(InProcess()))


def test_a_driver_that_is_killed_goes_on_where_it_was(driver, tmp_path):
    killed = driver(3)
    killed.kill()
    killed.wait()
    there = {file: file.stat().st_mtime_ns for file in tmp_path.glob("kept/*.safetensors")}
    assert not (tmp_path / "scores.npy").exists()
    assert driver(0).wait(900) == 0
    assert np.array_equal(np.load(tmp_path / "scores.npy"), scores(InProcess()))
    assert {file: file.stat().st_mtime_ns for file in there} == there


def test_an_interrupted_driver_leaves_no_work_behind(driver, tmp_path):
    interrupted = driver(2)
    interrupted.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in interrupted.communicate(timeout=900)[1]
    left: list[Path] = []
    while (now := sorted(tmp_path.glob("kept/scores-*.safetensors"))) != left:
        left = now
        time.sleep(2.0)
    assert 2 <= len(left) < 12
    assert all(load_file(file) for file in left)  # whole, whatever was interrupted


def _until(condition, process: subprocess.Popen) -> bool:
    """Whether it came to hold while the process ran."""
    for _ in range(12_000):  # a guard against hanging, not a measure
        if condition():
            return process.poll() is None
        if process.poll() is not None:
            return False
        time.sleep(0.05)
    return False
