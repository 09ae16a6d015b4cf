"""Pretrained backbones: features against the families' own libraries, the cache, errors, audits with them.

The models are made here, tiny and with random weights, and saved in the families' own formats.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from typer.testing import CliRunner

import swaypoint
from swaypoint.auditing.options import AuditOptions
from swaypoint.auditing.run import Listener
from swaypoint.cli.main import app
from swaypoint.data.dataset import Dataset
from swaypoint.data.readers import read_dataset
from swaypoint.errors import InputError
from swaypoint.models.predictor import ModelOptions, Objective, Rows, Training, prepare
from swaypoint.models.pretrained import Backbone, Encoder, families, features, find
from swaypoint.models.pretrained.features import SHARD, Told, cache_folder, encode
from swaypoint.scoring.risks.model import ModelRisk

transformers = pytest.importorskip("transformers", reason="needs the transformers library")
tokenizers = pytest.importorskip("tokenizers", reason="needs the tokenizers library")
hub = pytest.importorskip("huggingface_hub", reason="needs huggingface_hub")

GOOD, BAD = ["good", "fine", "warm", "funny", "bright", "clever"], ["bad", "dull", "cold", "flat", "slow"]
WORDS = [*GOOD, *BAD, "film", "story"]
SIDE = 16


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SWAYPOINT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "cache"


def pictures(count, side=20, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def sentences(count, seed=0):
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, rng.integers(1, 9))) for _ in range(count)]


def tokenizer():
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    own = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    own.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=own, pad_token="[PAD]", unk_token="[UNK]", model_max_length=12
    )


def image_processor(kind="vit"):
    module = getattr(transformers.models, kind)
    if kind == "clip":
        made = module.image_processing_pil_clip.CLIPImageProcessorPil
        return made(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    return module.image_processing_pil_vit.ViTImageProcessorPil(size={"height": SIDE, "width": SIDE})


SMALL = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 12}


def vit_config():
    return transformers.ViTConfig(**SMALL, image_size=SIDE, patch_size=8)


def bert_config():
    return transformers.BertConfig(vocab_size=4 + len(WORDS), max_position_embeddings=16, **SMALL)


def saved(folder, model, *beside):
    torch.manual_seed(0)
    made = model()
    for part in (made, *beside):
        part.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """A folder with a model of each kind."""
    root = tmp_path_factory.mktemp("zoo")
    saved(root / "vit", lambda: transformers.ViTModel(vit_config()), image_processor())
    saved(
        root / "vit_classifier",
        lambda: transformers.ViTForImageClassification(vit_config()),
        image_processor(),
    )
    resnet = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 12], depths=[1, 1])
    saved(root / "resnet", lambda: transformers.ResNetModel(resnet), image_processor())
    saved(root / "bert", lambda: transformers.BertModel(bert_config()), tokenizer())
    gpt = transformers.GPT2Config(vocab_size=4 + len(WORDS), n_positions=16, n_embd=8, n_layer=1, n_head=2)
    saved(root / "gpt2", lambda: transformers.GPT2Model(gpt), tokenizer())
    clip = transformers.CLIPConfig(
        text_config={**SMALL, "vocab_size": 4 + len(WORDS), "max_position_embeddings": 16, "eos_token_id": 3},
        vision_config={**SMALL, "image_size": SIDE, "patch_size": 8},
        projection_dim=12,
    )
    saved(root / "clip", lambda: transformers.CLIPModel(clip), image_processor("clip"), tokenizer())
    sound = transformers.Wav2Vec2Config(
        **SMALL, conv_dim=(8, 8), conv_kernel=(10, 3), conv_stride=(5, 2), num_feat_extract_layers=2,
        num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    extractor = transformers.Wav2Vec2FeatureExtractor(feature_size=1, sampling_rate=16000)
    saved(root / "wav2vec2", lambda: transformers.Wav2Vec2Model(sound), extractor)
    return root


# -- the same as by the families' own libraries ------------------------------------------------------


def pipeline(folder, task, **kinds):
    return transformers.pipeline(task, model=str(folder), device="cpu", **kinds)


@pytest.mark.parametrize("name", ["vit", "resnet"])
def test_image_features_are_those_of_the_pipeline(zoo, name):
    images = pictures(5)
    processor = transformers.AutoImageProcessor.from_pretrained(zoo / name, backend="pil")
    own = pipeline(zoo / name, "image-feature-extraction", image_processor=processor, pool=True)
    expected = np.array([np.ravel(one) for one in own([Image.fromarray(one) for one in images])])
    found = features(f"hf:{zoo / name}", images)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_without_a_pooler_the_class_token_is_what_the_classifier_saw(zoo):
    images = pictures(4)
    model = transformers.ViTForImageClassification.from_pretrained(zoo / "vit_classifier").eval()
    seen = []
    model.classifier.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        model(**image_processor()([Image.fromarray(one) for one in images], return_tensors="pt"))
    np.testing.assert_allclose(features(f"hf:{zoo / 'vit_classifier'}", images), seen[0], atol=1e-5)


@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_text_features_are_the_mean_of_the_pipelines_tokens(zoo, name):
    texts = sentences(40)
    own = pipeline(zoo / name, "feature-extraction", tokenizer=tokenizer())
    expected = np.array([np.mean(own(text)[0], axis=0) for text in texts])  # one by one: no padding
    np.testing.assert_allclose(features(f"hf:{zoo / name}", texts), expected, atol=1e-5)


def test_clip_gives_its_projected_embeddings(zoo):
    model = transformers.CLIPModel.from_pretrained(zoo / "clip").eval()
    images, texts = pictures(3), ["good film", "dull"]
    pixels = image_processor("clip")([Image.fromarray(one) for one in images], return_tensors="pt")
    with torch.no_grad():
        seen = model.get_image_features(**pixels).pooler_output
        read = [model.get_text_features(**tokenizer()([text], return_tensors="pt")) for text in texts]
    backbone = find(f"hf:{zoo / 'clip'}")
    assert backbone.takes == {"images", "texts"}
    assert backbone.side == SIDE
    np.testing.assert_allclose(features(backbone, images), seen, atol=1e-5)
    expected = torch.cat([one.pooler_output for one in read])
    np.testing.assert_allclose(features(backbone, texts), expected, atol=1e-5)


def test_sounds_give_the_mean_of_their_frames(zoo):
    rng = np.random.default_rng(0)
    sounds = [rng.normal(size=length).astype(np.float32) for length in (400, 700, 1000)]
    model = transformers.Wav2Vec2Model.from_pretrained(zoo / "wav2vec2").eval()
    extractor = transformers.AutoFeatureExtractor.from_pretrained(zoo / "wav2vec2")
    with torch.no_grad():
        expected = [
            model(
                extractor(one, sampling_rate=16000, return_tensors="pt").input_values
            ).last_hidden_state.mean(1)
            for one in sounds
        ]
    assert find(f"hf:{zoo / 'wav2vec2'}").takes == {"audio"}
    np.testing.assert_allclose(features(f"hf:{zoo / 'wav2vec2'}", sounds), torch.cat(expected), atol=1e-5)


def sentence_model(zoo, folder):
    library = pytest.importorskip("sentence_transformers", reason="needs sentence-transformers")
    modules = library.sentence_transformer.modules
    word = modules.Transformer(str(zoo / "bert"), max_seq_length=12)
    width = word.get_embedding_dimension()
    model = library.SentenceTransformer(
        modules=[word, modules.Pooling(width), modules.Dense(width, 8), modules.Normalize()], device="cpu"
    )
    model.prompts, model.default_prompt_name = {"review": "film "}, "review"
    model.save(str(folder))
    return library.SentenceTransformer(str(folder), device="cpu")


def test_sentence_transformers_encode_the_same(zoo, tmp_path):
    model, texts = sentence_model(zoo, tmp_path / "st"), sentences(40)
    found = features(f"st:{tmp_path / 'st'}", texts)
    np.testing.assert_allclose(found, model.encode(texts), atol=1e-5)
    assert np.abs(found - model.encode(texts, prompt="")).max() > 1e-3  # the prompt is there


def static_model(folder):
    library = pytest.importorskip("model2vec", reason="needs model2vec")
    vectors = np.random.default_rng(0).normal(size=(4 + len(WORDS), 8)).astype(np.float32)
    model = library.StaticModel(vectors, tokenizer().backend_tokenizer, normalize=True)
    model.save_pretrained(folder)
    return model


def test_static_vectors_are_model2vecs(tmp_path):
    model, texts = static_model(tmp_path / "m2v"), sentences(40)
    np.testing.assert_allclose(features(f"m2v:{tmp_path / 'm2v'}", texts), model.encode(texts), atol=1e-5)


def network(file, *, dtype="FLOAT"):
    """One convolution, its mean over the positions called ``pooled``, and logits."""
    onnx = pytest.importorskip("onnx", reason="needs onnx")
    pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    rng, h = np.random.default_rng(0), onnx.helper
    weights = {"kernel": rng.normal(size=(6, 3, 3, 3)), "matrix": rng.normal(size=(6, 4))}
    stored = [onnx.numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    nodes = [
        h.make_node("Cast", ["x"], ["pixels"], to=onnx.TensorProto.FLOAT),
        h.make_node("Conv", ["pixels", "kernel"], ["map"]),
        h.make_node("Relu", ["map"], ["active"]),
        h.make_node("GlobalAveragePool", ["active"], ["mean"]),
        h.make_node("Flatten", ["mean"], ["pooled"]),
        h.make_node("MatMul", ["pooled", "matrix"], ["logits"]),
    ]
    taken = h.make_tensor_value_info("x", getattr(onnx.TensorProto, dtype), ["n", 3, SIDE, SIDE])
    given = h.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["n", 4])
    graph = h.make_graph(nodes, "net", [taken], [given], stored)
    onnx.save(h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8), file)
    kernel, matrix = (torch.from_numpy(value).float() for value in weights.values())

    def by_torch(pixels):
        pooled = F.relu(F.conv2d(pixels, kernel)).mean((2, 3))
        return pooled.numpy(), (pooled @ matrix).numpy()

    return by_torch


def test_an_onnx_network_gives_any_of_its_tensors(tmp_path):
    by_torch, images = network(tmp_path / "net.onnx"), pictures(5)
    image_processor().save_pretrained(tmp_path)
    pixels = image_processor()([Image.fromarray(one) for one in images], return_tensors="pt")["pixel_values"]
    pooled, logits = by_torch(pixels)
    np.testing.assert_allclose(features(f"onnx:{tmp_path / 'net.onnx'}:pooled", images), pooled, atol=1e-5)
    np.testing.assert_allclose(features(f"onnx:{tmp_path / 'net.onnx'}", images), logits, atol=1e-4)
    assert find(f"onnx:{tmp_path / 'net.onnx'}").side == SIDE


def doubled(picture):
    return 2.0 * np.asarray(picture.resize((SIDE, SIDE))).transpose(2, 0, 1)


def test_an_onnx_network_takes_pixels_as_they_are_or_by_a_transform(tmp_path):
    by_torch, images = network(tmp_path / "raw.onnx", dtype="UINT8"), pictures(5, SIDE)
    pooled, _ = by_torch(torch.from_numpy(images).permute(0, 3, 1, 2).float())
    np.testing.assert_allclose(features(f"onnx:{tmp_path / 'raw.onnx'}:pooled", images), pooled, rtol=1e-5)
    by_torch = network(tmp_path / "net.onnx")
    with pytest.raises(InputError, match=r"preprocessor_config.json beside it, or pass --transform"):
        find(f"onnx:{tmp_path / 'net.onnx'}")
    backbone = find(f"onnx:{tmp_path / 'net.onnx'}:pooled", f"{__name__}:doubled")
    np.testing.assert_allclose(features(backbone, images), 2.0 * pooled, rtol=1e-5)


def test_an_onnx_text_network_takes_the_mean_of_the_tokens_that_are_there(tmp_path):
    onnx = pytest.importorskip("onnx", reason="needs onnx")
    pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    h, kinds = onnx.helper, onnx.TensorProto
    vectors = np.random.default_rng(0).normal(size=(4 + len(WORDS), 5)).astype(np.float32)
    graph = h.make_graph(
        [h.make_node("Gather", ["vectors", "input_ids"], ["last_hidden_state"])],
        "net",
        [h.make_tensor_value_info(name, kinds.INT64, ["n", "t"]) for name in ("input_ids", "attention_mask")],
        [h.make_tensor_value_info("last_hidden_state", kinds.FLOAT, ["n", "t", 5])],
        [onnx.numpy_helper.from_array(vectors, "vectors")],
    )
    onnx.save(
        h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8), tmp_path / "net.onnx"
    )
    with pytest.raises(InputError, match=r"no tokenizer\.json"):
        find(f"onnx:{tmp_path / 'net.onnx'}")
    tokenizer().save_pretrained(tmp_path)
    texts = sentences(30)
    ids = {word: 4 + i for i, word in enumerate(WORDS)}
    expected = np.array([vectors[[ids[word] for word in text.split()]].mean(0) for text in texts])
    np.testing.assert_allclose(features(f"onnx:{tmp_path / 'net.onnx'}", texts), expected, atol=1e-5)


# -- the cache ---------------------------------------------------------------------------------------


def kept(cache):
    return sorted((cache / "features").rglob("*.safetensors"))


def test_features_are_made_once_and_shared(zoo, own_cache, monkeypatch, tmp_path):
    texts = sentences(SHARD + 10)
    notes, counts = [], []
    told = Told(lambda *count: counts.append(count), notes.append)
    first = features(f"hf:{zoo / 'bert'}", texts, told=told)
    assert [path.name for path in kept(own_cache)] == [
        "features-00000.safetensors",
        "features-00001.safetensors",
    ]
    assert counts == [(SHARD, len(texts)), (len(texts), len(texts))]
    assert "266 records, about" in notes[0]
    assert str(own_cache) in notes[-1]
    assert "MB" in notes[-1]
    assert cache_folder() == own_cache
    moved = tmp_path / "elsewhere"
    moved.symlink_to(zoo / "bert")  # the same content at another place
    monkeypatch.setattr("swaypoint.models.pretrained.hf._load", None)  # would fail
    np.testing.assert_array_equal(features(f"hf:{moved}", texts), first)
    with pytest.raises(TypeError):
        features(f"hf:{moved}", [*texts[:-1], "good film"])


def test_an_empty_cache_gives_the_same_bits_again(zoo, tmp_path, monkeypatch):
    texts, images = sentences(50), pictures(40)
    for name, records in (("bert", texts), ("vit", images), ("clip", images)):
        first = features(f"hf:{zoo / name}", records)
        monkeypatch.setenv("SWAYPOINT_CACHE", str(tmp_path / "other" / name))
        np.testing.assert_array_equal(features(f"hf:{zoo / name}", records), first)


SHARDS = 20
KILLED = """
import time
from test_pretrained import counted, many

