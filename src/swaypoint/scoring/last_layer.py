"""The last layer of a model as a linear head: which layer, which features, which objective."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from swaypoint.data.batches import ArrayBatches, FeatureBatches
from swaypoint.data.calls import require_values
from swaypoint.data.model_batches import ModelBatches
from swaypoint.errors import InputError
from swaypoint.scoring.risks.head import HeadWeights
from swaypoint.scoring.risks.losses import Loss, as_loss
from swaypoint.scoring.risks.model import Ridge, ridge_of


@dataclass(frozen=True)
class LinearHead:
    """A linear last layer z = W phi + b, and the model that makes its features.

    Attributes:
        weights: W, b, the loss and the ridge.
        model: None when the data are the features themselves.
        layer: dotted name of the layer in ``model``.
    """

    weights: HeadWeights
    model: nn.Module | None = field(default=None, repr=False)
    layer: str = ""

    @classmethod
    def from_module(
        cls,
        model: nn.Module,
        layer: str | None = None,
        loss: str | Loss | Callable[..., Any] = "cross_entropy",
        l2: Ridge = 0.0,
    ) -> LinearHead:
        """The head of ``model``: its last trainable linear layer, or the one named.

        A 1 x 1 convolution counts as linear when it sees one position, or when the model averages
        its outputs over positions (then the features are the averaged inputs); so does a linear layer on
        every token of a text of which the model returns one, or the average. That the model's output is
        indeed this layer's is checked on the first batch of data. A softmax or log-softmax behind it is
        undone for cross-entropy, a sigmoid for binary cross-entropy: the objective is that of the logits.
        Of a weight that other layers share (a tied embedding) the head's part alone counts.

        Args:
            layer: dotted name as in ``model.named_modules()``; None finds the last one.
            loss: see :mod:`swaypoint.scoring.risks.losses`; or a callable f(logits (C,), target) -> scalar.
            l2: ridge of the training objective, (l2 / 2) ||theta||^2 (torch's ``weight_decay``): a number, or
                numbers by parameter name or pattern, of which those of the layer count; a ridge on its
                bias must be the weight's, or 0.

        Raises:
            InputError: no such layer, or it is not linear.
        """
        require_values(model)
        name = _last_linear(model) if layer is None else layer
        module = dict(model.named_modules()).get(name)
        if module is None:
            raise InputError(f"the model has no layer {name!r}; it has {', '.join(_linear_names(model))}")
        weight, bias = _parameters(module, name)
        ridge, of_bias = (ridge_of(f"{name}.{part}", l2) for part in ("weight", "bias"))
        if bias is not None and of_bias not in (0.0, ridge):
            raise InputError(f"l2 is {ridge:g} for {name}.weight and {of_bias:g} for its bias; use one, or 0")
        weights = HeadWeights(weight, bias, as_loss(loss), ridge, penalize_bias=of_bias == ridge)
        return cls(weights, model, name)

    def batches(self, data: Any, batch_size: int = 512) -> FeatureBatches:
        """The features and targets of ``data`` (inputs of the model, or the features themselves).

        Raises:
            InputError: ``data`` is of no known form, or does not fit the model.
        """
        if isinstance(data, FeatureBatches):
            return data
        if self.model is None:
            if not (isinstance(data, tuple | list) and len(data) == 2):
                raise InputError(f"data is a {type(data).__name__}; expected a pair (features, labels)")
            return ArrayBatches(data[0], data[1])
        layer = dict(self.model.named_modules())[self.layer]
        return ModelBatches(
            self.model, layer, data, pool=self._pool, check=self._check_output, batch_size=batch_size
        )

    def with_weights(self, weights: HeadWeights) -> LinearHead:
        return replace(self, weights=weights)

    def installed(self) -> LinearHead:
        """The same, its weights put into a copy of the model."""
        if self.model is None:
            return self
        model = copy.deepcopy(self.model)
        module = model.get_submodule(self.layer)
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight")
        weight, bias = _parameters(module, self.layer)
        with torch.no_grad():
            weight.copy_(self.weights.weight)
            if bias is not None and self.weights.bias is not None:
                bias.copy_(self.weights.bias)
        if not torch.equal(_parameters(module, self.layer)[0], weight):
            raise InputError(
                f"the weight of layer {self.layer!r} is computed from other parameters (weight or spectral"
                " norm), into which no refitted head fits; remove that first, or leave refit out"
            )
        return replace(self, model=model)

    def _pool(self, inputs: Tensor, outputs: Tensor, returned: Tensor) -> Tensor:
        """The features behind what the model returns, ``(b, D)``: averaged, or of one position, where the
        layer sees several."""
        if inputs.ndim == 4:  # averaging the outputs of a 1 x 1 convolution is averaging its inputs
            return inputs.mean((2, 3))
        if inputs.ndim != 3 or outputs.ndim != 3:
            return inputs.flatten(1)
        if returned.ndim > 2 and outputs.shape[1] > 1:
            raise InputError(
                f"the model returns {tuple(returned.shape)}, an output for each of {outputs.shape[1]}"
                " positions; expected one a point: return that of one, or the average, or pass features with"
                " cooks_distance_from_features"
            )
        # Positions are found by their outputs: what picks them (the last token before the padding) need not
        # be known.
        returned = returned.flatten(1).unsqueeze(1)
        scale = _CLOSE * max(1.0, float(outputs.abs().max()))
        if returned.shape[-1] != outputs.shape[-1] or not bool(torch.isfinite(outputs).all()):
            return inputs.mean(1)
        if float((outputs.mean(1, keepdim=True) - returned).abs().max()) < scale:
            return inputs.mean(1)
        apart = (outputs - returned).abs().amax(2)
        chosen = apart.argmin(1)
        rows = torch.arange(len(inputs), device=inputs.device)
        features = inputs[rows, chosen]
        alike = (inputs - features.unsqueeze(1)).abs().amax(2) < scale
        if bool(((apart < scale) & ~alike).any()) or float(apart[rows, chosen].max()) >= scale:
            raise InputError(
                f"which of the {outputs.shape[1]} positions of layer {self.layer!r} the model returns"
                " cannot be told; let it hand the layer one position, or pass features with"
                " cooks_distance_from_features"
            )
        return features

    def _check_output(self, features: Tensor, output: Tensor) -> None:
        output = output.flatten(1)
        outputs, wanted = self.weights.weight.shape
        hint = "name the layer whose output the model returns (layer=...)"
        if features.shape[1] == wanted and output.shape == (len(features), outputs):
            weight, bias = self.weights.weight.detach().double(), self.weights.bias
            logits = features[:_CHECKED].double() @ weight.T
            logits += 0.0 if bias is None else bias.detach().double()
            output = output[:_CHECKED].double()
            if not bool(torch.isfinite(logits).all()) or _same(output, logits, least=1.0):
                return  # non-finite features are reported with their row by the risk
            link = next((name for name, link in _LINKS.items() if _same(output, link(logits))), None)
            if link is not None and self.weights.loss.name == _UNDONE[link]:
                return
            if link is not None:
                hint = (
                    f"a {link} seems to follow it: return the logits and let the loss {_UNDONE[link]!r} apply"
                    f" the {link}"
                )
        hint = _of_raw(self.model, output.shape[1], self.layer) or hint
        raise InputError(
            f"the model's output {tuple(output.shape)} is not the output of its layer {self.layer!r}"
            f" {(len(features), self.weights.outputs)}; {hint}, or pass features with"
            " cooks_distance_from_features"
        )

    def __repr__(self) -> str:
        w = self.weights
        where = f"layer {self.layer!r}, " if self.layer else ""
        return f"LinearHead({where}{w.weight.shape[1]} -> {w.outputs}, {w.loss.name}, l2={w.l2:g})"


_CLOSE = 1e-4
_CHECKED = 512
"""Points of the first batch whose outputs are compared."""
_LINKS: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": lambda z: z.softmax(1),
    "log_softmax": lambda z: z.log_softmax(1),
    "sigmoid": torch.sigmoid,
}
_UNDONE = {
    "softmax": "cross_entropy",
    "log_softmax": "cross_entropy",
    "sigmoid": "binary_cross_entropy",
}
"""By what may follow the logits: the loss that is then that of the logits."""


def _same(one: Tensor, other: Tensor, *, least: float = 0.0) -> bool:
    """Up to the rounding of half precision, by the largest entry, or ``least``."""
    return float((one - other).abs().max()) <= 1e-2 * max(least, float(other.abs().max()))


def _of_raw(model: nn.Module | None, outputs: int, layer: str) -> str:
    """What to do where a bare parameter makes the outputs; empty where none seems to."""
    if model is None:
        return ""
    for name, parameter in model.named_parameters():
        owner = model.get_submodule(name.rpartition(".")[0])
        if type(owner).__module__.startswith(("torch.", "transformers.")) or parameter.ndim != 2:
            continue
        if outputs in parameter.shape:
            rows, columns = parameter.shape
            width, count = (columns, rows) if rows == outputs else (rows, columns)
            return (
                f"its parameter {name!r} {tuple(parameter.shape)} seems to make the output: use an"
                f" nn.Linear({width},"
                f" {count}, bias=False) with these weights in its place"
            )
    return ""


def _linear_names(model: nn.Module) -> list[str]:
    return [name for name, module in model.named_modules() if _dense(module) or _pointwise(module)]


def _dense(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) or _transposed(module)


def _transposed(module: nn.Module) -> bool:
    """transformers' ``Conv1D``, a linear layer with its weight ``(D, C)``."""
    return type(module).__name__ == "Conv1D" and hasattr(module, "nf") and hasattr(module, "weight")


def _pointwise(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and module.groups == 1


def _last_linear(model: nn.Module) -> str:
    modules = dict(model.named_modules())
    there = _linear_names(model)
    # Of a model that is frozen altogether, as for inference, the last; else the last that was trained.
    names = [name for name in there if modules[name].weight.requires_grad]
    if not names and not any(parameter.requires_grad for parameter in model.parameters()):
        names = there
    if not names:
        hint = ""
        if isinstance(model, torch.jit.ScriptModule):
            hint = "pass the Python model that was scripted, or "
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2 and not there and not hint:
                hint = f"put the parameter {name!r} {tuple(parameter.shape)} into an nn.Linear, or "
        raise InputError(
            f"{type(model).__name__} has no trainable linear layer; {hint}pass the features of any model with"
            " cooks_distance_from_features(features, labels)"
        )
    # A 1 x 1 convolution inside the network is not its head as long as a linear layer exists.
    linear = [name for name in names if _dense(modules[name])]
    return linear[-1] if linear else names[-1]


def _parameters(module: nn.Module, name: str) -> tuple[Tensor, Tensor | None]:
    if isinstance(module, nn.Linear):
        return module.weight, module.bias
    if _transposed(module):
        return module.weight.T, module.bias  # type: ignore[operator, return-value]
    if isinstance(module, nn.Conv2d) and _pointwise(module):
        return module.weight.flatten(1), module.bias
    raise InputError(
        f"layer {name!r} is a {type(module).__name__}; expected a Linear or a 1 x 1 Conv2d layer"
    )


def _pool(inputs: Tensor) -> Tensor:
    # What reaches a 1 x 1 convolution: averaging its outputs is averaging its inputs.
    return inputs.mean((2, 3)) if inputs.ndim == 4 else inputs.flatten(1)
