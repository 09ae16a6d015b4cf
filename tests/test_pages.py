"""Every block of Python on the site runs, in the order of its page; every line for the shell is taken.

What a page has at hand ("your model, your data") is made here, small. What would leave this machine is held:
a push to the hub, a cluster elsewhere. docs/extending.md is run as a package of its own by
tests/test_extending.py, and the notebooks by ``make notebooks``.
"""

from __future__ import annotations

import inspect
import re
import shlex
import sys
import types
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import typer.main
from typer.core import TyperGroup
from typer.testing import CliRunner

import swaypoint
from cases import head, points
from swaypoint.cli.main import app
from swaypoint.data.batches import ArrayBatches
from swaypoint.data.folds import InProcess
from swaypoint.scoring.risks.head import HeadWeights
from swaypoint.scoring.risks.losses import CrossEntropy

ROOT = Path(__file__).parents[1]
PAGES = {page.stem: page for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]}
BLOCK = re.compile(r"^```([a-z]*)\n(.*?)^```", re.M | re.S)
OF_A_PACKAGE = {"extending"}
SHELL = {"", "bash"}
SLOW = {"acas", "interoperability", "loops"}


def blocks(name: str, *kinds: str) -> list[str]:
    return [text for kind, text in BLOCK.findall(PAGES[name].read_text(encoding="utf-8")) if kind in kinds]


# -- what a page has at hand -------------------------------------------------------------------------


def table(name: str, columns: str = "a,b,state") -> str:
    """A file of 60 records of two classes."""
    rng = np.random.default_rng(0)
    rows = [f"{a:.3f},{b:.3f},{'yes' if a > b else 'no'}" for a, b in rng.normal(size=(60, 2))]
    Path(name).write_text("\n".join([columns, *rows]) + "\n")
    return name


def a_model(count: int = 90) -> dict[str, object]:
    """A model that ends in a linear layer, at its optimum, and its data."""
    solved = head().trained
    x, y = points()
    data = torch.utils.data.TensorDataset(x[:count], y[:count])
    return {
        "model": solved.model,
        "train_dataset": data,
        "test_dataset": data,
        "X": x.numpy(),
        "y": y.numpy(),
    }


def photos() -> None:
    image = pytest.importorskip("PIL.Image", reason="needs pillow")
    for label, level in (("dark", 60), ("light", 180)):
        Path("photos", label).mkdir(parents=True)
        for i in range(10):
            image.new("RGB", (8, 8), (level + i, level, level)).save(f"photos/{label}/{i}.png")


def readme(monkeypatch) -> dict[str, object]:
    linear = pytest.importorskip("sklearn.linear_model", reason="needs scikit-learn")
    photos()
    given = a_model()
    pipeline = linear.LogisticRegression().fit(given["X"], given["y"])
    return {**given, "embeddings": given["X"], "labels": given["y"], "pipeline": pipeline}


def acas(monkeypatch) -> dict[str, object]:
    """One pair of speeds of the table that is solved; and that again in place of the published networks."""
    pytest.importorskip("h5py", reason="needs h5py")
    from swaypoint.studies.acas import decoded, hcas

    solve = partial(hcas.solve_all, speeds=(200.0,), taus=(0,))

    def decode(*words, **options):
        inspect.signature(original).bind(*words, **options)
        return solve("other.h5").select(previous=0)

    original = decoded.decode
    monkeypatch.setattr(decoded, "decode", decode)
    monkeypatch.setattr(hcas, "solve_all", solve)
    return {}


def folder(monkeypatch) -> dict[str, object]:
    swaypoint.audit(table("patients.csv"), "patients-audit", read=swaypoint.ReadOptions(label="state"))
    return {}


def interoperability(monkeypatch) -> dict[str, object]:
    datasets = pytest.importorskip("datasets", reason="needs the datasets library")
    photos()
    options = swaypoint.AuditOptions(model=swaypoint.ModelOptions(epochs=1))
    swaypoint.audit("photos", "photos-audit", options=options)
    for to, out in (("hf", "photos-clean"), ("fiftyone", "exported")):
        done = CliRunner().invoke(app, ["export", "photos-audit", "--to", to, "--out", out])
        assert done.exception is None, done.exception
    pushed: list[object] = []
    original = datasets.Dataset.push_to_hub

    def push(self, *words, **options):
        inspect.signature(original).bind(self, *words, **options)
        assert options["private"] is True
        pushed.append(words)

    monkeypatch.setattr(datasets.Dataset, "push_to_hub", push)
    module = types.SimpleNamespace(
        Sample=lambda filepath, tags: {"filepath": filepath, "tags": tags},
        Classification=dict,
        Dataset=lambda: types.SimpleNamespace(add_samples=lambda samples: None),
    )
    monkeypatch.setitem(sys.modules, "fiftyone", module)
    return {}


def labels(monkeypatch) -> dict[str, object]:
    given = np.random.default_rng(0).integers(0, 3, 60)
    return {"labels": given, "probabilities": np.eye(3)[given] * 0.7 + 0.1}