def slowly(texts):
    time.sleep(0.02)
    return counted(texts)

many(slowly)
"""


def counted(texts):
    return np.asarray([[len(text), 1.0] for text in texts], dtype=np.float32)


def many(prepare):
    """Features of many texts by a backbone of one function."""
    texts = [f"text {i}" * (i % 7 + 1) for i in range(SHARD * SHARDS)]
    encoder = Encoder(prepare, lambda vectors: vectors)
    backbone = Backbone("toy:", "f" * 64, frozenset({"texts"}), lambda _: encoder, batch=SHARD)
    return features(backbone, texts), counted(texts)


def test_what_a_killed_extraction_has_made_is_kept(own_cache):
    process = subprocess.Popen([sys.executable, "-c", KILLED], cwd=Path(__file__).parent)
    while len(kept(own_cache)) < 3 and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = {path: path.stat().st_mtime_ns for path in kept(own_cache)}
    assert 3 <= len(done) < SHARDS
    asked = []
    found, expected = many(lambda texts: asked.append(texts) or counted(texts))
    np.testing.assert_array_equal(found, expected)
    assert len(asked) == SHARDS - len(done)
    assert all(path.stat().st_mtime_ns == at for path, at in done.items())


def test_a_cache_that_cannot_be_written_is_said(zoo, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SWAYPOINT_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match="SWAYPOINT_CACHE"):
        features(f"hf:{zoo / 'bert'}", ["good"])


@pytest.mark.parametrize(
    ("platform", "variable", "expected"),
    [
        ("linux", "XDG_CACHE_HOME", "{}/swaypoint"),
        ("win32", "LOCALAPPDATA", "{}/swaypoint"),
        ("darwin", None, "{home}/Library/Caches/swaypoint"),
        ("linux", None, "{home}/.cache/swaypoint"),
    ],
)
def test_the_cache_lies_where_the_system_has_caches(monkeypatch, tmp_path, platform, variable, expected):
    for name in ("SWAYPOINT_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", platform)
    if variable:
        monkeypatch.setenv(variable, str(tmp_path))
    assert cache_folder() == Path(expected.format(tmp_path, home=Path.home()))


# -- what is refused ---------------------------------------------------------------------------------


REVISION = "a" * 40


@pytest.fixture
def held(zoo, tmp_path):
    """The hub's cache with one revision of owner/bert, as huggingface_hub lays it."""
    repository = tmp_path / "hub" / "models--owner--bert"
    (repository / "snapshots").mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(REVISION)
    (repository / "snapshots" / REVISION).symlink_to(zoo / "bert")
    return repository


