"""The command line of what is computed: ``swaypoint audit``, ``features``."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from swaypoint.cli.commands import Family
from swaypoint.cli.start import importing
from swaypoint.cli.terminal import DATA, MODEL, OBJECTIVE, RUN, fail, plain, progress, save_report, screen

family = Family()
_QUICK = 2.0  # minutes
_Label = Annotated[str | None, typer.Option(help="Label column.", rich_help_panel=DATA)]
_Image = Annotated[
    str | None, typer.Option(help="Image column, where there are several.", rich_help_panel=DATA)
]
_ImageSize = Annotated[
    int | None, typer.Option(help="Side in pixels to bring images to.", rich_help_panel=DATA)
]
_Transform = Annotated[
    str | None,
    typer.Option(
        help="package.module:function from an image or row to your model's input.", rich_help_panel=MODEL
    ),
]
_Layer = Annotated[
    str | None,
    typer.Option(
        help="Last layer, as in named_modules(); found by itself if left out.", rich_help_panel=MODEL
    ),
]
_Device = Annotated[
    str, typer.Option(help="auto (a GPU where there is one), cpu or cuda.", rich_help_panel=RUN)
]
_Threads = Annotated[
    int | None,
    typer.Option(
        help="Threads of torch, numpy and scikit-learn.",
        show_default="as many as they take",
        rich_help_panel=RUN,
    ),
]


@family.command()
def audit(  # long: an option a parameter
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="A folder of images or of texts (one subfolder a class); a table as .parquet, .csv, .tsv"
            " (also .gz), .json, .jsonl, .xlsx, .feather, SQLite or DuckDB; a parquet with an image column;"
            " an .npz of features and labels; a Hugging Face dataset folder or hub name; sklearn:digits,"
            " sklearn:wine, sklearn:breast_cancer; or, with --features, parquet files larger than memory: a"
            " file, a folder, or a URL such as s3://bucket/folder.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="Audit folder to write.", show_default="DATA-audit", rich_help_panel=RUN),
    ] = None,
    label: _Label = None,
    features: Annotated[
        str | None,
        typer.Option(
            help="Column of feature vectors (embeddings); with it no model is needed.", rich_help_panel=DATA
        ),
    ] = None,
    image: _Image = None,
    image_size: _ImageSize = None,
    text: Annotated[
        str | None,
        typer.Option(
            help="Column of text, or two and more with commas (premise,hypothesis); the only one of free text"
            " is found by itself where no other column says anything.",
            rich_help_panel=DATA,
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="Read this split alone, of a Hugging Face dataset or a folder that has several.",
            show_default="train on train, audit all",
            rich_help_panel=DATA,
        ),
    ] = None,
    test: Annotated[
        str | None,
        typer.Option(
            help="A second dataset like DATA: audited too, by the model trained on DATA.",
            rich_help_panel=DATA,
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            help="Read only the first so many records; of an image folder the first of every class.",
            rich_help_panel=DATA,
        ),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick",
            help="A first look in about two minutes: as many records as that allows, every class in"
            " proportion, into DATA-audit-quick. It says how many of how many.",
            rich_help_panel=DATA,
        ),
    ] = False,
    skip_bad: Annotated[
        bool,
        typer.Option("--skip-bad", help="Leave unreadable records out and list them.", rich_help_panel=DATA),
    ] = False,
    model: Annotated[
        str,
        typer.Option(
            help="A pretrained one: hf:, st:, m2v:, timm: with a folder or a name on the hub, onnx:FILE; or"
            " package.module:factory for yours; none trains a default: airbench for images, resnet20 for tiny"
            " ones (also vgg19, efficientnet_b0), mlp for rows; head (no training) for features, tfidf for"
            " texts. Several with commas are ranked together.",
            rich_help_panel=MODEL,
        ),
    ] = "none",
    weights: Annotated[
        Path | None,
        typer.Option(help="Your model's weights, .safetensors or .pt (weights only).", rich_help_panel=MODEL),
    ] = None,
    transform: _Transform = None,
    layer: _Layer = None,
    epochs: Annotated[
        int | None, typer.Option(help="Epochs of the default model's training.", rich_help_panel=MODEL)
    ] = None,
    models: Annotated[
        int,
        typer.Option(
            help="Train so many of the default model, from other seeds, and rank by all.",
            rich_help_panel=MODEL,
        ),
    ] = 1,
    loss: Annotated[
        str,
        typer.Option(
            help="cross_entropy, binary_cross_entropy, squared_error, huber or poisson; an unknown name lists"
            " all.",
            rich_help_panel=OBJECTIVE,
        ),
    ] = "cross_entropy",
    l2: Annotated[
        float | None, typer.Option(help="Ridge (weight decay) of the training.", rich_help_panel=OBJECTIVE)
    ] = None,
    damping: Annotated[
        float, typer.Option(help="Added to the Hessian's diagonal.", rich_help_panel=OBJECTIVE)
    ] = 0.0,
    removal: Annotated[
        str,
        typer.Option(help="infinitesimal (the paper) or finite (leave-one-out).", rich_help_panel=OBJECTIVE),
    ] = "infinitesimal",
    refit: Annotated[
        bool, typer.Option("--refit", help="Bring the head to its optimum first.", rich_help_panel=OBJECTIVE)
    ] = False,
    refit_ridge: Annotated[
        bool,
        typer.Option(
            "--refit-ridge",
            help="The same, with the ridge whose left-out points are predicted best.",
            rich_help_panel=OBJECTIVE,
        ),
    ] = False,
    params: Annotated[
        str | None,
        typer.Option(
            help="Parameters to take influence by: names or patterns with commas ('*', 'layer4.*,head.*')."
            " Left out: the last layer, in closed form.",
            rich_help_panel=OBJECTIVE,
        ),
    ] = None,
    curvature: Annotated[
        str,
        typer.Option(
            help="With --params: ggn, hessian (for a model at its minimum) or empirical_fisher.",
            rich_help_panel=OBJECTIVE,
        ),
    ] = "ggn",
    solver: Annotated[
        str,
        typer.Option(
            help="exact, sketch (an estimate with standard errors), or auto: exact where it fits. With"
            " --params also cg, ekfac, kfac, lanczos, nystroem, lissa; an unknown name lists all.",
            rich_help_panel=OBJECTIVE,
        ),
    ] = "auto",
    score: Annotated[
        str | None,
        typer.Option(
            help="Other scores to write beside Cook's distance, comma-separated; an unknown name lists all."
            " auto, the recommended one for wrong labels, also ranks.",
            rich_help_panel=OBJECTIVE,
        ),
    ] = None,
    validation: Annotated[
        float | None,
        typer.Option(
            help="Share of DATA that is not trained on, for measuring; it is ranked as well.",
            show_default="0.2, or 0 where there are other splits",
            rich_help_panel=RUN,
        ),
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(
            help="Train so many models, each without one fold of DATA, and hold nothing else out: every"
            " record is judged by a model that has not seen it.",
            show_default="one model",
            metavar="K",
            rich_help_panel=RUN,
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(help="Of split, training and planted errors.", rich_help_panel=RUN)
    ] = 0,
    flip: Annotated[
        float,
        typer.Option(
            help="Self-test: plant this share of wrong labels and count the found.", rich_help_panel=RUN
        ),
    ] = 0.0,
    top: Annotated[int, typer.Option(help="Points shown in the report.", rich_help_panel=RUN)] = 200,
    device: _Device = "auto",
    threads: _Threads = None,
    keep_features: Annotated[
        bool,
        typer.Option(
            help="Write the features to the folder: a review's neighbours and suggestions need them.",
            rich_help_panel=RUN,
        ),
    ] = True,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Overwrite another audit in the folder; verdicts stay.", rich_help_panel=RUN
        ),
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Print nothing but errors.", rich_help_panel=RUN)
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="A line for each stage and epoch.", rich_help_panel=RUN)
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print the result as JSON, of --top points.", rich_help_panel=RUN),
    ] = False,
    max_memory: Annotated[
        float | None,
        typer.Option(
            help="GiB that may be held. Parquet files whose --features take more, at 40 bytes a number, are"
            " streamed by the shard instead; so are URLs, and whatever another --engine works on. A last"
            " layer whose factor takes more (and more than 1 GiB) is sketched; what still takes more is"
            " refused before it starts.",
            show_default="half of this machine's",
            metavar="GIB",
            rich_help_panel=RUN,
        ),
    ] = None,
    engine: Annotated[
        str,
        typer.Option(
            help="Where shards are worked on: in-process, ray (a cluster of this machine or of RAY_ADDRESS),"
            " or ray://HOST:PORT.",
            rich_help_panel=RUN,
        ),
    ] = "in-process",
) -> None:
    """Rank every record by Cook's distance and write an audit folder with a report.

    Four fifths of the data are trained on, the rest measures the model; all are ranked. The same command
    resumes an interrupted audit, and returns at once from a finished one; with more --score, or another
    --top, it computes what is new without training again.

      swaypoint audit photos/ --out photos-audit

      swaypoint audit table.csv --label outcome

      swaypoint audit train.parquet --label label --epochs 10

      swaypoint audit photos/ --quick

      swaypoint audit photos/ --model hf:facebook/dinov2-small

      swaypoint audit photos/ --model mypackage.net:build --weights net.safetensors

      swaypoint audit s3://bucket/embeddings --features embedding --label label --engine ray
    """
    with importing():
        from swaypoint.auditing.audit import audit as run
        from swaypoint.auditing.options import AuditOptions, Scale
        from swaypoint.data.dataset import ReadOptions
        from swaypoint.findings import found
        from swaypoint.models.predictor import ModelOptions, Objective
        from swaypoint.report.findings import counted
        from swaypoint.report.terminal import described
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
        folds=folds,
        seed=seed,
        flip=flip,
        top=top,
        device=device,
        keep_features=keep_features,
    )
    read = ReadOptions(label, features, image, image_size, split, skip_bad, limit, text=text)
    try:
        with progress(quiet=quiet, verbose=verbose) as listener:
            scale = Scale(engine, max_memory, threads, _QUICK if quick else None)
            made = partial(run, data, out, options=options, read=read, test=test)
            folder = made(listener=listener, scale=scale, force=force)
    except KeyboardInterrupt:
        fail("interrupted; the same command resumes where it stopped", 130)
    if as_json:
        typer.echo(json.dumps(described(folder, top=top), indent=1))
    if quiet or as_json:
        return
    console = screen()
    show_ranking(folder, top=10, console=console)
    findings = f"findings: {counted(found(folder).findings)}; see swaypoint findings {folder.path}"
    console.print(plain(findings), soft_wrap=True, highlight=False)
    if (report := folder.path / "report.html").is_file():
        console.print(f"report: {plain(str(report))}", soft_wrap=True, highlight=False)
    else:  # without the extra that it needs: says so
        save_report(folder.path, None, console)


@family.command()
def features(  # long: an option a parameter
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="Pictures: a folder CLASS/FILE, or parquet files with an image column: a file, a folder, or"
            " a URL such as s3://bucket/folder.",
        ),
    ],
    model: Annotated[
        str,
        typer.Option(
            help="A pretrained one, such as hf:FOLDER; package.module:factory for yours; or airbench,"
            " resnet20, vgg19, efficientnet_b0 as an audit trained it.",
            rich_help_panel=MODEL,
        ),
    ],
    weights: Annotated[
        Path | None,
        typer.Option(
            help=".safetensors, or a .pt state dict; of an audit: AUDIT/model.safetensors.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    transform: _Transform = None,
    layer: _Layer = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write.", show_default="DATA-features", rich_help_panel=RUN)
    ] = None,
    label: _Label = None,
    image: _Image = None,
    image_size: _ImageSize = None,
    split: Annotated[
        str, typer.Option(help="The files whose names begin so.", rich_help_panel=DATA)
    ] = "train",
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave unreadable pictures out.", rich_help_panel=DATA)
    ] = False,
    device: _Device = "auto",
    threads: _Threads = None,
    engine: Annotated[
        str,
        typer.Option(
            help="Where shards are worked on: in-process, ray, or ray://HOST:PORT.", rich_help_panel=RUN
        ),
    ] = "in-process",
) -> None:
    """Write what the last layer of a model receives of every picture, for an audit larger than memory.

    The audit then streams these features. The same command resumes an interrupted one.

      swaypoint features photos/ --model mypackage.net:build --weights net.safetensors --image-size 256

      swaypoint audit photos-features --features features --weights photos-features/head.safetensors
    """
    from swaypoint.auditing.features import extract_features
    from swaypoint.data.dataset import ReadOptions
    from swaypoint.data.hardware import using_threads
    from swaypoint.models.predictor import ModelOptions

    read = ReadOptions(label, None, image, image_size, split, skip_bad)
    place = Path(f"{Path(data).name.removesuffix('.parquet')}-features") if out is None else out
    try:
        with progress() as listener, using_threads(threads):
            extract_features(
                data,
                place,
                ModelOptions(model, weights, transform, layer),
                read=read,
                device=device,
                engine_name=engine,
                listener=listener,
            )
    except KeyboardInterrupt:
        fail("interrupted; the same command resumes where it stopped", 130)
    console = screen()
    console.print(f"features: {plain(str(place))}", soft_wrap=True, highlight=False)
    head = f" --weights {place}/head.safetensors" if (place / "head.safetensors").is_file() else ""
    following = plain(f"next: swaypoint audit {place} --features features{head}")
    console.print(following, soft_wrap=True, highlight=False)
