"""The last layer of a model as a linear head: which layer, which features, which objective."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from swaypoint.data.batches import ArrayBatches, FeatureBatches
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
        its outputs over positions (then the features are the averaged inputs). That the model's
        output is indeed this layer's is checked on the first batch of data.

        Args:
            layer: dotted name as in ``model.named_modules()``; None finds the last one.
            loss: see :mod:`swaypoint.scoring.risks.losses`; or a callable f(logits (C,), target) -> scalar.
            l2: ridge of the training objective, (l2 / 2) ||theta||^2 (torch's ``weight_decay``): a number, or
                numbers by parameter name or pattern, of which those of the layer count; a ridge on its
                bias must be the weight's, or 0.

        Raises:
            InputError: no such layer, or it is not linear.
        """
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
            self.model, layer, data, pool=_pool, check=self._check_output, batch_size=batch_size
        )

    def with_weights(self, weights: HeadWeights) -> LinearHead:
        return replace(self, weights=weights)

    def installed(self) -> LinearHead:
        """The same, its weights put into a copy of the model."""
        if self.model is None:
            return self
        model = copy.deepcopy(self.model)
        weight, bias = _parameters(dict(model.named_modules())[self.layer], self.layer)
        with torch.no_grad():
            weight.copy_(self.weights.weight)
            if bias is not None and self.weights.bias is not None:
                bias.copy_(self.weights.bias)
        return replace(self, model=model)

    def _check_output(self, features: Tensor, output: Any) -> None:
        if not isinstance(output, Tensor):
            raise InputError(f"the model returns a {type(output).__name__}; expected its logits as a tensor")
        output = output.flatten(1).double()
        weight, bias = self.weights.weight.detach().double(), self.weights.bias
        logits = features.double() @ weight.T + (0.0 if bias is None else bias.detach().double())
        if output.shape == logits.shape:
            scale = max(1.0, float(logits.abs().max()))
            if not bool(torch.isfinite(logits).all()) or float((output - logits).abs().max()) < 1e-2 * scale:
                return  # non-finite features are reported with their row by the risk
        sums = output.sum(1)
        hint = "name the layer whose output the model returns (layer=...)"
        if output.shape == logits.shape and bool(((sums - 1).abs() < 1e-3).all()):
            hint = "a softmax seems to follow it: return the logits and let the loss apply the softmax"
        raise InputError(
            f"the model's output {tuple(output.shape)} is not the output of its layer {self.layer!r}"
            f" {tuple(logits.shape)}; {hint}, or pass features with cooks_distance_from_features"
        )

    def __repr__(self) -> str:
        w = self.weights
        where = f"layer {self.layer!r}, " if self.layer else ""
        return f"LinearHead({where}{w.weight.shape[1]} -> {w.outputs}, {w.loss.name}, l2={w.l2:g})"


def _linear_names(model: nn.Module) -> list[str]:
    return [
        name for name, module in model.named_modules() if isinstance(module, nn.Linear) or _pointwise(module)
    ]


def _pointwise(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and module.groups == 1


def _last_linear(model: nn.Module) -> str:
    modules = dict(model.named_modules())
    names = [name for name in _linear_names(model) if modules[name].weight.requires_grad]
    if not names:
        raise InputError(
            f"{type(model).__name__} has no trainable linear layer; pass the features of any model with"
            " cooks_distance_from_features(features, labels)"
        )
    # A 1 x 1 convolution inside the network is not its head as long as a linear layer exists.
    linear = [name for name in names if isinstance(modules[name], nn.Linear)]
    return linear[-1] if linear else names[-1]


def _parameters(module: nn.Module, name: str) -> tuple[Tensor, Tensor | None]:
    if isinstance(module, nn.Linear):
        return module.weight, module.bias
    if isinstance(module, nn.Conv2d) and _pointwise(module):
        return module.weight.flatten(1), module.bias
    raise InputError(
        f"layer {name!r} is a {type(module).__name__}; expected a Linear or a 1 x 1 Conv2d layer"
    )


def _pool(inputs: Tensor) -> Tensor:
    # What reaches a 1 x 1 convolution: averaging its outputs is averaging its inputs.
    return inputs.mean((2, 3)) if inputs.ndim == 4 else inputs.flatten(1)
