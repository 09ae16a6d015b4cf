"""What one extra is for, in an environment with swaypoint and it alone: ``make alone EXTRA=review``.

``core`` is no extra, and ``all`` is a new user's way: a table, pictures and texts audited, a point decided on
the review's page, a cleaner table written. What was installed is meant, never the checkout; nothing is
downloaded.
"""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from urllib.request import HTTPCookieProcessor, Request, build_opener
from uuid import uuid4

import numpy as np
import torch

import swaypoint

COMMAND = Path(sys.executable).with_name("swaypoint")
RNG = np.random.default_rng(0)
WORDS = {"good": ("fine", "warm", "funny", "bright"), "bad": ("dull", "cold", "flat", "slow")}
NET = """
from torch import nn

def build():
    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 2))
"""

runs: dict[str, Callable[[], None]] = {}


def extra(run: Callable[[], None]) -> Callable[[], None]:
    """Under its name, without the ``_`` that keeps some from hiding a module."""
    runs[run.__name__.removesuffix("_")] = run
    return run


# -- data, and commands --------------------------------------------------------------------------------


def numbers(count: int = 120) -> tuple[np.ndarray, np.ndarray]:
    """(count, 3) features, and labels of which the last is wrong."""
    x = RNG.normal(size=(count, 3))
    y = (x[:, 0] + x[:, 1] > 0).astype(int)
    y[-1] = 1 - y[-1]
    return x, y


def rows() -> list[list[object]]:
    x, y = numbers()
    return [
        ["width", "height", "weight", "état"],
        *([*row, "née" if one else "lu"] for row, one in zip(x, y, strict=True)),
    ]


def table(name: str = "table.csv", encoding: str = "utf-8") -> str:
    with open(name, "w", encoding=encoding, newline="") as file:
        csv.writer(file).writerows(rows())
    return name


def photos() -> str:
    from PIL import Image

    for name, level in (("dark", 60), ("light", 180)):
        Path("photos", name).mkdir(parents=True)
        for i in range(20):
            pixels = RNG.integers(level - 60, level + 60, (20, 20, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(f"photos/{name}/{i}.png")
    return "photos"


def sentences() -> tuple[list[str], list[str]]:
    labels = [label for label in WORDS for _ in range(30)]
    return [f"a {' and '.join(RNG.choice(WORDS[label], 3))} film" for label in labels], labels


def texts() -> str:
    with open("texts.csv", "w", newline="") as file:
        csv.writer(file).writerows([("review", "opinion"), *zip(*sentences(), strict=True)])
    return "texts.csv"


def command(*words: str, code: int = 0) -> str:
    """What it prints."""
    done = subprocess.run([COMMAND, *words], capture_output=True, text=True)
    said = done.stdout + done.stderr
    assert done.returncode == code, f"swaypoint {' '.join(words)}: {done.returncode}\n{said}"
    return said


def audit(source: str, *words: str, out: str = "audit") -> str:
    """The folder, which has a score of every record."""
    command("audit", source, *words, "--out", out, "--quiet")
    assert len(swaypoint.AuditFolder(Path(out)).scores()) >= 40
    return out


def bert(folder: str) -> str:
    """A tiny network of texts with random weights, and its tokenizer."""
    import tokenizers
    import transformers

    known = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(word for words in WORDS.values() for word in words)]
    words = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: i for i, word in enumerate(known)}, unk_token="[UNK]")
    )
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]", model_max_length=12
    ).save_pretrained(folder)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 12}
    config = transformers.BertConfig(vocab_size=len(known), max_position_embeddings=16, **sizes)
    transformers.BertModel(config).save_pretrained(folder)
    return folder


def with_features(reference: str, *words: str) -> None:
    """Texts, audited by a pretrained model."""
    audit(texts(), "--label", "opinion", "--text", "review", "--model", reference, *words)


# -- an extra each ---------------------------------------------------------------------------------------


@extra
def core() -> None:
    x, y = numbers()
    ranking = swaypoint.cooks_distance_from_features(x, y)
    assert len(ranking) == 120
    found = swaypoint.wrong_labels(np.eye(2)[y] * 0.8 + 0.1, np.r_[y[:-1], 1 - y[-1]])
    assert found.score.argmax() == len(y) - 1
    folder = audit(table(), "--label", "état")
    assert "cook" in command("show", folder)


@extra
def train() -> None:
    import lightning

    from swaypoint.models.callback import InfluenceCallback

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = torch.nn.Linear(3, 2)

        def training_step(self, batch, _):
            return torch.nn.functional.cross_entropy(self.network(batch[0]), batch[1])

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    x, y = numbers()
    data = torch.utils.data.TensorDataset(torch.tensor(x).float(), torch.tensor(y))
    recorder = swaypoint.InfluenceRecorder(data, "records", l2=0.01)
    callback = InfluenceCallback(recorder, model=lambda module: module.network)
    trainer = lightning.Trainer(
        max_epochs=2, accelerator="cpu", callbacks=[callback], logger=False, enable_checkpointing=False
    )
    trainer.fit(Module(), torch.utils.data.DataLoader(data, batch_size=40))
    assert recorder.table().num_rows == 240


