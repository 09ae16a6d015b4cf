"""``hf:`` models of transformers: of images, texts and sounds, and those of images and texts together.

What a record's features are:

- **images and texts together** (CLIP, SigLIP): the projected embedding, ``get_image_features`` or
  ``get_text_features``.
- **images**: ``pooler_output`` (ResNet, ConvNeXt, Swin, DINOv2: the pooled map or the class token; ViT: the
  class token through its pooler). Where the weights have no pooler, as those of a ViT that was trained with a
  classifier on it, the class token, which is what the classifier saw; of models without one the mean of the
  positions.
- **texts**: the mean of the last layer's tokens, padding left out, also of decoders (GPT-2); of encoders with
  decoders (T5) the encoder's.
- **sounds**: the mean of the last layer's frames.

Preprocessing is the folder's own, by the processors on Pillow, which need no torchvision. Only safetensors
are loaded, and no code from the hub.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from swaypoint.errors import InputError, require
from swaypoint.models.pretrained.base import (
    Backbone,
    Encoder,
    Family,
    Records,
    families,
    mean_of_tokens,
    of_module,
)
from swaypoint.models.pretrained.places import Place, loading, located, of_folder

_TOKENIZERS = ("tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model", "spiece.model")
_LONGEST = 512  # tokens, of a tokenizer that names no limit


def find(reference: str) -> Backbone:
    """See :class:`~swaypoint.models.pretrained.base.Family`."""
    transformers = require("transformers", "pretrained")
    place = located("hf", reference)
    if not (place.folder / "config.json").is_file():
        raise InputError(
            f"{place.name}: no config.json in {place.folder}; pass the folder that save_pretrained() wrote"
        )
    place.check_weights()
    own = image_settings(place)
    takes = _takes(place, own)
    if not takes:
        raise InputError(
            f"{place.name}: neither preprocessor_config.json nor a tokenizer in {place.folder}; save the"
            " model's own processor or tokenizer there with its save_pretrained()"
        )
    mark = of_folder(place, also=f"hf 1, transformers {transformers.__version__}")
    batch = 1 if "audio" in takes else 32
    return Backbone(
        place.name, mark, takes, lambda device: _load(place, takes, device), image_side(own), batch
    )


def image_settings(place: Place) -> dict[str, Any]:
    """What the folder says of preprocessing images or sounds."""
    whole = place.json("processor_config.json")
    part = whole.get("image_processor") or whole.get("feature_extractor") or {}
    return place.json("preprocessor_config.json") or (part if isinstance(part, dict) else {})


def _takes(place: Place, own: Mapping[str, Any]) -> frozenset[str]:
    if "sampling_rate" in own:
        return frozenset({"audio"})
    texts = any((place.folder / name).is_file() for name in _TOKENIZERS)
    return frozenset(name for name, there in (("images", bool(own)), ("texts", texts)) if there)


def image_side(own: Mapping[str, Any]) -> int | None:
    """Of the pictures that the model sees, in pixels; None where :func:`image_settings` do not say."""
    size = own.get("size") or own.get("crop_size")
    sides = size.values() if isinstance(size, dict) else [size]
    return max((side for side in sides if isinstance(side, int)), default=None)


def _load(place: Place, takes: frozenset[str], device: str) -> Encoder:
    transformers = require("transformers", "pretrained")
    with quiet(transformers), loading(place.name):
        model, info = transformers.AutoModel.from_pretrained(
            place.folder,
            trust_remote_code=False,
            use_safetensors=True,
            local_files_only=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
        prepare = {kind: _PREPARED[kind](transformers, place) for kind in takes}
    absent = set(info["missing_keys"])
    pooler = {name for name in absent if name.startswith("pooler.")}
    if lost := sorted(absent - pooler):
        raise InputError(
            f"{place.name}: its weights lack {len(lost)} of the model's tensors, such as {lost[0]}, whose"
            " features would be random; fetch the model again"
        )
    if (pooler or takes == {"texts"}) and getattr(model, "pooler", None) is not None:
        model.pooler = None
    if "images" not in takes and getattr(model.config, "is_encoder_decoder", False):
        model = model.get_encoder()

    def prepared(records: Records) -> dict[str, Tensor]:
        return prepare[kind_of(records)](records)

    return of_module(Pooled(model), prepared, device)


def kind_of(records: Records) -> str:
    """``"images"``, ``"texts"`` or ``"audio"``."""
    if isinstance(records, np.ndarray) and records.ndim == 4:
        return "images"
    return "texts" if len(records) and isinstance(records[0], str) else "audio"


class Pooled(nn.Module):
    """A model of transformers from its keyword inputs to one vector a record."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, **inputs: Tensor) -> Tensor:
        model, mask = self.model, inputs.get("attention_mask")
        images, texts = "pixel_values" in inputs, "input_ids" in inputs
        for there, name in ((images, "get_image_features"), (texts, "get_text_features")):
            if there and hasattr(model, name):
                found = getattr(model, name)(**inputs)
                return found if isinstance(found, Tensor) else found.pooler_output
        output = model(**inputs)
        if images and getattr(output, "pooler_output", None) is not None:
            return output.pooler_output.flatten(1)
        states: Tensor = output.last_hidden_state
        if states.ndim == 4:  # a map of positions
            return states.mean((2, 3))
        if images and getattr(getattr(model, "embeddings", None), "cls_token", None) is not None:
            return states[:, 0]
        return mean_of_tokens(states, mask if texts else None)


def _of_images(transformers: Any, place: Place) -> Callable[[Records], dict[str, Tensor]]:
    image = require("PIL.Image", "images")
    processor = transformers.AutoImageProcessor.from_pretrained(
        place.folder, trust_remote_code=False, local_files_only=True, backend="pil"
    )

    def prepare(records: Records) -> dict[str, Tensor]:
        return {
            "pixel_values": processor(images=[image.fromarray(one) for one in records], return_tensors="pt")[
                "pixel_values"
            ]
        }

    return prepare


def _of_texts(transformers: Any, place: Place) -> Callable[[Records], dict[str, Tensor]]:
    tokenizer = transformers.AutoTokenizer.from_pretrained(
        place.folder, trust_remote_code=False, local_files_only=True
    )
    if tokenizer.pad_token is None:  # decoders; the mask keeps it out of the mean
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    longest = tokenizer.model_max_length if tokenizer.model_max_length < 1_000_000 else _LONGEST
    lock = threading.Lock()  # fast tokenizers refuse two threads at once

    def prepare(records: Records) -> dict[str, Tensor]:
        with lock:
            return dict(
                tokenizer(
                    list(records), padding=True, truncation=True, max_length=longest, return_tensors="pt"
                )
            )

    return prepare


def _of_audio(transformers: Any, place: Place) -> Callable[[Records], dict[str, Tensor]]:
    extractor = transformers.AutoFeatureExtractor.from_pretrained(
        place.folder, trust_remote_code=False, local_files_only=True
    )

    def prepare(records: Records) -> dict[str, Tensor]:
        found = extractor(list(records), sampling_rate=extractor.sampling_rate, return_tensors="pt")
        return {name: value for name, value in found.items() if name.startswith("input_")}

    return prepare


_PREPARED = {"images": _of_images, "texts": _of_texts, "audio": _of_audio}


@contextmanager
def quiet(transformers: Any) -> Iterator[None]:
    """Without its bars and reports; what it says is said by the errors."""
    logging = transformers.utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


HF = families.register("hf", Family("transformers: images, texts, sounds, CLIP", find))
