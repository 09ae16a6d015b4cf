"""``m2v:`` static embeddings of model2vec: what ``StaticModel.encode`` gives. They have no gradients."""

from __future__ import annotations

import threading

import numpy as np

from swaypoint.errors import require
from swaypoint.models.pretrained.base import Backbone, Encoder, Family, Records, families
from swaypoint.models.pretrained.places import Place, loading, located, of_folder


def find(reference: str) -> Backbone:
    """See :class:`~swaypoint.models.pretrained.base.Family`."""
    library = require("model2vec", "static")
    place = located("m2v", reference)
    place.check_weights()
    version = getattr(library, "__version__", "")
    mark = of_folder(place, also=f"m2v 1, model2vec {version}")
    return Backbone(place.name, mark, frozenset({"texts"}), lambda _: _load(place), batch=1024)


def _load(place: Place) -> Encoder:
    library = require("model2vec", "static")
    with loading(place.name):
        model = library.StaticModel.from_pretrained(place.folder, force_download=False)
    lock = threading.Lock()  # it sets its tokenizer's length at each call

    def prepare(records: Records) -> np.ndarray:
        with lock:
            return np.asarray(model.encode(list(records), use_multiprocessing=False), dtype=np.float32)

    return Encoder(prepare, lambda vectors: vectors)


M2V = families.register("m2v", Family("model2vec: texts, static embeddings", find))
