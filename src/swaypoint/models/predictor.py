"""From a dataset and the user's choice of model to a head and its features."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from swaypoint.data.batches import ArrayBatches, FeatureBatches
from swaypoint.data.dataset import Dataset
from swaypoint.data.model_batches import InputBatches
from swaypoint.errors import InputError, reading
from swaypoint.models.pretrained.base import find, is_pretrained
from swaypoint.models.text_features import fit_text_features
from swaypoint.models.yours import load_model, load_object
from swaypoint.scoring.blank_head import blank_head
from swaypoint.scoring.closed_form import Influence
from swaypoint.scoring.head_solution import HeadSolution
from swaypoint.scoring.last_layer import LinearHead
from swaypoint.scoring.options import Solving
from swaypoint.scoring.refit import refit_ridge
from swaypoint.scoring.risks.head import HeadWeights
from swaypoint.scoring.risks.losses import Loss, as_loss
from swaypoint.scoring.trained_model import Course, TrainedModel

Report = Callable[[int, int, float, float], None]


IMAGE_MODELS = ("airbench", "resnet20", "vgg19", "efficientnet_b0")
FITTED = ("head", "tfidf")
"""Models of which a convex head is all that is fitted to the labels."""
_SMALL = 16
"""Pixels at the side of images below which ResNet-20 does better; docs/images.md has how much."""
_TEXT_RIDGE = 0.1  # over n: scikit-learn's C = 10
_TEXT_RIDGES = (3.0, 1.0, 0.3, 0.1, 0.03)  # over n, among which is chosen where that takes seconds
_CHOSEN_WORK = 1e10  # n P^2
# A folder's name may hold a comma: only one before a model's name parts.
_NAMES = "|".join((*IMAGE_MODELS, *FITTED, "mlp", "none"))
_SEPARATOR = re.compile(rf",(?=(?:[\w.]+:|(?:{_NAMES})(?:,|$)))")


@dataclass(frozen=True)
class ModelOptions:
    """Which model makes the features.

    Attributes:
        name: ``"mlp"`` or one of :data:`IMAGE_MODELS` (trained here), ``"head"`` (none: the inputs are
            features, a convex head is fitted to them), ``"tfidf"`` (of texts, the same head on
            :mod:`~swaypoint.models.text_features`), a pretrained one
            (:mod:`swaypoint.models.pretrained`: ``"hf:FOLDER"``), ``"package.module:factory"`` (yours), or
            ``"none"``, which chooses by what the data are: mlp for rows, airbench for images (resnet20
            where they have fewer than 16 pixels at the side, or their labels are real values), head for
            features, tfidf for texts. Several with commas are ranked together, see :meth:`each`.
        weights: of yours, ``.safetensors`` or a ``.pt`` state dict; of ``"head"`` a head that is not to be
            fitted, see :func:`stored_head`.
        transform: ``"package.module:function"`` from one image or row to your model's input.
        layer: dotted name of the last layer; default: the last trainable linear one.
        epochs: of the training; default: the recipe's.
        models: how many of the default model are trained, from other seeds, and ranked together.
    """

    name: str = "none"
    weights: Path | None = None
    transform: str | None = None
    layer: str | None = None
    epochs: int | None = None
    models: int = 1

    def each(self) -> tuple[ModelOptions, ...]:
        """One for each of the names.

        >>> [one.name for one in ModelOptions("hf:a,b/vit,resnet20").each()]
        ['hf:a,b/vit', 'resnet20']
        """
        return tuple(replace(self, name=name) for name in _SEPARATOR.split(self.name))


@dataclass(frozen=True)
class Objective:
    """What the head was (or is) trained to minimise.

    ``l2`` None: that of the default model's training; 1/n for a fitted head; of a pretrained model, and of
    texts of few classes, that which predicts left-out points best; 1/(10 n) of other texts; 0 for your model.
    """

    loss: str = "cross_entropy"
    l2: float | None = None


@dataclass(frozen=True)
class Rows:
    """Rows of the dataset: the model is trained on ``train`` and measured on ``validation``; sorted int64."""

    train: np.ndarray
    validation: np.ndarray


@dataclass(frozen=True)
class Predictor:
    """A head and the features of both parts.

    ``fit`` says that the head has yet to be fitted; ``inputs`` are what the model takes of the training part,
    ``other_inputs`` of the other, None where there is no model; ``course`` is of a classifier's training,
    where it was trained here; ``fingerprint`` is of what made the features, where that is no model of torch,
    or a pretrained one.
    """

    name: str
    head: LinearHead
    train: FeatureBatches
    validation: FeatureBatches | None
    fit: bool = False
    inputs: Iterable[Any] | None = None
    other_inputs: Iterable[Any] | None = None
    course: Course | None = None
    fingerprint: str = ""

    def trained(
        self, weights: HeadWeights, solving: Solving, *, solution: HeadSolution | None = None
    ) -> TrainedModel:
        """What scores ask their questions of: with the head as it was solved, which, where it was refitted,
        stands in a copy of the model, and with what was factorised for its ``solution``."""
        head = self.head.with_weights(weights)
        return TrainedModel(
            head.installed() if solving.refit or self.fit else head,
            self.train if self.inputs is None else self.inputs,
            params=solving.params,
            damping=solving.damping,
            curvature=solving.curvature,
            solver=solving.solver,
            features=self.train,
            course=self.course,
            held_out=self.validation,
            influence=solution if isinstance(solution, Influence) else None,
        )

    def unseen(self, trained: TrainedModel) -> TrainedModel | None:
        """What scores ask of the points that ``trained`` was not trained on; None where there are none."""
        if self.validation is None:
            return None
        inputs = self.validation if self.other_inputs is None else self.other_inputs
        return trained.unseen(inputs, self.validation)

    @property
    def hash(self) -> str:
        """:func:`model_hash` of the whole model, not of the head alone, or the fingerprint; empty where there
        is neither."""
        if self.fingerprint or self.head.model is None:
            return self.fingerprint
        return model_hash(self.head.model)


def model_hash(model: nn.Module) -> str:
    """sha256 in hex of the names and bytes of a model's parameters and buffers, of any dtype."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(
            value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes()
            if value.ndim
            else str(value.item()).encode()
        )
    return digest.hexdigest()


