"""The command line: ``swaypoint audit``, ``show``, ``report``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from swaypoint import __version__
from swaypoint.errors import InputError, MissingExtra

if TYPE_CHECKING:
    from swaypoint.flow import Listener

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Find the training points that sway a model: mislabeled, on the boundary, under-represented.",
    epilog="Start with:  swaypoint audit DATA  —  then open DATA-audit/report.html",
)
_OBJECTIVE, _MODEL, _DATA, _RUN = "Objective", "Model", "Data", "Run"


def main() -> None:
    """The ``swaypoint`` command: errors of the user are one line and exit code 1."""
    try:
        app()
    except (InputError, MissingExtra) as error:
        _fail(str(error), 1)
    except OSError as error:
        _fail(f"{error.filename or 'input/output'}: {error.strerror or error}", 1)


def _fail(message: str, code: int) -> NoReturn:
    Console(stderr=True).print(f"[bold red]error:[/] {_plain(message)}", soft_wrap=True, highlight=False)
    sys.exit(code)


def _plain(text: str) -> str:
    return text.replace("[", r"\[")


def _version(value: bool) -> None:
    if value:
        typer.echo(f"swaypoint {__version__}")
        raise typer.Exit


@app.callback()
def swaypoint(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Find the training points that sway a model: mislabeled, on the boundary, under-represented."""


@app.command()
def audit(
    data: Annotated[
        str,
        typer.Argument(
            help="An image folder (one subfolder a class); a .parquet, .csv or .tsv table; a parquet with an"
            " image column; an .npz of features and labels; a Hugging Face dataset folder or hub name; or"
            " sklearn:digits, sklearn:wine, sklearn:breast_cancer."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="Audit folder to write.", show_default="DATA-audit", rich_help_panel=_RUN),
    ] = None,
    label: Annotated[str | None, typer.Option(help="Label column.", rich_help_panel=_DATA)] = None,
    features: Annotated[
        str | None,
        typer.Option(
            help="Column of feature vectors (embeddings); with it no model is needed.", rich_help_panel=_DATA
        ),
    ] = None,
    image: Annotated[
        str | None, typer.Option(help="Image column, where there are several.", rich_help_panel=_DATA)
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(help="Side in pixels to bring images to.", rich_help_panel=_DATA)
    ] = None,
    split: Annotated[
        str, typer.Option(help="Which split of a Hugging Face dataset.", rich_help_panel=_DATA)
    ] = "train",
    limit: Annotated[
        int | None, typer.Option(help="Read only the first so many records.", rich_help_panel=_DATA)
    ] = None,
    skip_bad: Annotated[
        bool,
        typer.Option("--skip-bad", help="Leave unreadable records out and list them.", rich_help_panel=_DATA),
    ] = False,
    model: Annotated[
        str,
        typer.Option(
            help="package.module:factory for yours; none trains a default: resnet20 for images, mlp for"
            " rows, and head (no training) for features.",
            rich_help_panel=_MODEL,
        ),
    ] = "none",
    weights: Annotated[
        Path | None,
        typer.Option(
            help="Your model's weights, .safetensors or .pt (weights only).", rich_help_panel=_MODEL
        ),
    ] = None,
    transform: Annotated[
        str | None,
        typer.Option(
            help="package.module:function from an image or row to your model's input.", rich_help_panel=_MODEL
        ),
    ] = None,
    layer: Annotated[
        str | None,
        typer.Option(
            help="Last layer, as in named_modules(); found by itself if left out.", rich_help_panel=_MODEL
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Epochs of the default model's training.", rich_help_panel=_MODEL)
    ] = None,
    loss: Annotated[
        str,
        typer.Option(
            help="cross_entropy, binary_cross_entropy, squared_error, huber or poisson.",
            rich_help_panel=_OBJECTIVE,
        ),
    ] = "cross_entropy",
    l2: Annotated[
        float | None, typer.Option(help="Ridge (weight decay) of the training.", rich_help_panel=_OBJECTIVE)
    ] = None,
    damping: Annotated[
        float, typer.Option(help="Added to the Hessian's diagonal.", rich_help_panel=_OBJECTIVE)
    ] = 0.0,
    removal: Annotated[
        str,
        typer.Option(help="infinitesimal (the paper) or finite (leave-one-out).", rich_help_panel=_OBJECTIVE),
    ] = "infinitesimal",
    refit: Annotated[
        bool, typer.Option("--refit", help="Bring the head to its optimum first.", rich_help_panel=_OBJECTIVE)
    ] = False,
    params: Annotated[
        str | None,
        typer.Option(
            help="Parameters to take influence by: names or patterns with commas ('*', 'layer4.*,head.*')."
            " Left out: the last layer, in closed form.",
            rich_help_panel=_OBJECTIVE,
        ),
    ] = None,
    curvature: Annotated[
        str,
        typer.Option(
            help="With --params: ggn, hessian (for a model at its minimum) or empirical_fisher.",
            rich_help_panel=_OBJECTIVE,
        ),
    ] = "ggn",
    solver: Annotated[
        str,
        typer.Option(
            help="exact, sketch (an estimate with standard errors), or auto: exact where it fits. With"
            " --params also cg, ekfac, kfac, lanczos, nystroem, lissa.",
            rich_help_panel=_OBJECTIVE,
        ),
    ] = "auto",
    score: Annotated[
        str | None,
        typer.Option(
            help="Other scores to write beside Cook's distance, comma-separated; an unknown name lists all.",
            rich_help_panel=_OBJECTIVE,
        ),
    ] = None,
    validation: Annotated[
        float, typer.Option(help="Share held out of training and ranking.", rich_help_panel=_RUN)
    ] = 0.2,
    seed: Annotated[
        int, typer.Option(help="Of split, training and planted errors.", rich_help_panel=_RUN)
    ] = 0,
    flip: Annotated[
        float,
        typer.Option(
            help="Self-test: plant this share of wrong labels and count the found.", rich_help_panel=_RUN
        ),
    ] = 0.0,
    top: Annotated[int, typer.Option(help="Points shown in the report.", rich_help_panel=_RUN)] = 200,
    device: Annotated[str, typer.Option(help="cpu or cuda.", rich_help_panel=_RUN)] = "cpu",
    keep_features: Annotated[
        bool,
        typer.Option("--keep-features", help="Write the features to the folder too.", rich_help_panel=_RUN),
    ] = False,
) -> None:
    """Rank every training point by Cook's distance and write an audit folder with a report.

    Four fifths of the data are trained on and ranked; the rest measures the model. The same command
    resumes an interrupted audit, and returns at once from a finished one.

      swaypoint audit photos/ --out photos-audit

      swaypoint audit table.csv --label outcome

      swaypoint audit train.parquet --label label --epochs 10

      swaypoint audit photos/ --model mypackage.net:build --weights net.safetensors
    """
    from swaypoint.data.dataset import ReadOptions
    from swaypoint.flow import AuditOptions
    from swaypoint.flow import audit as run
    from swaypoint.predictors import ModelOptions, Objective
    from swaypoint.report.terminal import show as show_ranking

    options = AuditOptions(
        model=ModelOptions(model, weights, transform, layer, epochs),
        objective=Objective(loss, l2),
        damping=damping,
        removal=removal,  # type: ignore[arg-type]  # checked where it is used
        refit=refit,
        params=None if params is None else tuple(params.split(",")),
        curvature=curvature,  # type: ignore[arg-type]
        solver=solver,  # type: ignore[arg-type]
        scores=() if score is None else tuple(score.split(",")),
        validation=validation,
        seed=seed,
        flip=flip,
        top=top,
        device=device,
        keep_features=keep_features,
    )
    read = ReadOptions(label, features, image, image_size, split, skip_bad, limit)
    try:
        with _progress() as listener:
            folder = run(data, out, options=options, read=read, listener=listener)
    except KeyboardInterrupt:
        _fail("interrupted; the same command resumes where it stopped", 130)
    console = Console()
    show_ranking(folder, top=10, console=console)
    _write_report(folder.path, None, console)


@app.command()
def show(
    folder: Annotated[Path, typer.Argument(help="An audit folder.", metavar="AUDIT")],
    top: Annotated[int, typer.Option(help="How many points.")] = 20,
) -> None:
    """Print the top of a ranking: rank, label, suggested label, kind and scores."""
    from swaypoint.folder import AuditFolder
    from swaypoint.report.terminal import show as show_ranking

    show_ranking(AuditFolder(folder), top=top, console=Console())


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="An audit folder.", metavar="AUDIT")],
    out: Annotated[Path | None, typer.Option(help="File to write.", show_default="AUDIT/report.html")] = None,
) -> None:
    """Write the report: one HTML file that needs nothing else."""
    _write_report(folder, out, Console())


