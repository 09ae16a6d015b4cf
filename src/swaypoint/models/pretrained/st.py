"""``st:`` models of sentence-transformers: what ``encode`` gives, with the model's default prompt."""

from __future__ import annotations

import threading
from typing import Any

from torch import Tensor, nn

from swaypoint.errors import InputError, require
from swaypoint.models.pretrained.base import Backbone, Encoder, Family, Records, families, of_module
from swaypoint.models.pretrained.hf import quiet
from swaypoint.models.pretrained.places import Place, loading, located, of_folder


def find(reference: str) -> Backbone:
    """See :class:`~swaypoint.models.pretrained.base.Family`."""
    library = require("sentence_transformers", "sentence")
    place = located("st", reference)
    if not (place.folder / "modules.json").is_file():
        raise InputError(
            f"{place.name}: no modules.json in {place.folder}; pass the folder that SentenceTransformer's"
            " save() wrote, or try hf: for a model of transformers"
        )
    place.check_weights(deep=True)
    mark = of_folder(place, also=f"st 1, sentence-transformers {library.__version__}")
    return Backbone(place.name, mark, frozenset({"texts"}), lambda device: _load(place, device))


def _load(place: Place, device: str) -> Encoder:
    library, transformers = (
        require("sentence_transformers", "sentence"),
        require("transformers", "sentence"),
    )
    with quiet(transformers), loading(place.name):
        model = library.SentenceTransformer(
            str(place.folder),
            device=device,
            trust_remote_code=False,
            local_files_only=True,
            model_kwargs={"use_safetensors": True},
        )
    prompt = model.prompts.get(model.default_prompt_name) if model.default_prompt_name else None
    lock = threading.Lock()  # fast tokenizers refuse two threads at once

    def prepare(records: Records) -> dict[str, Tensor]:
        with lock:
            found = model.preprocess(list(records), prompt=prompt)
        return {name: value for name, value in found.items() if isinstance(value, Tensor)}

    return of_module(Sentences(model), prepare, device)


class Sentences(nn.Module):
    """A sentence transformer from its keyword inputs to the embeddings."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, **inputs: Tensor) -> Tensor:
        return self.model(dict(inputs))["sentence_embedding"]


ST = families.register("st", Family("sentence-transformers: texts", find))
