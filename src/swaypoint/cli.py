"""The command line: ``swaypoint audit``, ``show``, ``report``."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console

from swaypoint import __version__
from swaypoint.cli_progress import progress
from swaypoint.cli_study import study_app
from swaypoint.errors import InputError, MissingExtra, reading

if TYPE_CHECKING:
    from swaypoint.review.items import Items
    from swaypoint.review.verdicts import Review, Store

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Find the training points that sway a model: mislabeled, on the boundary, under-represented.",
    epilog="Start with:  swaypoint audit DATA  —  then open DATA-audit/report.html",
)
app.add_typer(study_app, name="study")
_OBJECTIVE, _MODEL, _DATA, _RUN, _SERVER = "Objective", "Model", "Data", "Run", "Server"

_Audit = Annotated[Path, typer.Argument(help="An audit folder.", metavar="AUDIT")]
_Store = Annotated[
    str | None,
    typer.Option(
        help="Where the verdicts are: a file, or postgresql://… for a team.",
        metavar="URL",
        show_default="AUDIT/review.sqlite",
    ),
]
_Source = Annotated[Path | None, typer.Option(help="Where the audited data is now, if moved.")]
_Device = Annotated[str, typer.Option(help="cpu or cuda.")]


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
    """On one line, without markup, and without what could steer the terminal or not be printed on it."""
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return shown.replace("[", r"\[")


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
            " image column; an .npz of features and labels; a Hugging Face dataset folder or hub name;"
            " sklearn:digits, sklearn:wine, sklearn:breast_cancer; or, with --features, parquet files larger"
            " than memory: a file, a folder, or a URL such as s3://bucket/folder."
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
            help="package.module:factory for yours; none trains a default: resnet20 for images (also vgg19,"
            " efficientnet_b0), mlp for rows, and head (no training) for features.",
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
    models: Annotated[
        int,
        typer.Option(
            help="Train so many of the default model, from other seeds, and rank by all.",
            rich_help_panel=_MODEL,
        ),
    ] = 1,
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
    refit_ridge: Annotated[
        bool,
        typer.Option(
            "--refit-ridge",
            help="The same, with the ridge whose left-out points are predicted best.",
            rich_help_panel=_OBJECTIVE,
        ),
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
            help="Other scores to write beside Cook's distance, comma-separated; an unknown name lists all."
            " auto, the recommended one for wrong labels, also ranks.",
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
        typer.Option(
            help="Write the features to the folder: a review's neighbours and suggestions need them.",
            rich_help_panel=_RUN,
        ),
    ] = True,
    max_memory: Annotated[
        float | None,
        typer.Option(
            help="GiB that may be held. Parquet files whose --features take more, at 40 bytes a number, are"
            " streamed by the shard instead; so are URLs, and whatever another --engine works on.",
            show_default="half of this machine's",
            metavar="GIB",
            rich_help_panel=_RUN,
        ),
    ] = None,
    engine: Annotated[
        str,
        typer.Option(
            help="Where shards are worked on: in-process, ray (a cluster of this machine or of RAY_ADDRESS),"
            " or ray://HOST:PORT.",
            rich_help_panel=_RUN,
        ),
    ] = "in-process",
) -> None:
    """Rank every training point by Cook's distance and write an audit folder with a report.

    Four fifths of the data are trained on and ranked; the rest measures the model. The same command
    resumes an interrupted audit, and returns at once from a finished one.

      swaypoint audit photos/ --out photos-audit

      swaypoint audit table.csv --label outcome

      swaypoint audit train.parquet --label label --epochs 10

      swaypoint audit photos/ --model mypackage.net:build --weights net.safetensors

      swaypoint audit s3://bucket/embeddings --features embedding --label label --engine ray
    """
    from swaypoint.data.dataset import ReadOptions
    from swaypoint.flow import AuditOptions, Scale
    from swaypoint.flow import audit as run
    from swaypoint.predictors import ModelOptions, Objective
    from swaypoint.report.terminal import show as show_ranking

    options = AuditOptions(
        model=ModelOptions(model, weights, transform, layer, epochs, models),
        objective=Objective(loss, l2),
        damping=damping,
        removal=removal,  # type: ignore[arg-type]  # checked where it is used
        refit="ridge" if refit_ridge else refit,
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
        with progress() as listener:
            scale = Scale(engine, max_memory)
            folder = run(data, out, options=options, read=read, listener=listener, scale=scale)
    except KeyboardInterrupt:
        _fail("interrupted; the same command resumes where it stopped", 130)
    console = Console()
    show_ranking(folder, top=10, console=console)
    _write_report(folder.path, None, console)


@app.command()
def show(
    folder: _Audit,
    top: Annotated[int, typer.Option(help="How many points.")] = 20,
) -> None:
    """Print the top of a ranking: rank, label, suggested label, kind and scores."""
    from swaypoint.folder import AuditFolder
    from swaypoint.report.terminal import show as show_ranking

    show_ranking(AuditFolder(folder), top=top, console=Console())


@app.command()
def fitness(folder: _Audit) -> None:
    """Is the audited model fit for influence? Every measure, its verdict, and the remedy.

    The theory needs a head at its optimum, an invertible Hessian, and a loss that still tells points
    apart; docs/fitness.md says which measure foretells a bad ranking.
    """
    from swaypoint.folder import AuditFolder
    from swaypoint.report.terminal import show_fitness

    show_fitness(AuditFolder(folder), console=Console())


@app.command()
def report(
    folder: _Audit,
    out: Annotated[Path | None, typer.Option(help="File to write.", show_default="AUDIT/report.html")] = None,
) -> None:
    """Write the report: one HTML file that needs nothing else."""
    _write_report(folder, out, Console())


@app.command()
def regions(
    folder: _Audit,
    top: Annotated[float, typer.Option(help="Share of the influence whose points are grouped.")] = 0.5,
    propose: Annotated[
        int, typer.Option(help="New inputs to propose for each region that needs data.", metavar="K")
    ] = 0,
    out: Annotated[
        Path | None, typer.Option(help="CSV of the proposals.", show_default="AUDIT/proposals.csv")
    ] = None,
    x: Annotated[str | None, typer.Option(help="With --y: draw a cut along two columns.")] = None,
    y: Annotated[str | None, typer.Option(help="Writes AUDIT/cut.svg.")] = None,
    within: Annotated[
        list[str] | None,
        typer.Option(help="Only points of this range in the cut.", metavar="COLUMN:LOW:HIGH"),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the proposals.")] = 0,
) -> None:
    """Where in a table the model depends on few points: regions, what to do there, and new inputs.

    swaypoint regions table-audit --propose 10

    swaypoint regions table-audit --x alcohol --y proline --within ash:2:3
    """
    from swaypoint.folder import AuditFolder, write_text
    from swaypoint.regions import Range, explore, write_proposals, write_regions
    from swaypoint.report import regions as pages

    if (x is None) != (y is None):
        raise InputError("a cut is along two columns; give both --x and --y")
    if x is None and within:
        raise InputError("--within is for a cut; give --x and --y as well")
    if propose < 0:
        raise InputError(f"propose is {propose}; expected a number of inputs, 0 or more")
    found, console = explore(AuditFolder(folder), top=top), Console()
    pages.show(found, console=console)
    write_regions(AuditFolder(folder), found)
    written = [folder / "regions.json"]
    if x is not None and y is not None:
        ranges = [Range.parse(text) for text in within or ()]
        picture = pages.cut(found.points, found.table, x, y, within=ranges, found=found.regions)
        write_text(folder / "cut.svg", pages.standalone(picture))
        written.append(folder / "cut.svg")
    if propose:
        path = folder / "proposals.csv" if out is None else out
        count = write_proposals(found, path, k=propose, seed=seed)
        console.print(f"{count:,} new inputs proposed", highlight=False)
        written.append(path)
    for path in written:
        console.print(f"written: {_plain(str(path))}", soft_wrap=True, highlight=False)


def _write_report(folder: Path, out: Path | None, console: Console) -> None:
    from swaypoint.folder import AuditFolder
    from swaypoint.report.html import write_report

    path = write_report(AuditFolder(folder), folder / "report.html" if out is None else out)
    console.print(f"report: {_plain(str(path))}", soft_wrap=True, highlight=False)


@app.command()
def review(
    folder: _Audit,
    store: _Store = None,
    reviewer: Annotated[
        str, typer.Option(help="Your name.", show_default="the page asks", rich_help_panel=_RUN)
    ] = "",
    blind: Annotated[
        bool,
        typer.Option(
            "--blind",
            help="Hide others' verdicts, and the suggestion for what another reviewed.",
            rich_help_panel=_RUN,
        ),
    ] = False,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page.", rich_help_panel=_RUN)
    ] = True,
    port: Annotated[
        int, typer.Option(help="0: a free one, the same each time if it can be.", rich_help_panel=_SERVER)
    ] = 0,
    host: Annotated[
        str,
        typer.Option(
            help="Where to listen; beyond this machine it takes a password.", rich_help_panel=_SERVER
        ),
    ] = "127.0.0.1",
    password_file: Annotated[
        Path | None,
        typer.Option(
            help="Its first line is the password.",
            show_default="SWAYPOINT_PASSWORD, or a question",
            rich_help_panel=_SERVER,
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(help="A further name by which the server is reached.", rich_help_panel=_SERVER),
    ] = None,
    tls_proxy: Annotated[
        bool, typer.Option("--tls-proxy", help="A proxy in front speaks TLS.", rich_help_panel=_SERVER)
    ] = False,
) -> None:
    """Open the page on which a person works through the ranking: verdicts by one key, each saved at once.

    swaypoint review photos-audit

    swaypoint review photos-audit --store postgresql://me@db/reviews --blind
    """
    # One point's products are small: several threads wait for each other three times as long as one takes.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from swaypoint.folder import AuditFolder
    from swaypoint.review.items import Items
    from swaypoint.review.serve import Serving, serve
    from swaypoint.review.store import open_store

    items = Items(AuditFolder(folder))
    password = _password(password_file, ask=host not in ("127.0.0.1", "localhost", "::1"))
    serving = Serving(host, port, reviewer, password, tuple(allow_host or ()), tls_proxy, blind)
    log = open_store(folder / "review.sqlite" if store is None else store)
    console = Console()
    try:
        serve(
            items,
            log,
            serving,
            tell=lambda text: console.print(_plain(text), soft_wrap=True, highlight=False),
            browser=browser,
        )
    finally:
        log.close()


def _password(file: Path | None, *, ask: bool) -> str | None:
    if file is not None:
        with reading(file, "a password in UTF-8", "write it into a file of text"):
            return file.read_text(encoding="utf-8").partition("\n")[0].strip()
    if (given := os.environ.get("SWAYPOINT_PASSWORD")) is not None:
        return given
    if not ask:
        return None
    return str(typer.prompt("Password for reviewers", hide_input=True, confirmation_prompt=True))


@app.command()
def export(
    folder: _Audit,
    to: Annotated[
        str,
        typer.Option(help="parquet, csv, json, hf, imagefolder, labelstudio, fiftyone or cleanlab."),
    ],
    out: Annotated[Path, typer.Option(help="File or folder to write; it must not be there yet.")],
    policy: Annotated[
        str,
        typer.Option(
            help="drop what is mislabeled or bad; relabel what has a known right label and drop the rest of"
            " it; flag: change nothing."
        ),
    ] = "flag",
    store: _Store = None,
    split: Annotated[
        str, typer.Option(help="train: only the ranked points; all: with those held out.")
    ] = "all",
    columns: Annotated[
        bool, typer.Option(help="Add ranking and verdicts to the source's own columns.")
    ] = True,
    link: Annotated[
        bool, typer.Option("--link", help="imagefolder: link the files instead of copying them.")
    ] = False,
    source: _Source = None,
) -> None:
    """Write the audited dataset with the verdicts applied; the source stays as it is.

      swaypoint export photos-audit --to imagefolder --policy relabel --out photos-clean

      swaypoint export table-audit --to csv --out reviewed.csv

    What each format and column holds: docs/interoperability.md
    """
    from swaypoint.folder import AuditFolder
    from swaypoint.review.export import ExportOptions
    from swaypoint.review.export import export as write
    from swaypoint.review.items import Items

    options = ExportOptions(policy, split, columns, link, source)  # type: ignore[arg-type]  # checked there
    items = Items(AuditFolder(folder))
    with _stored_review(items, store, new=False) as (review, _), progress() as listener:
        written = write(items, review, out, to, options=options, on_progress=listener.records)
    console = Console()
    for note in written.notes:
        console.print(f"note: {_plain(note)}", soft_wrap=True, highlight=False)
    counts = f"{written.records:,} records, {written.relabeled:,} relabeled, {written.dropped:,} left out"
    console.print(f"{_plain(str(written.path))}: {counts}", soft_wrap=True, highlight=False)
    console.print(f"changes: {_plain(str(written.changes))}", soft_wrap=True, highlight=False)


@app.command("import")
def import_verdicts(
    folder: _Audit,
    file: Annotated[Path, typer.Argument(help="The file to read.", metavar="FILE")],
    kind: Annotated[
        str,
        typer.Option(
            "--from", help="csv, labelstudio or fiftyone: verdicts; cleanlab: a further ranking, as a column."
        ),
    ],
    reviewer: Annotated[
        str | None, typer.Option(help="Whose verdicts they are.", show_default="as the file says")
    ] = None,
    store: _Store = None,
) -> None:
    """Add verdicts made elsewhere to a review, all or none; importing a file again adds nothing.

    swaypoint import photos-audit project-1.json --from labelstudio

    swaypoint import photos-audit issues.csv --from cleanlab
    """
    from swaypoint.folder import AuditFolder
    from swaypoint.review.cleanlab import add_ranking
    from swaypoint.review.exchange import read_verdicts
    from swaypoint.review.items import Items

    console = Console()
    if kind == "cleanlab":
        if reviewer is not None or store is not None:
            raise InputError("--reviewer and --store are for verdicts; cleanlab's scores become a column")
        count = add_ranking(AuditFolder(folder), file)
        console.print(f"{count:,} scores added as the column cleanlab, large = look first", highlight=False)
        return
    items = Items(AuditFolder(folder))
    with _stored_review(items, store, new=True) as (review, log):
        found = read_verdicts(file, kind, items, review, reviewer)
        if log is not None and found.events:
            log.append(found.events)
    console.print(f"{len(found.events):,} verdicts added, {found.known:,} there already", highlight=False)


@app.command()
def compare(
    folder: _Audit,
    policy: Annotated[str, typer.Option(help="relabel or drop what was found wrong.")] = "relabel",
    seeds: Annotated[int, typer.Option(help="Models to train on each set.")] = 5,
    test: Annotated[
        str | None,
        typer.Option(
            help="Another dataset to measure on.", show_default="the points that the audit held out"
        ),
    ] = None,
    store: _Store = None,
    source: _Source = None,
    device: _Device = "cpu",
) -> None:
    """Retrain on the training set as given and as cleaned, and measure both on points that neither holds.

    Prints accuracy, overall and by class, with intervals and a paired test, and writes AUDIT/compare.html.
    Interrupted, the same command goes on with the models that are trained already.
    """
    from swaypoint import compare as comparing
    from swaypoint.folder import AuditFolder, write_json, write_text
    from swaypoint.report import comparison as pages
    from swaypoint.review.items import Items
    from swaypoint.review.source import read_source

    items, console = Items(AuditFolder(folder)), Console()
    with _stored_review(items, store, new=False) as (review, _), progress() as listener:
        found = read_source(items, source, listener.records)
        trial = comparing.trial(items, found, test=test, device=device, listener=listener)
        cleaned = trial.cleaned(items, review, policy)  # type: ignore[arg-type]  # checked there
        result = comparing.compare(trial, cleaned, seeds=seeds)
    write_json(folder / "compare.json", {"policy": policy, "test": test, **asdict(result)})
    write_text(folder / "compare.html", pages.render(result, items.name))
    pages.show(result, console)
    console.print(f"page: {_plain(str(folder / 'compare.html'))}", soft_wrap=True, highlight=False)


@app.command()
def simulate(
    folder: _Audit,
    inspect: Annotated[
        float, typer.Option(help="Share of the ranking that the reviewer works through.")
    ] = 0.05,
    truth: Annotated[
        Path | None,
        typer.Option(
            help="CSV or parquet with the columns index and label: what is right.",
            show_default="the labels before the audit planted wrong ones",
        ),
    ] = None,
    curve: Annotated[
        str | None,
        typer.Option(help="Also train after these shares: 0,0.01,0.05 (writes AUDIT/cost.html)."),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Models to train at each share of the curve.")] = 3,
    store: _Store = None,
    source: _Source = None,
    device: _Device = "cpu",
) -> None:
    """For studies: a reviewer who knows the truth works down the ranking; what does it find, and cost?

    swaypoint audit sklearn:digits --flip 0.02 --out digits

    swaypoint simulate digits --inspect 0.05

    swaypoint compare digits
    """
    from swaypoint.folder import AuditFolder
    from swaypoint.review.items import Items
    from swaypoint.review.simulated import read_truth, replay
    from swaypoint.review.source import read_source

    if not 0.0 <= inspect <= 1.0:
        raise InputError(f"inspect is {inspect}; expected a share, 0 <= share <= 1")
    items, console = Items(AuditFolder(folder)), Console()
    found = read_source(items, source) if truth is None or curve is not None else None
    if truth is not None:
        right = read_truth(items, truth)
    else:
        assert found is not None
        if not found.planted:
            raise InputError(f"{folder} has no planted labels; give the true ones with --truth")
        right = [found.dataset.classes[label] for label in found.given[found.train]]
    events = replay(items, right, round(inspect * len(items)))
    with _stored_review(items, store, new=True) as (_, log):
        assert log is not None
        log.append(events)
    wrong = sum(event.decision is not None and event.decision.verdict == "mislabeled" for event in events)
    every = sum(items.label(position) != label for position, label in enumerate(right))
    console.print(
        f"{len(events):,} of {len(items):,} points inspected: {wrong} of {every} wrong labels found"
    )
    if curve is None or found is None:
        return
    from swaypoint import compare as comparing
    from swaypoint.folder import write_json, write_text
    from swaypoint.report import comparison as pages

    counts = [round(share * len(items)) for share in _shares(curve)]
    with progress() as listener:
        trial = comparing.trial(items, found, device=device, listener=listener)
        costs = comparing.cost_curve(trial, items, replay(items, right, len(items)), counts, seeds=seeds)
    write_json(folder / "cost.json", [asdict(cost) for cost in costs])
    write_text(folder / "cost.html", pages.render_cost(costs, len(items), every, items.name))
    console.print(f"page: {_plain(str(folder / 'cost.html'))}", soft_wrap=True, highlight=False)


def _shares(text: str) -> list[float]:
    try:
        shares = sorted({float(part) for part in text.split(",")})
    except ValueError:
        shares = [-1.0]
    if not all(0.0 <= share <= 1.0 for share in shares):
        raise InputError(
            f"curve is {text!r}; expected shares between 0 and 1 with commas, such as 0,0.01,0.05"
        )
    return shares


@contextmanager
def _stored_review(items: Items, store: str | None, *, new: bool) -> Iterator[tuple[Review, Store | None]]:
    """The review of an audit and its log; without one that is there, none is made unless it is ``new``."""
    from swaypoint.review.verdicts import Review, StoreUnavailable

    place: str | Path = items.folder.path / "review.sqlite" if store is None else store
    if isinstance(place, Path) and not place.exists() and not new:
        yield Review(items.run), None
        return
    from swaypoint.review.store import open_store

    try:
        log = open_store(place)
        try:
            yield Review(items.run, log.since(items.run)), log
        finally:
            log.close()
    except StoreUnavailable as error:
        _fail(str(error), 1)


if __name__ == "__main__":
    main()