@pytest.mark.usefixtures("held")
def test_a_model_of_the_hub_is_pinned_by_its_revision(zoo):
    texts = ["good film", "dull"]
    for name in ("hf:owner/bert", f"hf:owner/bert@{REVISION}", "hf:owner/bert@main"):
        backbone = find(name)
        assert backbone.name == f"hf:owner/bert@{REVISION}"
        assert backbone.fingerprint == find(f"hf:{zoo / 'bert'}").fingerprint
        np.testing.assert_array_equal(features(backbone, texts), features(f"hf:{zoo / 'bert'}", texts))


def copied(zoo, folder, name="bert", *, without=(), **changes):
    """A model's folder with other files: name -> content, bytes or what JSON has."""
    folder.mkdir()
    for path in (zoo / name).iterdir():
        if path.name not in without:
            (folder / path.name).write_bytes(path.read_bytes())
    for file, content in changes.items():
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        (folder / file.replace("__", ".")).write_bytes(data)
    return f"hf:{folder}"


def test_each_thing_that_is_wrong_is_one_sentence(zoo, tmp_path, held):
    config = json.loads((zoo / "bert" / "config.json").read_text())
    pickle = {"without": ["model.safetensors"], "pytorch_model__bin": b"\x80\x04."}
    own_code = {"model_type": "strange", "auto_map": {"AutoModel": "strange.Model"}, "architectures": ["S"]}
    weights = (zoo / "bert" / "model.safetensors").read_bytes()
    cases = {
        "hf:": "names no model",
        "hf:./nowhere": "there is no such folder",
        f"hf:{zoo / 'bert' / 'config.json'}": "is a file",
        "hf:owner/other": r"not on this machine, and the hub is not reached.*hf download owner/other",
        f"hf:owner/bert@{'b' * 40}": rf"only its revision {REVISION} is on this machine.*--revision bbbb",
        copied(zoo, tmp_path / "pickle", **pickle): r"pytorch_model\.bin is a pickle.*save_pretrained",
        copied(zoo, tmp_path / "empty", without=["model.safetensors"]): r"no \*\.safetensors",
        copied(zoo, tmp_path / "bare", without=["config.json"]): r"no config\.json",
        copied(zoo, tmp_path / "mute", without=["tokenizer.json"]): "nor a tokenizer",
        copied(zoo, tmp_path / "torn", config__json=b"{"): "not a model that can be read|not a JSON file",
        copied(zoo, tmp_path / "cut", model__safetensors=weights[:-100]): "not a model that can be read",
        copied(zoo, tmp_path / "code", config__json=own_code): "not a model that can be read",
        copied(zoo, tmp_path / "more", config__json=config | {"num_hidden_layers": 2}): "lack 16 of",
    }
    for name, message in cases.items():
        with pytest.raises(InputError, match=message) as raised:
            features(name, ["good film"])
        assert "\n" not in str(raised.value)


