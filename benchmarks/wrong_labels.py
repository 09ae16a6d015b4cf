"""Wrong labels from probabilities: ours beside the log-odds margin, the loss and each of cleanlab's scores.

    python -m benchmarks.wrong_labels measure FOLDER      every .npz in it: given, true, and (n, C) arrays
    python -m benchmarks.wrong_labels plant FOLDER [X.npz ...]   makes such files from digits, breast cancer,
                                                          and tables of `features` and `labels`
    python -m benchmarks.wrong_labels stream FOLDER       1,000,000 x 1,000 from a memory map, made there

An array holds probabilities or log-probabilities. Planted files are named set+model+noise+draw.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from cleanlab.rank import get_label_quality_scores
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax
from scipy.stats import rankdata
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.decomposition import PCA
from sklearn.kernel_approximation import Nystroem

from benchmarks.machine import Memory, describe
from swaypoint.scoring.wrong_labels import log_odds_margin, wrong_labels
from swaypoint.studies.detection import calibration_error

CLEANLAB = {
    "self_confidence": False,
    "self_confidence, adjusted": True,
    "normalized_margin": False,
    "normalized_margin, adjusted": True,
    "confidence_weighted_entropy": False,
}
FOLDS, STEPS = 5, 50
MADE = 10_000


def average_precision(score: np.ndarray, wrong: np.ndarray) -> float:
    found = wrong[np.argsort(-score, kind="stable")]
    return float((found.cumsum() / np.arange(1, len(found) + 1))[found].mean())


def auroc(score: np.ndarray, wrong: np.ndarray) -> float:
    m = wrong.sum()
    return float((rankdata(score)[wrong].sum() - m * (m + 1) / 2) / (m * (len(wrong) - m)))


def share_for(score: np.ndarray, wrong: np.ndarray, part: float = 0.9) -> float:
    """The share of the points to look at until ``part`` of the wrong ones have been seen."""
    found = wrong[np.argsort(-score, kind="stable")].cumsum()
    return float((np.searchsorted(found, np.ceil(part * wrong.sum())) + 1) / len(wrong))


def scores(p: np.ndarray, given: np.ndarray) -> Iterator[tuple[str, np.ndarray, np.ndarray | None, float]]:
    """Name, score (large: look first), probability of being wrong where there is one, seconds."""
    own = np.arange(len(given)), given

    def timed(task):
        start = time.perf_counter()
        return task(), time.perf_counter() - start

    result, seconds = timed(lambda: wrong_labels(p, given))
    yield "swaypoint.wrong_labels", result.score, result.p_wrong, seconds
    margin, seconds = timed(lambda: log_odds_margin(p, given))
    yield "log-odds margin", margin, None, seconds
    loss, seconds = timed(lambda: -np.log(np.maximum(p[own], 1e-30)))
    yield "loss", loss, 1 - p[own], seconds
    for name, adjust in CLEANLAB.items():
        method = name.split(",")[0]
        quality, seconds = timed(
            lambda method=method, adjust=adjust: get_label_quality_scores(
                given, p, method=method, adjust_pred_probs=adjust
            )
        )
        yield f"cleanlab {name}", -quality, None, seconds


def measure(folder: Path) -> None:
    """One row a score for each .npz, means over its arrays (models), then differences by kind of noise."""
    rows = defaultdict(list)
    for path in sorted(folder.glob("*.npz")):
        arrays = dict(np.load(path))
        given, true = (arrays.pop(name).astype(np.int64) for name in ("given", "true"))
        wrong = given != true
        if not wrong.any():
            continue
        name, _, draw = path.stem.rpartition("+") if "+" in path.stem else (path.stem, "", "")
        for model, p in arrays.items():
            p = p.astype(np.float32)
            p = np.exp(p) if p.max() <= 0 else p
            for score, values, p_wrong, seconds in scores(p, given):
                error = np.nan if p_wrong is None else calibration_error(p_wrong, wrong)
                count = np.nan if p_wrong is None else p_wrong.sum() / wrong.sum()
                figures = average_precision(values, wrong), auroc(values, wrong), share_for(values, wrong)
                rows[name, score].append((*figures, error, count, seconds))
                if not draw:
                    print(f"  {path.stem} {model:30s} {score:40s} AP {figures[0]:.4f}")
    print(f"{'':74s}     AP  AUROC   90 %    ECE  expected/true seconds (means)")
    for (name, score), values in rows.items():
        ap, area, share, error, count, seconds = np.mean(values, 0)
        print(
            f"{name:28s} {score:40s} n={len(values):2d} {ap:.4f} {area:.4f} {share:.4f}"
            f" {error:.4f} {count:7.2f} {seconds:12.3f}"
        )
    by_noise(rows)


def by_noise(rows: dict[tuple[str, str], list[tuple[float, ...]]]) -> None:
    """Mean AP of each score by kind of noise, over sets, models and draws; ours minus it, paired."""
    rng = np.random.default_rng(0)
    pairs = defaultdict(list)
    for (name, score), values in rows.items():
        ours = rows[name, "swaypoint.wrong_labels"]
        pairs[name.split("+")[-1], score] += [(a[0], b[0]) for a, b in zip(values, ours, strict=True)]
    for (noise, score), values in sorted(pairs.items()):
        other, ours = np.array(values).T
        low, high = np.quantile(rng.choice(ours - other, (2000, len(other))).mean(1), [0.025, 0.975])
        print(
            f"{noise:36s} {score:38s} n={len(other):3d} AP {other.mean():.4f}"
            f"  ours - it {(ours - other).mean():+.4f} [{low:+.4f}, {high:+.4f}]"
        )


def tables(paths: list[Path]) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    yield "digits", *load_digits(return_X_y=True)
    yield "cancer", *load_breast_cancer(return_X_y=True)
    for path in paths:
        stored = np.load(path)
        yield path.stem, stored["features"].astype(np.float64), stored["labels"].astype(np.int64)


def standardised(x: np.ndarray) -> np.ndarray:
    return (x - x.mean(0)) / (x.std(0) + 1e-9)


def two_models(x: np.ndarray) -> dict[str, np.ndarray]:
    """Features of a weak model, an eighth of the principal components, and of a strong one, kernels."""
    few = PCA(max(2, min(15, x.shape[1] // 8)), random_state=0).fit_transform(standardised(x))
    base = PCA(60, random_state=0).fit_transform(x) if x.shape[1] > 60 else standardised(x)
    kernel = Nystroem(gamma=0.5 / base.var(0).sum(), n_components=250, random_state=0)
    return {"weak": standardised(few), "strong": standardised(kernel.fit_transform(base))}


def out_of_fold(x: np.ndarray, labels: np.ndarray, classes: int, seed: int) -> np.ndarray:
    """Probabilities of softmax regression with l2 = 1e-3, five folds."""
    x = np.hstack([x, np.ones((len(x), 1))]).astype(np.float32)
    targets = np.eye(classes, dtype=np.float32)[labels]
    fold = np.random.default_rng(seed).permutation(len(x)) % FOLDS
    p = np.empty(targets.shape, dtype=np.float32)

    def fitted(x, targets):
        def objective(flat):
            w = flat.reshape(-1, classes).astype(np.float32)
            z = log_softmax(x @ w, axis=1)
            gradient = x.T @ (np.exp(z) - targets) / len(x) + 1e-3 * w
            return float(-(targets * z).sum() / len(x) + 5e-4 * (w**2).sum()), gradient.ravel().astype(float)

        start = np.zeros(x.shape[1] * classes)
        return minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": STEPS}).x

    for k in range(FOLDS):
        w = fitted(x[fold != k], targets[fold != k]).reshape(-1, classes)
        p[fold == k] = softmax(x[fold == k] @ w, axis=1)
    return p


def noises(labels: np.ndarray, weak: np.ndarray, seed: int) -> Iterator[tuple[str, np.ndarray]]:
    """Given labels by kind of noise; ``weak``: a weak model's out-of-fold probabilities of the true ones."""
    n, classes = weak.shape
    rng = np.random.default_rng(seed)
    confused = np.zeros((classes, classes))
    np.add.at(confused, labels, weak)
    np.fill_diagonal(confused, -1)
    alike, any_other = confused.argmax(1), (np.arange(classes) + rng.integers(1, classes, classes)) % classes
    half = rng.permutation(classes)[: max(1, classes // 2)]

    def flipped(to, rates):
        return np.where(rng.random(n) < rates, to, labels)

    some = np.isin(labels, half)
    for rate in (0.005, 0.05):
        anywhere = (labels + rng.integers(1, classes, n)) % classes
        yield f"uniform {100 * rate:g} %", flipped(anywhere, rate)
    for rate in (0.01, 0.1):
        yield f"half to the likeliest, {100 * rate:g} %", flipped(alike[labels], rate * some)
    yield "half to any one class, 10 %", flipped(any_other[labels], 0.1 * some)
    yield "all to the likeliest, 20 %", flipped(alike[labels], 0.2 if classes > 2 else 0.4 * some)
    second, first = np.argsort(weak, axis=1)[:, -2:].T
    at = np.arange(n)
    unsure = (1 - weak[at, first] + weak[at, second]) ** 2
    where = np.where(first == labels, second, first)
    yield "where a weak model is unsure, 5 %", flipped(where, 0.05 * n * unsure / unsure.sum())


def plant(folder: Path, paths: list[Path], draws: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, x, labels in tables(paths):
        classes, models = int(labels.max()) + 1, two_models(x)
        weak = out_of_fold(models["weak"], labels, classes, 0)
        print(
            name, x.shape, classes, {m: accuracy(f, labels, classes) for m, f in models.items()}, flush=True
        )
        for draw in range(draws):
            for noise, given in noises(labels, weak, draw):
                for model, features in models.items():
                    p = out_of_fold(features, given, classes, draw)
                    np.savez(folder / f"{name}+{model}+{noise}+{draw}.npz", p=p, given=given, true=labels)


def accuracy(features: np.ndarray, labels: np.ndarray, classes: int) -> float:
    return round(float((out_of_fold(features, labels, classes, 0).argmax(1) == labels).mean()), 3)


def stream(folder: Path, n: int, classes: int) -> None:
    """Seconds and memory of ``n`` points of so many classes, of which one in fifty was given the next one."""
    folder.mkdir(parents=True, exist_ok=True)
    path, rng = folder / f"{n}x{classes}.npy", np.random.default_rng(0)
    true = rng.integers(classes, size=n)
    wrong = rng.random(n) < 0.02
    given = np.where(wrong, (true + 1) % classes, true)
    p = np.lib.format.open_memmap(path, "w+", np.float16, (n, classes))
    for start in range(0, n, MADE):
        rows = slice(start, start + MADE)
        # A model that is sure of most points, and whose errors go anywhere.
        weights = rng.standard_exponential((len(true[rows]), classes), dtype=np.float32) ** 4
        weights[np.arange(len(weights)), true[rows]] += classes * rng.exponential(200, len(weights))
        p[rows] = weights / weights.sum(1, keepdims=True)
    p.flush()
    del p
    probabilities = np.load(path, mmap_mode="r")
    with Memory() as memory:
        start = time.perf_counter()
        found = wrong_labels(probabilities, given)
        seconds = time.perf_counter() - start
    print(describe())
    print(
        f"{n:,} x {classes:,} float16 from a memory map: {seconds:.0f} s, {memory.most / 1e9:.2f} GB of its"
        f" own at the peak; channel {'believed' if found.believed else 'not believed'}, average precision"
        f" {average_precision(found.score, wrong):.4f}, expected {found.expected:,.0f} of {wrong.sum():,}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=["measure", "plant", "stream"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("tables", type=Path, nargs="*")
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--classes", type=int, default=1000)
    options = parser.parse_args()
    if options.what == "plant":
        plant(options.folder, options.tables, options.draws)
    elif options.what == "stream":
        stream(options.folder, options.points, options.classes)
    else:
        measure(options.folder)


if __name__ == "__main__":
    main()
