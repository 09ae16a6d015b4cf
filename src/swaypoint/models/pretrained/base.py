"""What a pretrained backbone is, and the families of them by name: ``hf``, ``st`` and their like.

A family is one file: a function from what stands after the colon to a :class:`Backbone`, entered in
:data:`families`, or named by another package's entry point of ``swaypoint.backbones``. From there it is in
``--model``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from swaypoint.data.hardware import fast_bfloat16
from swaypoint.errors import InputError
from swaypoint.extending import Registry

Records = np.ndarray | Sequence[Any]
"""Images ``(n, H, W, 3)`` uint8; n texts; or n sounds, ``(T,)`` float32 at the model's own rate."""


@dataclass(frozen=True, eq=False)
class Encoder:
    """A backbone in memory.

    Attributes:
        prepare: the family's own preprocessing of a few records, to what ``embed`` takes; of a ``module`` its
            keyword arguments, tensors of b rows each.
        embed: of what ``prepare`` gave, the features ``(b, D)`` float32.
        module: called with what ``prepare`` gave it returns the features ``(b, D)`` and has gradients; None
            where there are none.
    """

    prepare: Callable[[Records], Any]
    embed: Callable[[Any], np.ndarray]
    module: nn.Module | None = None


@dataclass(frozen=True, eq=False)
class Backbone:
    """A pretrained model that was found, but not loaded yet.

    Attributes:
        name: as a manifest pins it: the family, the folder or the hub's name, ``@`` and the revision.
        fingerprint: sha256 in hex of its weights and its preprocessing, wherever they lie.
        takes: kinds of records: ``"images"``, ``"texts"``, ``"audio"``.
        load: the encoder, on a device: ``"cpu"`` or ``"cuda"``. Raises InputError in one sentence.
        side: of the images that it sees, in pixels; None where it takes none, or any.
        batch: records at a time.
    """

    name: str
    fingerprint: str
    takes: frozenset[str]
    load: Callable[[str], Encoder]
    side: int | None = None
    batch: int = 32


@dataclass(frozen=True)
class Family:
    """One kind of pretrained model.

    Attributes:
        summary: what it is, in a few words.
        find: from what stands after the colon to the backbone, without loading its weights. Raises InputError
            in one sentence: what is missing, and the remedy; MissingExtra where its library is.
        transformed: the same with the user's own ``package.module:function`` from one ``PIL.Image`` to what
            the model takes, as second argument; None where the family has preprocessing of its own.
    """

    summary: str
    find: Callable[[str], Backbone]
    transformed: Callable[[str, str], Backbone] | None = None


families: Registry[Family] = Registry(
    "family of pretrained models", "swaypoint.backbones", Family, home="swaypoint.models.pretrained"
)
"""By the word before the colon."""


def is_pretrained(name: str) -> bool:
    """Whether a model's name is that of a pretrained one, rather than ``package.module:factory``.

    >>> is_pretrained("hf:google/vit-base-patch16-224"), is_pretrained("mypackage.net:build")
    (True, False)
    """
    family, colon, _ = name.partition(":")
    return bool(colon) and family in families


def find(name: str, transform: str | None = None) -> Backbone:
    """The backbone of a name such as ``hf:FOLDER``.

    Args:
        transform: see :attr:`Family.transformed`.

    Raises:
        InputError: there is none, or it cannot be used.
        MissingExtra: its family's library is not installed.
    """
    word, _, reference = name.partition(":")
    if not reference:
        raise InputError(f"{name!r} names no model; write {word}:FOLDER or {word}:OWNER/NAME")
    family = families.named(word)
    if transform is None:
        return family.find(reference)
    if family.transformed is None:
        raise InputError(f"{word}: models bring their own preprocessing; leave --transform out")
    return family.transformed(reference, transform)


def of_module(module: nn.Module, prepare: Callable[[Records], Mapping[str, Tensor]], device: str) -> Encoder:
    """The encoder of a module that takes what ``prepare`` gives by keyword, and returns the features; on a
    GPU that has bfloat16 its products are in that."""
    module = module.to(device).eval()
    half = device.startswith("cuda") and fast_bfloat16("cuda")

    def embed(inputs: Mapping[str, Tensor]) -> np.ndarray:
        placed = {name: value.to(device) for name, value in inputs.items()}
        with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16, enabled=half):
            return module(**placed).float().cpu().numpy()

    return Encoder(prepare, embed, module)


def mean_of_tokens(states: Tensor, mask: Tensor | None) -> Tensor:
    """The mean of ``(b, T, D)`` over the tokens that ``mask`` (b, T) keeps."""
    if mask is None:
        return states.mean(1)
    weights = mask.unsqueeze(2).to(states.dtype)
    return (states * weights).sum(1) / weights.sum(1).clamp_min(1e-9)