def test_a_sentence_transformer_with_a_pickle_in_a_part_is_refused(zoo, tmp_path):
    pytest.importorskip("sentence_transformers", reason="needs sentence-transformers")
    with pytest.raises(InputError, match=r"no modules\.json"):
        find(f"st:{zoo / 'bert'}")
    copied(zoo, tmp_path / "st", modules__json={})
    (tmp_path / "st" / "1_Dense").mkdir()
    (tmp_path / "st" / "1_Dense" / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(InputError, match=r"1_Dense/pytorch_model\.bin is a pickle"):
        find(f"st:{tmp_path / 'st'}")


def test_an_onnx_tensor_that_is_not_there_lists_the_last(zoo, tmp_path):
    network(tmp_path / "net.onnx", dtype="UINT8")
    with pytest.raises(InputError, match="not an ONNX network that can be read"):
        find(f"onnx:{zoo / 'bert' / 'config.json'}")
    with pytest.raises(InputError, match="there is no such file"):
        find("onnx:nowhere.onnx")
    with pytest.raises(InputError, match=r"no tensor 'poled'; the last ones are logits, pooled"):
        find(f"onnx:{tmp_path / 'net.onnx'}:poled")


def test_records_that_a_model_does_not_take_are_refused(zoo):
    with pytest.raises(InputError, match="a model of such records"):
        features(f"hf:{zoo / 'vit'}", ["good film"])
    with pytest.raises(InputError, match="there are no records"):
        features(f"hf:{zoo / 'vit'}", [])
    endless = type("E", (), {"prepare": lambda _, x: x, "embed": lambda _, x: np.full((len(x), 2), np.inf)})()
    with pytest.raises(InputError, match="record 7 are not finite"):
        encode("toy", endless, ["a", "b"], 2, first=7)


def test_the_families_are_named_where_a_name_is_none(tmp_path):
    assert {"hf", "st", "m2v", "onnx", "timm"} <= set(families)
    with pytest.raises(InputError, match=r"hf:FOLDER"):
        swaypoint.audit("sklearn:wine", tmp_path / "a", options=AuditOptions(model=ModelOptions("vgg")))


# -- audits ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Two classes of pictures, dark and light, of 40 x 40 pixels."""
    root, rng = tmp_path_factory.mktemp("data") / "photos", np.random.default_rng(0)
    for name, grey in (("dark", 80), ("light", 170)):
        (root / name).mkdir(parents=True)
        for i in range(40):
            pixels = np.clip(rng.normal(grey, 50, (40, 40, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}.png")
    return root


def audit(source, out, model, **changes):
    options = AuditOptions(model=ModelOptions(model), top=5, **changes)
    return swaypoint.audit(source, out, options=options)


def test_an_audit_of_photos_by_a_vit(zoo, photos, tmp_path, own_cache):
    name = f"hf:{zoo / 'vit_classifier'}"
    arguments = ["audit", str(photos), "--out", str(tmp_path / "a"), "--model", name, "--verbose"]
    shown = CliRunner().invoke(app, [*arguments, "--score", "auto"], env={"COLUMNS": "300"})
    assert shown.exit_code == 0, shown.output
    assert "chosen by the loss of left-out points" in shown.stderr
    assert f"features cached in {own_cache}" in shown.stderr
    folder = swaypoint.AuditFolder(tmp_path / "a")
    manifest, scores = folder.manifest(), folder.scores().to_pandas()
    assert manifest.model.name == name
    assert manifest.model.hash == find(name).fingerprint
    assert manifest.model.features == 8
    trained = scores[scores["split"] == "train"]
    made, labels = features(name, read_dataset(photos).inputs)[trained["index"]], trained["label"].to_numpy()
    expected = swaypoint.cooks_distance_from_features(made, labels, l2=manifest.model.l2, progress=False)
    np.testing.assert_allclose(trained["cook"], expected.values, rtol=1e-3)
    again = audit(photos, tmp_path / "b", name, scores=("auto",))
    assert again.scores().equals(folder.scores())  # to the bit


def test_the_ridge_that_was_asked_for_is_taken(zoo, photos, tmp_path):
    folder = audit(photos, tmp_path / "a", f"hf:{zoo / 'vit'}", objective=Objective(l2=0.02))
    assert folder.manifest().model.l2 == 0.02


def test_other_weights_in_the_same_folder_are_another_audit(zoo, photos, tmp_path):
    name = copied(zoo, tmp_path / "model", "vit")
    first = audit(photos, tmp_path / "a", name)
    saved(tmp_path / "model", lambda: transformers.ViTModel(vit_config()).requires_grad_(False))
    torch.manual_seed(1)
    transformers.ViTModel(vit_config()).save_pretrained(tmp_path / "model")
    with pytest.raises(InputError, match="another audit"):
        audit(photos, first.path, name)


def test_pictures_are_read_at_the_side_that_the_model_sees(zoo, tmp_path):
    rng = np.random.default_rng(0)
    for name in "ab":
        (tmp_path / "large" / name).mkdir(parents=True)
        for i in range(6):
            pixels = rng.integers(0, 256, (90, 120, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "large" / name / f"{i}.png")
    wide = image_processor()
    wide.size = {"height": 80, "width": 80}
    name = copied(zoo, tmp_path / "wide", "resnet", preprocessor_config__json=wide.to_dict())
    folder = audit(tmp_path / "large", tmp_path / "a", name)
    assert folder.manifest().data.origin["read"]["largest_side"] == 80
    exported = CliRunner().invoke(app, ["findings", str(folder.path)])
    assert exported.exit_code == 0, exported.output


def test_several_backbones_are_ranked_together(zoo, photos, tmp_path):
    names = [f"hf:{zoo / 'vit'}", f"hf:{zoo / 'resnet'}"]
    folder = audit(photos, tmp_path / "both", ",".join(names), scores=("auto",))
    found = folder.scores().to_pandas()
    parts = [audit(photos, tmp_path / str(i), name, scores=("auto",)) for i, name in enumerate(names)]
    scores = [part.scores().to_pandas() for part in parts]
    logs = [np.log(one["cook"]) for one in scores]
    assert np.corrcoef(found["models"], np.mean([one - one.mean() for one in logs], 0))[0, 1] > 0.999
    np.testing.assert_allclose(found["cook"], scores[0]["cook"])
    manifest = folder.manifest()
    assert manifest.model.name == ", ".join(names)
    checks = {check.name: check.value for check in manifest.diagnostics.checks}
    assert checks["Agreement"].startswith("2 models: rank correlation")
    compared = CliRunner().invoke(app, ["compare", str(folder.path)])
    assert "this audit is of several" in str(compared.exception or compared.output)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "hf:{zoo}/bert"}, "takes texts, and .* holds images"),
        ({"name": "hf:{zoo}/vit", "models": 2}, "leave model and params out"),
        ({"name": "hf:{zoo}/vit", "weights": Path("w.pt")}, "leave --weights out"),
        ({"name": "hf:{zoo}/vit", "transform": "a:b"}, "leave --transform out"),
        ({"name": "hf:{zoo}/nothing"}, "no such folder"),
        ({"name": "resnet20,hf:./nothing"}, "no such folder"),
    ],
)
def test_options_that_do_not_go_with_a_backbone(zoo, photos, tmp_path, changes, message):
    model = ModelOptions(**changes | {"name": changes["name"].format(zoo=zoo)})
    with pytest.raises(InputError, match=message):
        swaypoint.audit(photos, tmp_path / "a", options=AuditOptions(model=model))
    assert not (tmp_path / "a").exists()