def seen_side(options: ModelOptions) -> int:
    """Of the images that the pretrained ones among the models see, in pixels; 0 where there is none."""
    names = [one.name for one in options.each() if is_pretrained(one.name)]
    return max((find(name, options.transform).side or 0 for name in names), default=0)


def pinned(options: ModelOptions) -> str:
    """The names of several models, those of pretrained ones with their revisions."""
    names = [
        find(one.name, one.transform).name if is_pretrained(one.name) else one.name for one in options.each()
    ]
    return ", ".join(names)


def resolve(options: ModelOptions, dataset: Dataset) -> str:
    """The model's name, with ``"none"`` resolved by the kind of data.

    Raises:
        InputError: the model does not take such data, or the name is unknown.
    """
    name = options.name
    if name == "none":
        # The rates of airbench are those of classes' losses, whatever the unit of real values; and it halves
        # the side three times.
        small = dataset.kind == "images" and min(dataset.inputs.shape[1:3]) < _SMALL
        images = "airbench" if dataset.classes and not small else "resnet20"
        name = {"images": images, "rows": "mlp", "features": "head", "texts": "tfidf"}[dataset.kind]
    if ":" in name:
        return name
    if name not in ("mlp", "head", "tfidf", *IMAGE_MODELS):
        raise InputError(
            f"unknown model {name!r}; expected none, mlp, {', '.join(IMAGE_MODELS)}, head, tfidf, a"
            " pretrained one such as hf:FOLDER, or package.module:factory"
        )
    if (name in IMAGE_MODELS) != (dataset.kind == "images") or (name == "tfidf") != (dataset.kind == "texts"):
        raise InputError(f"model {name!r} does not take {dataset.kind}; leave --model out for the default")
    return name


