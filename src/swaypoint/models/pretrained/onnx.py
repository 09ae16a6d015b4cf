"""``onnx:FILE`` or ``onnx:FILE:TENSOR``: any exported network, run by onnxruntime. It has no gradients.

A network's file says what it takes, but not how a picture becomes it. So pictures are prepared by the
``preprocessor_config.json`` beside the file, or by ``--transform``; only a network that takes pixels as they
are (uint8) needs neither. Texts are tokenised by the ``tokenizer.json`` beside it.

The features are TENSOR, an output or any tensor inside (those before the last product are worth more than
the logits); without it the output that is called an embedding, the last hidden state, or the only one. Of
maps the mean over the positions is taken, of tokens the mean of those that are no padding.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from swaypoint.errors import InputError, reading, require
from swaypoint.models.pretrained.base import Backbone, Encoder, Family, Records, families
from swaypoint.models.pretrained.hf import image_settings, image_side
from swaypoint.models.pretrained.places import Place, fingerprint, loading
from swaypoint.models.yours import load_object

_EMBEDDINGS = ("sentence_embedding", "image_embeds", "text_embeds", "pooler_output", "last_hidden_state")
_REMEDY = "export the model again, or check the file"
_LONGEST = 512
_DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}


@dataclass(frozen=True)
class _Graph:
    """What a file's network takes and gives: shapes by name, None where a side is free."""

    inputs: Mapping[str, tuple[str, list[Any]]]
    outputs: tuple[str, ...]

    @property
    def pixels(self) -> str | None:
        """The input that takes pictures."""
        return next((name for name, (_, shape) in self.inputs.items() if len(shape) == 4), None)

    @property
    def channels_last(self) -> bool:
        shape = self.inputs[str(self.pixels)][1]
        return shape[3] in (1, 3) and shape[1] not in (1, 3)

    @property
    def side(self) -> int | None:
        if self.pixels is None:
            return None
        size = self.inputs[self.pixels][1][1 if self.channels_last else 2]
        return size if isinstance(size, int) else None


def find(reference: str, transform: str | None = None) -> Backbone:
    """See :class:`~swaypoint.models.pretrained.base.Family`."""
    runtime = require("onnxruntime", "onnx")
    file, tensor = _parts(reference)
    name = f"onnx:{file}" + (f":{tensor}" if tensor else "")
    place = Place(name, file.absolute().parent)
    graph = _graph(_session(name, file, tensor, quick=True), tensor)
    beside = [path for path in place.folder.iterdir() if path.suffix == ".json" or path.name == "vocab.txt"]
    beside += [path for path in place.folder.glob(f"{file.name}*") if path.is_file()]  # weights apart
    also = f"onnx 1, onnxruntime {runtime.__version__}, {tensor}, {transform}"
    mark = fingerprint(*{*beside, file.absolute()}, root=place.folder, also=also)
    takes = frozenset({"images" if graph.pixels else "texts"})
    if takes == {"texts"} and "input_ids" not in graph.inputs:
        raise InputError(
            f"{name}: it takes {', '.join(graph.inputs)}; expected pictures (four axes) or input_ids"
        )
    own = image_settings(place)
    side = graph.side or image_side(own)
    own_way = None if transform is None else load_object(transform)
    prepare = _pictures(place, graph, own, own_way) if graph.pixels else _tokens(place, graph)
    return Backbone(name, mark, takes, lambda _: _load(name, file, tensor, prepare), side)


def _parts(reference: str) -> tuple[Path, str]:
    """The file, and the tensor or nothing."""
    if os.path.isfile(reference):
        return Path(reference), ""
    file, _, tensor = reference.rpartition(":")
    if os.path.isfile(file):
        return Path(file), tensor
    raise InputError(f"onnx:{reference}: there is no such file; expected onnx:FILE or onnx:FILE:TENSOR")


def _session(name: str, file: Path, tensor: str, *, quick: bool = False) -> Any:
    """``quick``: to be looked at, not run."""
    runtime = require("onnxruntime", "onnx")
    import torch

    options = runtime.SessionOptions()
    # Of the thread that works on a shard: one where several do.
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if quick:
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    providers = ["CPUExecutionProvider"]
    with reading(name, "an ONNX network", _REMEDY):
        session = runtime.InferenceSession(str(file), options, providers=providers)
        if not tensor or tensor in (output.name for output in session.get_outputs()):
            return session
    changed = _with_output(name, file, tensor)
    with reading(name, "an ONNX network", _REMEDY):
        return runtime.InferenceSession(changed, options, providers=providers)


def _with_output(name: str, file: Path, tensor: str) -> bytes:
    """The network with a tensor from inside as its output."""
    onnx = require("onnx", "onnx")
    with reading(name, "an ONNX network", _REMEDY):
        model = onnx.load(str(file))
        inside = [output for node in model.graph.node for output in node.output if output]
    if tensor not in inside:
        last = ", ".join(reversed(inside[-8:]))
        raise InputError(f"{name}: the network has no tensor {tensor!r}; the last ones are {last}")
    del model.graph.output[:]
    model.graph.output.append(onnx.ValueInfoProto(name=tensor))
    return bytes(model.SerializeToString())