# -- any parameters ----------------------------------------------------------------------------------


def texts_dataset(count=24):
    texts = np.array(sentences(count), dtype=object)
    labels = np.array([sum(word in GOOD for word in text.split()) % 2 for text in texts])
    everyone = np.arange(count)
    whole = Dataset("texts", "texts", texts, labels, ("a", "b"), (), everyone, (), (), "f" * 64)
    return whole, Rows(everyone[: count - 4], everyone[count - 4 :])


def dense(model, inputs, labels, ridge):
    """Gradients (n, P) and the Gauss-Newton matrix with its ridge, float64, by plain autodiff a point."""
    parameters, rows, roots = list(model.parameters()), [], []

    def flat(value):
        parts = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
        pairs = zip(parameters, parts, strict=True)
        return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for p, g in pairs])

    for i, label in enumerate(labels):
        logits = model(**{name: value[i : i + 1] for name, value in inputs.items()})[0]
        jacobian, p = torch.stack([flat(one) for one in logits]), logits.softmax(0).detach()
        roots.append(p.sqrt()[:, None] * (jacobian - p @ jacobian))  # of J^T (diag p - p p^T) J
        rows.append(p @ jacobian - jacobian[label])
    root = torch.cat(roots)
    return torch.stack(rows), torch.diag(ridge) + root.T @ root / len(labels)


