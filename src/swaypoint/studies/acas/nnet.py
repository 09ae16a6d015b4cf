"""Networks in the ``.nnet`` text format: read with the line of every error, and evaluated.

The format is that of Julian (Stanford, 2016), in which the ACAS Xu networks were published with Reluplex
(Katz et al., 2017): lines starting ``//`` are comments; then the sizes, a flag, minima and maxima of the
inputs, means and ranges of the inputs and of the output, and for each layer its weights, one row a line,
and its biases, one a line. Numbers are separated, and may be ended, by commas.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from swaypoint.errors import InputError, shortened

_LARGEST = float(np.finfo(np.float32).max)
_BATCH = 1 << 12  # 4,096 points of 50 units: 0.8 MB, which stays in the cache


@dataclass(frozen=True, eq=False)
class Network:
    """A perceptron with ReLU hidden layers and its normalisation; all arrays float64.

    Attributes:
        minima, maxima: (inputs,), to which inputs are clipped.
        means, ranges: (inputs,); an input enters as (clipped - mean) / range.
        output_mean, output_range: an output leaves as value * range + mean.
        weights: one (out, in) a layer.
        biases: one (out,) a layer.
    """

    minima: NDArray[np.float64]
    maxima: NDArray[np.float64]
    means: NDArray[np.float64]
    ranges: NDArray[np.float64]
    output_mean: float
    output_range: float
    weights: tuple[NDArray[np.float64], ...]
    biases: tuple[NDArray[np.float64], ...]

    @property
    def inputs(self) -> int:
        return len(self.minima)

    @property
    def outputs(self) -> int:
        return len(self.biases[-1])

    def evaluate(
        self, points: NDArray[np.floating], dtype: torch.dtype = torch.float64
    ) -> NDArray[np.floating]:
        """Outputs (b, outputs) of points (b, inputs), computed and returned in ``dtype``.

        Raises:
            InputError: the points have another number of columns.
        """
        if points.ndim != 2 or points.shape[1] != self.inputs:
            raise InputError(
                f"points have shape {points.shape}; expected (b, {self.inputs}), as the network has"
            )
        layers = [
            (torch.as_tensor(w, dtype=dtype).T, torch.as_tensor(b, dtype=dtype))
            for w, b in zip(self.weights, self.biases, strict=True)
        ]
        result = np.empty((len(points), self.outputs), torch.empty(0, dtype=dtype).numpy().dtype)
        for start in range(0, len(points), _BATCH):
            chunk = self.normalise(points[start : start + _BATCH])
            result[start : start + _BATCH] = _forward(layers, torch.as_tensor(chunk, dtype=dtype)).numpy()
        result *= self.output_range
        result += self.output_mean
        return result

    def normalise(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Points (b, inputs) clipped, centred and scaled, float64."""
        clipped = np.clip(points.astype(np.float64), self.minima, self.maxima)
        return (clipped - self.means) / self.ranges


def _forward(layers: list[tuple[Tensor, Tensor]], hidden: Tensor) -> Tensor:
    for weight, bias in layers[:-1]:
        hidden = torch.addmm(bias, hidden, weight).relu_()
    weight, bias = layers[-1]
    return torch.addmm(bias, hidden, weight)


def read_nnet(path: str | Path) -> Network:
    """The network in a ``.nnet`` file.

    Raises:
        InputError: the file cannot be read or does not follow the format; names the line.
    """
    lines = _Lines(Path(path))
    layers, inputs, outputs, _ = lines.integers(4, "layers, inputs, outputs, largest layer", least=1)
    sizes = lines.integers(layers + 1, "layer sizes", least=1)
    if (sizes[0], sizes[-1]) != (inputs, outputs):
        raise lines.error(f"layer sizes run from {sizes[0]} to {sizes[-1]}; expected {inputs} to {outputs}")
    lines.skip("flag")
    minima = lines.numbers(inputs, "input minima")
    maxima = lines.numbers(inputs, "input maxima")
    if (minima > maxima).any():
        raise lines.error("an input's maximum is below its minimum")
    means = lines.numbers(inputs + 1, "means of the inputs and the output")
    ranges = lines.numbers(inputs + 1, "ranges of the inputs and the output")
    if not (ranges > 0).all():
        raise lines.error("a range is not above 0")
    weights, biases = [], []
    for layer in range(1, layers + 1):
        rows, columns = sizes[layer], sizes[layer - 1]
        of = f"of {rows}, layer {layer} of {layers}"
        weights.append(np.stack([lines.numbers(columns, f"weight row {r + 1} {of}") for r in range(rows)]))
        biases.append(np.concatenate([lines.numbers(1, f"bias {r + 1} {of}") for r in range(rows)]))
    lines.end()
    return Network(
        minima,
        maxima,
        means[:-1],
        ranges[:-1],
        float(means[-1]),
        float(ranges[-1]),
        tuple(weights),
        tuple(biases),
    )


class _Lines:
    """The lines of one file that are not comments, read in turn, each with its number."""

    def __init__(self, path: Path) -> None:
        self.path, self.number = path, 0
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise InputError(f"cannot read {path}: no file; expected a .nnet file")
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}; expected a .nnet file") from error
        except UnicodeDecodeError as error:
            raise InputError(f"{path} is not text ({error}); expected a .nnet file") from error
        self._rest = self._numbered(text)

    def _numbered(self, text: str) -> Iterator[str]:
        for number, line in enumerate(text.split("\n"), 1):
            stripped = line.strip()
            if stripped and not stripped.startswith("//"):
                self.number = number
                yield stripped

    def error(self, problem: str) -> InputError:
        return InputError(f"{self.path}, line {self.number}: {problem}; is the file a complete .nnet?")

    def skip(self, what: str) -> str:
        line = next(self._rest, None)
        if line is None:
            raise self.error(f"the file ends here; expected {what}")
        return line

    def numbers(self, count: int, what: str) -> NDArray[np.float64]:
        fields = self.skip(what).removesuffix(",").split(",")
        if len(fields) != count:
            raise self.error(f"{len(fields)} numbers; expected {count}: {what}")
        try:
            values = np.array([_number(field) for field in fields])
        except ValueError as error:
            raise self.error(f"{shortened(str(error), 80)}; expected {what}") from error
        if not (np.abs(values) <= _LARGEST).all():
            raise self.error(f"a number is not finite in float32; expected {what}")
        return values

    def integers(self, count: int, what: str, least: int) -> list[int]:
        values = self.numbers(count, what)
        if (values % 1 != 0).any() or (values < least).any():
            raise self.error(f"expected whole numbers from {least}: {what}")
        return [int(value) for value in values]

    def end(self) -> None:
        if next(self._rest, None) is not None:
            raise self.error("more lines than the layer sizes say")


def _number(field: str) -> float:
    if "_" in field:  # Python's own notation, in which 1_0 is ten
        raise ValueError(f"could not convert string to float: {field!r}")
    return float(field)