def check(dataset: Dataset, options: ModelOptions, objective: Objective) -> str:
    """The model's name as :func:`resolve` finds it, if it, the loss and the labels go together.

    Raises:
        InputError: they do not.
    """
    name, loss = resolve(options, dataset), as_loss(objective.loss)
    if is_pretrained(name):
        from swaypoint.models.pretrained.predictor import check as check_kind

        check_kind(replace(options, name=name), dataset)
    elif ":" in name:
        return name
    classes = len(dataset.classes)
    if classes and not loss.classifies:
        raise InputError(
            f"{dataset.name}: its labels are {classes} classes, and {loss.name} is a loss of real values;"
            " leave --loss out, or read the labels as numbers"
        )
    if not classes and loss.classifies:
        raise InputError(
            f"{dataset.name}: its labels are real values, and {loss.name} is a loss of classes; pass --loss"
            " squared_error"
        )
    if name not in FITTED and ":" not in name and loss.classifies and not loss.output_per_class:
        from swaypoint.models.recipes import RECIPES

        raise InputError(
            f"{RECIPES[name].name} has an output for each class and is trained by cross_entropy; leave --loss"
            " out, or bring a model of one output"
        )
    if options.weights is not None and name != "head":
        raise InputError(
            f"--weights {options.weights} are of a model of yours, and {name} is trained here; leave them"
            " out, or name the model with --model package.module:factory"
        )
    if options.weights is None:  # a head that is given has outputs of its own
        outputs = loss.outputs(classes)
        loss.check(torch.from_numpy(dataset.labels), outputs)
    return name


def prepare(
    dataset: Dataset,
    parts: Rows,
    options: ModelOptions,
    objective: Objective,
    *,
    training: Training,
    whole: bool = False,
) -> Predictor:
    """The predictor of the audit: trains, loads or fits as ``options`` say.

    Args:
        whole: a pretrained model itself is needed, not its features alone.

    Raises:
        InputError: the model and the data do not fit.
    """
    name = check(dataset, options, objective)
    if name == "head":
        return with_features("linear head", dataset.inputs, dataset, parts, objective, given=options.weights)
    if is_pretrained(name):
        from swaypoint.models.pretrained.predictor import pretrained

        return pretrained(dataset, parts, options, objective, training=training, whole=whole)
    if name == "tfidf":
        return _texts(dataset, parts, objective, training)
    if ":" not in name:
        return _default(name, dataset, parts, options, objective, training)
    model = load_model(name, options.weights)
    transform = load_object(options.transform) if options.transform else None
    if dataset.kind == "texts" and transform is None:
        raise InputError(
            f"{dataset.name} holds texts: say with --transform package.module:function what {name} takes of"
            " one"
        )
    head = LinearHead.from_module(
        model.to(training.device), options.layer, objective.loss, objective.l2 or 0.0
    )
    return _with_model(name, head, dataset, parts, transform)


@dataclass(frozen=True)
class Training:
    """Where and how a default model is trained; ``folder`` keeps its checkpoint and weights. ``report`` is
    called after an epoch, ``records`` with how many features are made, of how many, and ``note`` with what a
    long step is about to do and how long that takes. ``times``: so many such trainings are to come, this one
    among them."""

    folder: Path
    seed: int
    device: str
    report: Report | None = None
    records: Callable[[int, int], None] | None = None
    note: Callable[[str], None] | None = None
    times: int = 1