def as_rows(inputs, labels):
    return [
        {name: value[i] for name, value in inputs.items()} | {"labels": int(label)}
        for i, label in enumerate(labels)
    ]


@pytest.mark.parametrize("name", ["bert", "gpt2", "st"])
def test_influence_of_a_text_classifier_is_that_of_dense_differentiation(zoo, tmp_path, name):
    """Embeddings, attention, layer norms, GPT-2's Conv1D, and sentence-transformers' own modules."""
    reference = f"hf:{zoo / name}"
    if name == "st":
        sentence_model(zoo, tmp_path / "st")
        reference = f"st:{tmp_path / 'st'}"
    dataset, parts = texts_dataset()
    training = Training(tmp_path, 0, "cpu")
    predictor = prepare(dataset, parts, ModelOptions(reference), Objective(), training=training, whole=True)
    model = predictor.head.installed().model.double()
    encoder = find(reference).load("cpu")
    train, test = (dataset.inputs[rows] for rows in (parts.train, parts.validation))
    inputs, queries = encoder.prepare(train), encoder.prepare(test)
    labels = torch.from_numpy(dataset.labels)
    given, asked = (as_rows(x, labels[y]) for x, y in ((inputs, parts.train), (queries, parts.validation)))
    found = swaypoint.influence(model, given, asked, params="*", l2=1e-3, damping=0.1, solver="exact")
    assert ModelRisk(model, given).names == tuple(name for name, _ in model.named_parameters())
    ridge = torch.full((sum(p.numel() for p in model.parameters()),), 0.101, dtype=torch.float64)
    rows, matrix = dense(model, inputs, labels[parts.train], ridge)
    tested, _ = dense(model, queries, labels[parts.validation], ridge)
    expected = tested @ torch.linalg.solve(matrix, rows.T)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


