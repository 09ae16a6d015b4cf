"""``timm:`` models of timm, where it imports (it needs torchvision): what the classifier would get."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from swaypoint.errors import InputError, require
from swaypoint.models.pretrained.base import Backbone, Encoder, Family, Records, families, of_module
from swaypoint.models.pretrained.places import Place, loading, located, of_folder


def find(reference: str) -> Backbone:
    """See :class:`~swaypoint.models.pretrained.base.Family`; a bare name is the hub's ``timm/NAME``."""
    library = require("timm", "timm")
    at_the_hub = "/" not in reference and not reference.startswith(".")
    place = located("timm", f"timm/{reference}" if at_the_hub else reference)
    place.check_weights()
    about = place.json("config.json")
    if not isinstance(about.get("architecture"), str):
        raise InputError(f"{place.name}: its config.json names no architecture of timm; pass a model of timm")
    size = (about.get("pretrained_cfg") or {}).get("input_size")
    side = int(size[-1]) if isinstance(size, list) and size else None
    mark = of_folder(place, also=f"timm 1, timm {library.__version__}")
    return Backbone(place.name, mark, frozenset({"images"}), lambda device: _load(place, device), side)


def _load(place: Place, device: str) -> Encoder:
    library, image = require("timm", "timm"), require("PIL.Image", "images")
    from safetensors.torch import load_file

    about = place.json("config.json")
    with loading(place.name):
        model = library.create_model(
            about["architecture"], pretrained=False, num_classes=0, **(about.get("model_args") or {})
        )
        missing, _ = model.load_state_dict(load_file(place.folder / "model.safetensors"), strict=False)
        settings = library.data.resolve_data_config(pretrained_cfg=about.get("pretrained_cfg") or {})
        transform = library.data.create_transform(**settings)
    if missing:
        raise InputError(
            f"{place.name}: its weights lack {len(missing)} of the model's tensors, such as {missing[0]};"
            " fetch the model again"
        )

    def prepare(records: Records) -> dict[str, Tensor]:
        return {"x": torch.stack([transform(image.fromarray(one)) for one in records])}

    return of_module(_Named(model), prepare, device)


class _Named(nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


TIMM = families.register("timm", Family("timm: images", find))