def _write_report(folder: Path, out: Path | None, console: Console) -> None:
    from swaypoint.folder import AuditFolder
    from swaypoint.report.html import write_report

    path = write_report(AuditFolder(folder), folder / "report.html" if out is None else out)
    console.print(f"report: {_plain(str(path))}", soft_wrap=True, highlight=False)


@dataclass
class _Bars:
    """One line per stage on stderr; a bar where the length is known."""

    progress: Progress
    task: TaskID | None = None

    def stage(self, name: str) -> None:
        if self.task is not None:
            self.progress.update(self.task, visible=False)
        self.task = self.progress.add_task(name, total=None, note="")

    def records(self, done: int, total: int) -> None:
        if self.task is not None:
            self.progress.update(self.task, completed=done, total=total)

    def epoch(self, done: int, total: int, loss: float, validation: float) -> None:
        if self.task is None:
            return
        note = f"loss {loss:.3f}, validation {validation:.3f}"
        self.progress.update(self.task, completed=done, total=total, note=note)
        self.progress.console.print(f"epoch {done}/{total}: {note}", highlight=False)


@contextmanager
def _progress() -> Iterator[Listener]:
    from swaypoint.flow import Listener

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bars = _Bars(progress)
        yield Listener(bars.stage, bars.records, bars.epoch)


if __name__ == "__main__":
    main()