def test_an_audit_by_parameters_of_a_backbone(zoo, photos, tmp_path):
    name = f"hf:{zoo / 'vit_classifier'}"
    params = {"params": ("head.*", "*layernorm*"), "damping": 0.01}
    folder = audit(photos, tmp_path / "a", name, objective=Objective(l2=1e-2), **params)
    other = audit(photos, tmp_path / "b", name, objective=Objective(l2=1e-2))
    found, last = (one.scores().to_pandas() for one in (folder, other))
    assert (found["cook"] > 0).all()
    assert folder.manifest().model.params == params["params"]
    pairs = np.corrcoef(np.log(found["cook"]), np.log(last["cook"]))
    assert pairs[0, 1] > 0.5
    network(tmp_path / "raw.onnx", dtype="UINT8")
    with pytest.raises(InputError, match="has no gradients"):
        audit(photos, tmp_path / "c", f"onnx:{tmp_path / 'raw.onnx'}", **params)


def test_a_review_compares_by_the_same_backbone(zoo, photos, tmp_path):
    folder = audit(photos, tmp_path / "a", f"hf:{zoo / 'vit'}", flip=0.1)
    simulated = CliRunner().invoke(app, ["compare", str(folder.path), "--seeds", "1"])
    assert simulated.exit_code == 0, (simulated.output, simulated.exception)