@extra
def images() -> None:
    from safetensors.torch import save_model

    Path("mynet.py").write_text(NET)
    sys.path.insert(0, ".")
    import mynet

    save_model(mynet.build(), "net.safetensors")
    audit(photos(), "--model", "mynet:build", "--weights", "net.safetensors", "--image-size", "20")


@extra
def report() -> None:
    folder = audit(table(), "--label", "état")
    assert "née" in Path(folder, "report.html").read_text(encoding="utf-8")


@extra
def review() -> None:
    decide_and_export(audit(table(), "--label", "état"))


def decide_and_export(folder: str) -> None:
    """The page is opened by its token, a record decided, the server stopped, and the decision exported."""
    server = subprocess.Popen(
        [COMMAND, "review", folder, "--no-browser", "--reviewer", "ada"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert server.stdout is not None
        said = ""
        while not (found := re.search(r"review: http://\S+?:(\d+)(/open\?token=\S+)\n", said)):
            line = server.stdout.readline()
            assert line, f"the server did not start: {said}"
            said += line
        browser, host = build_opener(HTTPCookieProcessor()), f"http://127.0.0.1:{found[1]}"
        browser.open(host + found[2]).close()
        page = browser.open(host).read().decode()
        (key,) = re.findall(r'<meta name="csrf" content="([^"]+)">', page)
        item = json.loads(browser.open(f"{host}/item.json").read())["id"]
        action = {"id": str(uuid4()), "do": "decide", "item": item, "verdict": "bad"}
        asked = Request(
            f"{host}/actions",
            json.dumps({"actions": [action]}).encode(),
            {"x-swaypoint-csrf": key, "content-type": "application/json"},
        )
        browser.open(asked).close()
    finally:
        server.send_signal(signal.SIGINT)
        said = server.communicate(timeout=60)[0]
    assert "closed: " in said, said
    command("verify", folder)
    said = command("export", folder, "--to", "csv", "--policy", "drop", "--out", "cleaner.csv")
    assert "119 records, 0 relabeled, 1 left out" in said, said


@extra
def postgres() -> None:
    said = command(
        *("progress", audit(table(), "--label", "état"), "--store"),
        "postgresql://127.0.0.1:1/none",
        code=1,
    )
    assert "127.0.0.1" in said, said


@extra
def pandas() -> None:
    import pandas

    x, y = numbers()
    frame = pandas.DataFrame(x, columns=["a", "b", "c"]).assign(label=y)
    assert len(swaypoint.cooks_distance_from_features(frame[["a", "b", "c"]], y).to_pandas()) == 120
    swaypoint.audit(frame, "audit", read=swaypoint.ReadOptions(label="label"))


@extra
def polars() -> None:
    x, y = numbers()
    assert swaypoint.cooks_distance_from_features(x, y).to_polars().height == 120


@extra
def sklearn() -> None:
    from sklearn.datasets import load_wine

    from swaypoint.sklearn import CooksDistance, LabelErrorDetector

    x, y = load_wine(return_X_y=True)
    y[0] = 2
    assert 0 in LabelErrorDetector().fit(x, y).order_[:5]
    assert len(CooksDistance().fit(x, y).order_) == 178
    audit("sklearn:wine")
    audit(texts(), "--label", "opinion", out="of-texts")


@extra
def tables() -> None:
    audit(table("latin.csv", "latin-1"), "--label", "état")
    cells = [
        "".join(
            f"<c><v>{value}</v></c>"
            if isinstance(value, float)
            else f'<c t="inlineStr"><is><t>{value}</t></is></c>'
            for value in row
        )
        for row in rows()
    ]
    sheet = "".join(f"<row>{row}</row>" for row in cells)
    office, main = "http://schemas.openxmlformats.org/", "spreadsheetml/2006/main"
    related = f"{office}officeDocument/2006/relationships"
    relation = (
        f'<Relationships xmlns="{office}package/2006/relationships"><Relationship Id="r1"'
        f' Type="{related}/{{}}" Target="{{}}"/></Relationships>'
    )
    with zipfile.ZipFile("book.xlsx", "w") as file:
        file.writestr("_rels/.rels", relation.format("officeDocument", "xl/workbook.xml"))
        file.writestr("xl/_rels/workbook.xml.rels", relation.format("worksheet", "worksheets/sheet1.xml"))
        file.writestr(
            "xl/workbook.xml",
            f'<workbook xmlns="{office}{main}" xmlns:r="{related}"><sheets>'
            '<sheet name="one" sheetId="1" r:id="r1"/></sheets></workbook>',
        )
        file.writestr(
            "xl/worksheets/sheet1.xml",
            f'<worksheet xmlns="{office}{main}"><sheetData>{sheet}</sheetData></worksheet>',
        )
    audit("book.xlsx", "--label", "état", out="of-a-book")


@extra
def duckdb() -> None:
    import duckdb

    with duckdb.connect("data.duckdb") as base:
        base.execute(f"CREATE TABLE records AS SELECT * FROM read_csv('{table()}')")
    audit("data.duckdb", "--label", "état")


@extra
def hub() -> None:
    import datasets

    x, y = numbers()
    datasets.Dataset.from_dict({**dict(zip("abc", x.T, strict=True)), "label": y}).save_to_disk("saved")
    command("export", audit("saved", "--label", "label"), "--to", "hf", "--out", "exported")
    assert len(datasets.load_from_disk("exported")) == 120


@extra
def pretrained() -> None:
    import transformers

    with_features(f"hf:{bert('bert')}")
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 12}
    transformers.ViTModel(transformers.ViTConfig(**sizes, image_size=16, patch_size=8)).save_pretrained("vit")
    vit = transformers.models.vit
    vit.image_processing_pil_vit.ViTImageProcessorPil(size={"height": 16, "width": 16}).save_pretrained("vit")
    audit(photos(), "--model", "hf:vit", out="of-photos")


@extra
def sentence() -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    word = Transformer(bert("bert"), max_seq_length=12)
    pooling = Pooling(word.get_embedding_dimension())
    SentenceTransformer(modules=[word, pooling], device="cpu").save("sentences")
    with_features("st:sentences")


@extra
def static() -> None:
    import tokenizers
    from model2vec import StaticModel

    known = ["[PAD]", "[UNK]", *(word for words in WORDS.values() for word in words)]
    words = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: i for i, word in enumerate(known)}, unk_token="[UNK]")
    )
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    StaticModel(RNG.normal(size=(len(known), 8)).astype(np.float32), words).save_pretrained("vectors")
    with_features("m2v:vectors")


