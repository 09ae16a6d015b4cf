"""A user's own model from the command line: a factory, its weights, a transform of the inputs."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from swaypoint.errors import InputError, reading, shortened
from swaypoint.folder.documents import require_memory

_SAVE = (
    "save them with safetensors.torch.save_file(model.state_dict(), …) or torch.save(model.state_dict(), …)"
)


def load_object(reference: str) -> Any:
    """The object at ``package.module:name``; the working directory is searched as well.

    Raises:
        InputError: it cannot be imported.
    """
    module, _, name = reference.partition(":")
    if not module or not name:
        raise InputError(f"{reference!r} is not of the form package.module:name")
    sys.path.insert(0, str(Path.cwd()))
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, SyntaxError, TypeError, ValueError) as error:
        raise InputError(f"cannot import {reference!r}: {shortened(str(error))}") from error
    finally:
        sys.path.pop(0)


def load_model(factory: str, weights: Path | None) -> nn.Module:
    """Call ``factory`` and load ``weights`` (``.safetensors``, or a ``.pt`` state dict) into its model.

    Raises:
        InputError: the factory fails or returns no module; the weights cannot be read, hold more than
            tensors, or do not fit.
    """
    made = load_object(factory)
    _check_call(factory, made)
    model = made() if callable(made) and not isinstance(made, nn.Module) else made
    if not isinstance(model, nn.Module):
        raise InputError(f"{factory!r} gave a {type(model).__name__}; expected a torch.nn.Module")
    if weights is not None:
        load_weights(model, weights)
    return model


def _check_call(factory: str, made: Any) -> None:
    if not callable(made) or isinstance(made, nn.Module):
        return
    try:
        inspect.signature(made).bind()
    except TypeError as error:
        raise InputError(
            f"{factory!r} cannot be called without arguments ({error}); pass a function that takes none and"
            " returns the model"
        ) from error
    except ValueError:  # of one without a signature
        return


def load_weights(model: nn.Module, path: Path, *, remedy: str = _SAVE) -> None:
    """Load the weights of :func:`stored_weights`.

    Raises:
        InputError: as there, or they do not fit, or are not finite.
    """
    state = stored_weights(path, remedy=remedy)
    with reading(path, "weights of this model", remedy):
        model.load_state_dict(state)
    if not all(bool(value.isfinite().all()) for value in model.state_dict().values()):
        raise InputError(f"{path}: its weights are not all finite; {remedy}")


def stored_weights(path: Path, *, remedy: str = _SAVE) -> dict[str, Any]:
    """A ``.safetensors`` file, or a ``.pt`` state dict, of which nothing but tensors is read.

    Raises:
        InputError: it cannot be read, or holds more than tensors.
    """
    if not os.path.isfile(path):
        raise InputError(f"weights file {path} does not exist")
    with reading(path, "weights", remedy):
        state: Any
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            if zipfile.is_zipfile(path):
                with zipfile.ZipFile(path) as archive:
                    require_memory(path, sum(part.file_size for part in archive.infolist()), "its tensors")
            state = torch.load(path, map_location="cpu", weights_only=True)
        return dict(state.get("state_dict", state))