def loops(monkeypatch) -> dict[str, object]:
    for name in ("transformers", "accelerate", "lightning", "tensorboardX"):
        pytest.importorskip(name, reason=f"needs {name}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    return {}


def methods(monkeypatch) -> dict[str, object]:
    return a_model()


def pretrained(monkeypatch) -> dict[str, object]:
    transformers = pytest.importorskip("transformers", reason="needs the transformers library")
    tokenizers = pytest.importorskip("tokenizers", reason="needs the tokenizers library")
    monkeypatch.setenv("SWAYPOINT_CACHE", "cache")
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[UNK]": 0, "[PAD]": 1}, unk_token="[UNK]"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    own = transformers.PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]", pad_token="[PAD]")
    own.save_pretrained("models/bert")
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 12}
    transformers.BertModel(transformers.BertConfig(vocab_size=2, **sizes)).save_pretrained("models/bert")
    return {}


def regions(monkeypatch) -> dict[str, object]:
    pytest.importorskip("sklearn", reason="needs scikit-learn")
    rng = np.random.default_rng(0)
    inputs, given = rng.normal(size=(200, 3)), rng.integers(0, 2, 200)
    top = {"top_inputs": inputs[:40], "top_labels": given[:40], "predicted": 1 - given[:40]}
    whole = {"inputs": inputs, "labels": given, "columns": ("a", "b", "c"), "classes": ("no", "yes")}
    return {**whole, **top, "cook": np.linspace(2, 1, 40), "summed_influence": 100.0}


def scale(monkeypatch) -> dict[str, object]:
    from swaypoint.data.folds import ray_cluster

    folder(monkeypatch)
    Path("patients-audit").rename("embeddings-audit")
    monkeypatch.setattr(ray_cluster, "RayCluster", lambda address: InProcess())
    x, y = points()
    weight = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return {
        "head": HeadWeights(weight, None, CrossEntropy()),
        "batches": ArrayBatches(x.numpy(), y.numpy()),
    }


def texts(monkeypatch) -> dict[str, object]:
    pytest.importorskip("sklearn", reason="needs scikit-learn")
    lines = [f'"the box was {"pretty" if i % 2 else "broken"} and {i}",{i % 2}' for i in range(60)]
    Path("reviews.csv").write_text("\n".join(["body,score", *lines]) + "\n")
    swaypoint.audit("reviews.csv", "reviews-audit", read=swaypoint.ReadOptions(label="score", text="body"))
    from safetensors.numpy import load_file

    return {"weight": load_file("reviews-audit/head.safetensors")["weight"], "label": 1, "other": 0}


GIVEN: dict[str, Callable[..., dict[str, object]]] = {
    "README": readme,
    **{
        made.__name__: made
        for made in (
            acas,
            folder,
            interoperability,
            labels,
            loops,
            methods,
            pretrained,
            regions,
            scale,
            texts,
        )
    },
}
SMALLER = {
    "loops": {
        "num_train_epochs=12": "num_train_epochs=1",
        "Trainer(model, arguments": "Trainer(model, arguments",
    },
    "scale": {"/shared/run": "run"},
}
"""What stands in place of the page's words, so that it runs here and in seconds."""


WITH_PYTHON = [name for name in PAGES if blocks(name, "python") and name not in OF_A_PACKAGE]


@pytest.mark.parametrize(
    "page",
    [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in WITH_PYTHON],
)
def test_the_python_of_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = GIVEN.get(page, lambda monkeypatch: {})(monkeypatch)
    for block in blocks(page, "python"):
        for said, meant in SMALLER.get(page, {}).items():
            block = block.replace(said, meant)
        exec(compile(block, PAGES[page].name, "exec"), names)


# -- the shell -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", [name for name in PAGES if blocks(name, *SHELL)])
def test_every_line_for_the_shell_is_taken(page):
    """Parsed to its end: the command, its arguments, the options and the kind of their values."""
    group = typer.main.get_command(app)
    for block in blocks(page, *SHELL):
        for line in re.findall(r"^(?:\$ )?swaypoint (.*)$", block.replace("\\\n", " "), re.M):
            words = shlex.split(line, comments=True)
            if words[0].startswith("-"):
                continue
            command, name = group, ""
            while isinstance(command, TyperGroup):
                name, *words = words
                command = command.get_command(None, name)
                assert command is not None, line
            command.make_context(name, words)


def test_the_first_audit_is_as_it_is_told(tmp_path, monkeypatch):
    """docs/first-audit.md up to the person: the commands, and of what they print what no rounding moves."""
    pytest.importorskip("sklearn", reason="needs scikit-learn")
    monkeypatch.chdir(tmp_path)
    exec(blocks("first-audit", "python")[0], {})
    first, told, *_ = blocks("first-audit", "")
    done = CliRunner().invoke(app, shlex.split(first)[1:])
    assert done.exit_code == 0, done.exception
    assert told.splitlines()[0] in done.output
    assert told.splitlines()[1].partition(",")[0] in done.output
    leading = re.findall(r"^ +\d+ +(\d+) ", told, re.M)[0]
    assert re.findall(r"^ +1 +(\d+) ", done.output, re.M) == [leading]
