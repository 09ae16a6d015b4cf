"""What of this machine is used: which device, and how many threads."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from typing import Any

import torch

from swaypoint.errors import InputError

AUTO = "auto"
"""The device of whoever has no wish: a GPU where torch sees one, else the CPU."""


def device_of(name: str) -> str:
    """The device that is meant by ``auto``, or any other as it is.

    Raises:
        InputError: torch knows no such device, or sees none on this machine.
    """
    if name == AUTO:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(name).type
    except RuntimeError as error:
        raise InputError(f"device is {name!r}; expected auto, cpu or cuda") from error
    if kind == "cuda" and not torch.cuda.is_available():
        raise InputError(f"device is {name}, but this torch sees no GPU; leave --device out for the CPU")
    return name


def fast_bfloat16(device: str) -> bool:
    """Whether bfloat16 products are the faster ones; a CPU without them takes 14 times as long."""
    if device.startswith(("gpu", "cuda")):
        return torch.cuda.is_bf16_supported(including_emulation=False)
    supports: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # of newer torch
    return bool(supports.get("avx512_bf16") or supports.get("amx_bf16"))


def said_device(name: str) -> str:
    """A device in words, with the model of a GPU."""
    if not name.startswith("cuda"):
        return "CPU" if name == "cpu" else name
    return f"GPU ({torch.cuda.get_device_name(name)})"


@contextmanager
def using_threads(count: int | None) -> Iterator[None]:
    """Within, torch, numpy and scikit-learn take ``count`` threads; None: as many as they do anyway.

    Raises:
        InputError: ``count`` < 1.
    """
    if count is None:
        yield
        return
    if count < 1:
        raise InputError(f"threads is {count}; expected a positive number")
    before = torch.get_num_threads()
    with ExitStack() as limits:
        if find_spec("sklearn") is not None:  # brings threadpoolctl, which limits only what is loaded by then
            importlib.import_module("sklearn")
            limits.enter_context(importlib.import_module("threadpoolctl").threadpool_limits(count))
        torch.set_num_threads(count)
        try:
            yield
        finally:
            torch.set_num_threads(before)