def test_a_long_extraction_tells_its_stage(zoo, photos, tmp_path):
    stages, counts = [], []
    listener = Listener(stage=stages.append, records=lambda *count: counts.append(count))
    options = AuditOptions(model=ModelOptions(f"hf:{zoo / 'vit'}"), top=5)
    swaypoint.audit(photos, tmp_path / "a", options=options, listener=listener)
    assert "training" in stages
    assert (80, 80) in counts


def test_features_of_more_pictures_than_fit_are_written_by_the_shard(zoo, photos, tmp_path):
    name, out = f"hf:{zoo / 'vit'}", tmp_path / "written"
    arguments = ["features", str(photos), "--model", name, "--out", str(out)]
    for _ in range(2):  # the second finds all of it
        done = CliRunner().invoke(app, arguments, env={"COLUMNS": "300"})
        assert done.exit_code == 0, (done.output, done.exception)
    assert f"next: swaypoint audit {out} --features features\n" in done.output
    table = pa.concat_tables(pq.read_table(file) for file in sorted(out.glob("*.parquet")))
    dataset = read_dataset(photos)
    expected = features(name, dataset.inputs)
    np.testing.assert_allclose(np.stack(table["features"].to_numpy()), expected, atol=1e-5)
    read = swaypoint.ReadOptions(features="features", label="label")
    streamed = swaypoint.audit(out, tmp_path / "a", read=read, options=AuditOptions(top=5))
    assert streamed.manifest().model.features == 8