def stored_head(path: Path, loss: Loss, l2: float) -> HeadWeights:
    """A head from a safetensors file of ``weight`` (C, D) and perhaps ``bias`` (C,), such as an audit's
    ``head.safetensors``; its ridge leaves the bias free.

    Raises:
        InputError: no such file, or another content.
    """
    from safetensors.torch import load_file

    with reading(str(path), "a head in safetensors", "it holds weight (C, D) and perhaps bias (C,)"):
        tensors = load_file(path)
        weight, bias = tensors["weight"].double(), tensors.get("bias")
        outputs, _ = weight.shape
        bias = None if bias is None else bias.double().view(outputs)
    return HeadWeights(weight, bias, loss, l2, penalize_bias=False)


def with_features(
    name: str,
    features: np.ndarray,
    dataset: Dataset,
    parts: Rows,
    objective: Objective,
    *,
    given: Path | None = None,
) -> Predictor:
    """A head on ``features`` (n, D) float32 of ``dataset``: that of a file, or one that is to be fitted."""
    train = ArrayBatches(features[parts.train], dataset.labels[parts.train])
    loss = as_loss(objective.loss)
    if given is not None:
        weights = stored_head(given, loss, objective.l2 or 0.0)
    else:
        l2 = 1.0 / len(train) if objective.l2 is None else objective.l2
        weights = blank_head(train, loss, l2, classes=len(dataset.classes))
    held = None
    if len(parts.validation):
        held = ArrayBatches(features[parts.validation], dataset.labels[parts.validation])
    return Predictor(name, LinearHead(weights), train, held, fit=given is None)


def _texts(dataset: Dataset, parts: Rows, objective: Objective, training: Training) -> Predictor:
    texts = dataset.texts
    made = fit_text_features(
        [texts[row] for row in parts.train.tolist()], seed=training.seed, on_progress=training.records
    )
    made.save(training.folder)
    l2 = _TEXT_RIDGE / len(parts.train) if objective.l2 is None else objective.l2
    found = with_features(
        made.name, made(texts, on_progress=training.records), dataset, parts, replace(objective, l2=l2)
    )
    found = replace(found, fingerprint=made.digest)
    head = found.head.weights
    if objective.l2 is not None or len(parts.train) * (head.outputs * head.width) ** 2 > _CHOSEN_WORK:
        return found
    return with_chosen_ridge(found, [share / len(parts.train) for share in _TEXT_RIDGES], training)


def with_chosen_ridge(found: Predictor, ridges: Sequence[float], training: Training) -> Predictor:
    """With the head at its optimum by that ridge of ``ridges`` which predicts left-out points best."""
    best = refit_ridge(
        found.head.weights, found.train, ridges=ridges, device=training.device, on_ridge=training.records
    ).head
    if training.note is not None:
        training.note(f"ridge {best.l2:.3g} chosen by the loss of left-out points")
    return replace(found, head=LinearHead(best))


def _default(
    name: str,
    dataset: Dataset,
    parts: Rows,
    options: ModelOptions,
    objective: Objective,
    training: Training,
) -> Predictor:
    from swaypoint.models.training import trained

    recipe, model, course = trained(name, dataset, parts, options.epochs, as_loss(objective.loss), training)
    l2 = recipe.decay if objective.l2 is None else objective.l2
    head = LinearHead.from_module(model.to(training.device).eval(), "head", objective.loss, l2)
    # The recipe decays weights, not biases.
    head = head.with_weights(replace(head.weights, penalize_bias=False))
    return replace(_with_model(recipe.name, head, dataset, parts, None), course=course)


def _with_model(
    name: str, head: LinearHead, dataset: Dataset, parts: Rows, transform: Callable[[Any], Any] | None
) -> Predictor:
    def inputs(rows: np.ndarray) -> InputBatches:
        return InputBatches(dataset.inputs, dataset.labels, rows=rows, transform=transform)

    train, others = inputs(parts.train), inputs(parts.validation) if len(parts.validation) else None
    held = None if others is None else head.batches(others)
    return Predictor(name, head, head.batches(train), held, inputs=train, other_inputs=others)