@extra
def onnx() -> None:
    import onnx

    h, real = onnx.helper, onnx.TensorProto.FLOAT
    kernel = onnx.numpy_helper.from_array(RNG.normal(size=(6, 3, 3, 3)).astype(np.float32), "kernel")
    nodes = [
        h.make_node("Conv", ["x", "kernel"], ["map"]),
        h.make_node("GlobalAveragePool", ["map"], ["mean"]),
        h.make_node("Flatten", ["mean"], ["pooled"]),
    ]
    taken = h.make_tensor_value_info("x", onnx.TensorProto.UINT8, ["n", 3, 20, 20])
    nodes.insert(0, h.make_node("Cast", ["x"], ["pixels"], to=real))
    nodes[1].input[0] = "pixels"
    given = h.make_tensor_value_info("pooled", real, ["n", 6])
    graph = h.make_graph(nodes, "net", [taken], [given], [kernel])
    onnx.save(h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8), "net.onnx")
    audit(photos(), "--model", "onnx:net.onnx:pooled")


@extra
def timm() -> None:
    import timm

    model = timm.create_model("resnet10t", pretrained=False)
    timm.models.save_for_hf(model, "resnet", safe_serialization=True)
    audit(photos(), "--model", "timm:./resnet")


@extra
def study() -> None:
    command(
        "study", "toy", "--seeds", "1", "--points", "60", "--steps", "30", "--epochs", "2", "--out", "toy"
    )
    assert Path("toy/toy-problems.png").stat().st_size > 10_000


@extra
def ray() -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    x, y = numbers()
    Path("parts").mkdir()
    for i, rows in enumerate(np.array_split(np.arange(len(y)), 2)):
        pq.write_table(pa.table({"x": list(x[rows]), "label": y[rows]}), f"parts/{i}.parquet")
    command("audit", "parts", "--features", "x", "--label", "label", "--engine", "ray", "--out", "audit")


@extra
def all_() -> None:
    folder = audit(table(), "--label", "état")
    assert Path(folder, "report.html").is_file()
    decide_and_export(folder)
    audit(photos(), "--epochs", "2", out="photos-audit")
    audit(texts(), "--label", "opinion", out="texts-audit")


def main(name: str) -> None:
    assert Path(swaypoint.__file__).is_relative_to(sys.prefix), (
        f"{swaypoint.__file__} is not what was installed"
    )
    os.environ.pop("PYTHONPATH", None)
    os.environ["HF_HUB_OFFLINE"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ["SWAYPOINT_CACHE"] = os.environ["SWAYPOINT_KEYS"] = folder
        runs[name]()
        os.chdir("/")
    print(f"swaypoint {swaypoint.__version__} with {name} alone: fine")


if __name__ == "__main__":
    if sys.argv[1:] == [] or sys.argv[1] not in runs:
        sys.exit(f"usage: alone.py {'|'.join(runs)}")
    main(sys.argv[1])
