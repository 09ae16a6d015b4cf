"""A model called on a batch: what it takes, what it returns, and why it fails."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from swaypoint.errors import InputError, shortened

_WIDTHS = ("in_features", "in_channels", "num_features", "input_size")


@contextmanager
def evaluation(model: nn.Module) -> Iterator[None]:
    """The model in eval mode without gradients; every module's mode comes back, also on error."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training


def as_logits(output: Any, points: int) -> Tensor:
    """The logits, ``(points, ...)``, in what a model returns of so many points: a tensor, an object or dict
    with ``logits``, or a tuple whose first part they are; a single logit may have lost its dimension.

    Raises:
        InputError: it is none of these, or not of so many points.
    """
    if isinstance(output, Mapping):
        output = output.get("logits", output)
    elif hasattr(output, "logits"):
        output = output.logits
    elif isinstance(output, tuple | list) and output:
        output = output[0]
    if not isinstance(output, Tensor):
        raise InputError(
            f"the model returns a {type(output).__name__}; expected its logits as a tensor, or as 'logits'"
            " of an object or a dict"
        )
    if points == 1 and (output.ndim == 0 or len(output) != 1):
        output = output.reshape(1, -1)
    if output.ndim == 0 or len(output) != points:
        raise InputError(
            f"the model returns {tuple(output.shape)} of {points} points; expected a row of logits a point"
        )
    return output.unsqueeze(1) if output.ndim == 1 else output


def arguments(model: nn.Module, inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and named ones of the model for a batch's inputs: of a dict those that its forward takes."""
    if not isinstance(inputs, Mapping):
        return (inputs,), {}
    taken = inspect.signature(model.forward).parameters.values()
    if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in taken):
        return (), dict(inputs)
    known = {one.name for one in taken}
    return (), {name: value for name, value in inputs.items() if name in known}


def run(model: nn.Module, inputs: Any, device: torch.device) -> Any:
    """What the model returns in eval mode, the inputs moved to it and floating ones to its dtype.

    Raises:
        InputError: it fails on them.
    """
    dtype = next(model.parameters()).dtype

    def placed(name: str, value: Any) -> Tensor:
        if not isinstance(value, Tensor):
            raise InputError(
                f"{name} are a {type(value).__name__} in a batch; expected a tensor: make texts tokens and"
                " pictures tensors in the dataset or in the collate_fn"
            )
        floats = value.is_floating_point() and not isinstance(inputs, Mapping)
        return value.to(device, dtype) if floats else value.to(device)

    positional, named = arguments(model, inputs)
    moved = tuple(placed("inputs", value) for value in positional)
    moved_by_name = {name: placed(f"inputs {name!r}", value) for name, value in named.items()}
    with evaluation(model):
        try:
            return model(*moved, **moved_by_name)
        except Exception as error:  # whatever a model raises
            raise InputError(_why(model, inputs, moved, moved_by_name, error)) from error


def _why(
    model: nn.Module, inputs: Any, moved: tuple[Any, ...], named: dict[str, Any], error: Exception
) -> str:
    """Why a model fails on a batch: by the layer in which it does."""
    reached: list[tuple[str, nn.Module, Any]] = []
    leaves = [(name, part) for name, part in model.named_modules() if not list(part.children())]
    handles = [
        part.register_forward_pre_hook(lambda part, args, name=name: reached.append((name, part, args)))
        for name, part in leaves
    ] + [part.register_forward_hook(lambda *_: reached.clear()) for _, part in leaves]
    try:
        model(*moved, **named)
    except Exception as again:
        error = again
    finally:
        for handle in handles:
            handle.remove()
    if reached and reached[-1][2] and isinstance(reached[-1][2][0], Tensor):
        name, part, (given, *_) = reached[-1]
        width = next(
            (getattr(part, one) for one in _WIDTHS if isinstance(getattr(part, one, None), int)), None
        )
        second = given.ndim > 1 and not {"in_channels", "num_features"}.isdisjoint(part.__dict__)
        got = given.shape[1] if second else given.shape[-1]
        layer = f"layer {name!r}" if name else "the model"
        if width is not None and got != width:
            return (
                f"the inputs do not fit the model: {layer}, a {type(part).__name__}, takes {width} features"
                f" and gets {got} (an input of {tuple(given.shape)}); pass the data that it was trained on"
            )
        weight = getattr(part, "weight", None)
        if isinstance(part, nn.Embedding) and given.is_floating_point():
            return (
                f"{layer} is an Embedding, which takes whole numbers, and the inputs are"
                f" {given.dtype}; pass .long()"
            )
        mixed = isinstance(weight, Tensor) and weight.is_floating_point() and given.dtype != weight.dtype
        if mixed and not isinstance(part, nn.Embedding):
            assert isinstance(weight, Tensor)
            return (
                f"{layer}, a {type(part).__name__}, computes in {weight.dtype} and gets {given.dtype}; pass"
                " the inputs, and bring the whole model, to one dtype, such as inputs.float() and"
                " model.float()"
            )
    taken = ", ".join(inspect.signature(model.forward).parameters)
    shapes = (
        {name: tuple(x.shape) for name, x in inputs.items() if hasattr(x, "shape")}
        if isinstance(inputs, Mapping)
        else tuple(inputs.shape)
    )
    return (
        f"the model fails on a batch of {shapes}: {shortened(f'{type(error).__name__}: {error}')}; its"
        f" forward takes ({taken}): pass (inputs, labels), or a dict that names its arguments and 'labels'"
    )


def require_values(model: nn.Module) -> None:
    """Refuse a model whose parameters have no values yet.

    Raises:
        InputError: one is on the meta device, or lazy and not initialised.
    """
    for name, parameter in model.named_parameters():
        if isinstance(parameter, nn.parameter.UninitializedParameter):
            raise InputError(
                f"parameter {name!r} is lazy and has no shape yet; call model(inputs) once, and train it"
            )
        if parameter.is_meta:
            raise InputError(
                f"parameter {name!r} is on the meta device, without values; load the model's weights on a"
                " real one"
            )