def _graph(session: Any, tensor: str) -> _Graph:
    inputs = {one.name: (one.type, list(one.shape)) for one in session.get_inputs()}
    return _Graph(inputs, (tensor,) if tensor else tuple(one.name for one in session.get_outputs()))


def _load(name: str, file: Path, tensor: str, prepare: Callable[[Records], dict[str, np.ndarray]]) -> Encoder:
    session = _session(name, file, tensor)
    outputs = _graph(session, tensor).outputs
    chosen = next((one for one in _EMBEDDINGS if one in outputs), outputs[0] if len(outputs) == 1 else None)
    if chosen is None:
        raise InputError(
            f"{name}: which of its outputs are the features? Name one: {name}:TENSOR, with"
            f" {', '.join(outputs)}"
        )

    def embed(inputs: dict[str, np.ndarray]) -> np.ndarray:
        (values,) = session.run([chosen], inputs)
        return _pooled(np.asarray(values, dtype=np.float32), inputs.get("attention_mask"))

    return Encoder(prepare, embed)


def _pooled(values: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    if values.ndim == 3:  # tokens
        weights = np.ones(values.shape[:2]) if mask is None else mask
        kept = weights.astype(np.float32)[:, :, None]
        return (values * kept).sum(1) / np.maximum(kept.sum(1), 1e-9)
    if values.ndim == 4:  # a map: of channels last where these are the most
        return values.mean((1, 2) if values.shape[3] > values.shape[1] else (2, 3))
    return values.reshape(len(values), -1)


def _pictures(
    place: Place, graph: _Graph, own: dict[str, Any], transform: Callable[[Any], Any] | None
) -> Callable[[Records], dict[str, np.ndarray]]:
    image, name = require("PIL.Image", "images"), str(graph.pixels)
    kind = graph.inputs[name][0]
    dtype = _DTYPES.get(kind)
    if dtype is None:
        raise InputError(f"{place.name}: it takes {kind}; expected float or uint8 pixels")
    if transform is None and not own and dtype != np.uint8:
        raise InputError(
            f"{place.name}: an ONNX file does not say how pictures are scaled; put the model's"
            " preprocessor_config.json beside it, or pass --transform package.module:function"
        )
    if transform is None and own:
        return _processed(place, graph)
    side = graph.side

    def resized(picture: Any) -> np.ndarray:
        wanted = picture if side is None else picture.resize((side, side), image.Resampling.BICUBIC)
        pixels = np.asarray(wanted)
        return pixels if graph.channels_last else pixels.transpose(2, 0, 1)

    def prepare(records: Records) -> dict[str, np.ndarray]:
        rows = [np.asarray((transform or resized)(image.fromarray(one))) for one in records]
        return {name: np.stack(rows).astype(dtype)}

    return prepare


def _processed(place: Place, graph: _Graph) -> Callable[[Records], dict[str, np.ndarray]]:
    transformers, image = require("transformers", "pretrained"), require("PIL.Image", "images")
    name = str(graph.pixels)
    with loading(place.name):
        processor = transformers.AutoImageProcessor.from_pretrained(
            place.folder, trust_remote_code=False, local_files_only=True, backend="pil"
        )

    def prepare(records: Records) -> dict[str, np.ndarray]:
        pictures = [image.fromarray(one) for one in records]
        pixels = processor(images=pictures, return_tensors="np")["pixel_values"]
        pixels = pixels.transpose(0, 2, 3, 1) if graph.channels_last else pixels
        return {name: pixels.astype(_DTYPES[graph.inputs[name][0]])}

    return prepare


def _tokens(place: Place, graph: _Graph) -> Callable[[Records], dict[str, np.ndarray]]:
    file = place.folder / "tokenizer.json"
    if not file.is_file():
        raise InputError(f"{place.name}: no tokenizer.json in {place.folder}; put the model's own beside it")
    tokenizers = require("tokenizers", "onnx")
    with reading(file, "a tokenizer", "fetch it again"):
        tokenizer = tokenizers.Tokenizer.from_file(str(file))
    settings = place.json("tokenizer_config.json")
    longest = settings.get("model_max_length", _LONGEST)
    tokenizer.enable_truncation(int(longest) if longest < 1_000_000 else _LONGEST)
    pad = settings.get("pad_token") or "[PAD]"
    pad = pad["content"] if isinstance(pad, dict) else pad
    tokenizer.enable_padding(pad_id=tokenizer.token_to_id(pad) or 0, pad_token=pad)

    def prepare(records: Records) -> dict[str, np.ndarray]:
        rows = tokenizer.encode_batch(list(records))
        all_of = {
            "input_ids": [row.ids for row in rows],
            "attention_mask": [row.attention_mask for row in rows],
            "token_type_ids": [row.type_ids for row in rows],
        }
        return {name: np.asarray(all_of[name], dtype=np.int64) for name in graph.inputs if name in all_of}

    return prepare


ONNX = families.register("onnx", Family("ONNX: images, texts", find, find))
