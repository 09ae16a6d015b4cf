"""The command line of the studies: ``swaypoint study toy``, ``acas``, ``cifar10``, ``labels``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from swaypoint.cli.commands import Family
from swaypoint.cli.terminal import Device, Threads, markdown, screen

family = Family("study", no_args_is_help=True, help="Reproduce the paper's studies, with numbers.")


@family.callback()
def studies() -> None:
    """Reproduce the paper's studies, with numbers."""


@family.command()
def toy(
    out: Annotated[Path, typer.Option(help="Folder to write.")] = Path("toy"),
    seed: Annotated[int, typer.Option(help="The first seed.")] = 0,
    seeds: Annotated[int, typer.Option(help="How many, from the first on.")] = 6,
    points: Annotated[int, typer.Option(help="Of a problem; a fifth is held out.")] = 1500,
    steps: Annotated[int, typer.Option(help="Of each L-BFGS-B, at most.")] = 4000,
    epochs: Annotated[int, typer.Option(help="With the flipped label, before L-BFGS-B.")] = 60,
) -> None:
    """Two-dimensional problems whose boundary is known, and one flipped label: what is influential?

    Writes pictures, an animation and toy.json. Interrupted, the same command goes on.

    swaypoint study toy --out toy
    """
    # Its products are small: several threads would wait for each other longer than one computes.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from swaypoint.cli.terminal import progress
    from swaypoint.studies.toy.boundaries import BoundaryOptions
    from swaypoint.studies.toy.flip import FlipOptions
    from swaypoint.studies.toy.study import ToyOptions, study
    from swaypoint.studies.toy.summary import tables

    options = ToyOptions(
        seed, seeds, BoundaryOptions(points=points, steps=steps), FlipOptions(steps=steps, epochs=epochs)
    )
    with progress() as listener:
        summary = study(options, out, listener)
    console = screen()
    console.print(markdown(tables(summary)))
    console.print(f"written: {out}", soft_wrap=True, highlight=False, markup=False)


@family.command()
def acas(  # long: an option a parameter
    table: Annotated[
        str,
        typer.Option(
            help="hcas: HorizontalCAS, solved here; decoded: of the published ACAS Xu networks; or an HDF5"
            " file in the layout of docs/acas.md.",
            metavar="hcas|decoded|FILE",
        ),
    ] = "hcas",
    networks: Annotated[
        Path | None, typer.Option(help="With decoded: folder of ACASXU_run2a_*.nnet.", metavar="DIR")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder to write.")] = Path("acas"),
    width: Annotated[
        int, typer.Option(help="Of the surrogate's six hidden layers; 390 makes the paper's 3 MB.")
    ] = 50,
    sample: Annotated[int, typer.Option(help="Points that it is trained and validated on.")] = 4_000_000,
    epochs: Annotated[int, typer.Option(help="Passes over the sample (the paper: 200).")] = 12,
    batch: Annotated[int, typer.Option(help="Points a step (the paper: 8096).")] = 2048,
    rate: Annotated[float, typer.Option(help="Peak learning rate.")] = 5e-3,
    optimizer: Annotated[
        Literal["adam", "muon"],
        typer.Option(help="Which one trains it; muon learns more from each point, the wider the more."),
    ] = "adam",
    start: Annotated[
        Path | None,
        typer.Option(
            help="Go on from another training's surrogate.safetensors, of this width.", metavar="FILE"
        ),
    ] = None,
    damping: Annotated[
        float,
        typer.Option(help="Added to the Hessian's diagonal; another one costs the second pass alone."),
    ] = 0.0,
    ridge: Annotated[
        float | None,
        typer.Option(
            help="Take the last layer to its optimum on all training points, with this ridge, by some passes"
            " more.",
            show_default="as it was trained, without one",
        ),
    ] = None,
    top: Annotated[int, typer.Option(help="Most influential points to keep.")] = 10_000,
    propose: Annotated[int, typer.Option(help="New inputs to propose for a region.", metavar="K")] = 10,
    gather: Annotated[
        int,
        typer.Option(
            help="Also close the loop so many times: gather where the regions say, retrain, compare."
        ),
    ] = 0,
    seed: Annotated[int, typer.Option(help="Of split, sample, weights and order.")] = 0,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Which states of a collision avoidance table a surrogate depends on, and where to gather data.

    Solves or reads the table, trains the surrogate, scores every training point. Interrupted, the same
    command goes on.

      swaypoint study acas

      swaypoint study acas --table decoded --networks nnet/ --out decoded
    """
    from swaypoint.cli.terminal import progress
    from swaypoint.data.hardware import device_of, using_threads
    from swaypoint.report.regions import show
    from swaypoint.studies.acas.gathering import Gathering
    from swaypoint.studies.acas.gathering import gather as close_loop
    from swaypoint.studies.acas.learning import Learning
    from swaypoint.studies.acas.study import AcasOptions, study
    from swaypoint.studies.acas.summary import claims, gains

    learning = Learning(width, sample, epochs, batch, rate, seed, device_of(device), optimizer, start)
    options = AcasOptions(table, networks, learning, damping=damping, ridge=ridge, top=top, propose=propose)
    console = screen()
    with progress() as listener, using_threads(threads):
        result = study(options, out, listener)
    console.print(markdown(claims(result)))
    show(result.explored, console=console)
    if gather:
        with progress() as listener, using_threads(threads):
            listener.stage("gathering")
            found = close_loop(
                result.table, Gathering(seeds=gather), out / "gathering", on_progress=listener.records
            )
        console.print(markdown(gains(found)))
    console.print(f"written: {out}", soft_wrap=True, highlight=False, markup=False)


@family.command()
def cifar10(  # long: an option a parameter
    data: Annotated[
        str, typer.Option(help="The training set: a parquet, a folder, or a name on the Hugging Face hub.")
    ] = "uoft-cs/cifar10",
    test: Annotated[
        str | None, typer.Option(help="The test set.", show_default="the hub's test split of --data")
    ] = None,
    name: Annotated[str, typer.Option(help="What the pictures call the data.")] = "CIFAR-10",
    out: Annotated[Path, typer.Option(help="Folder to write; several commands may share it.")] = Path(
        "cifar10"
    ),
    arch: Annotated[str, typer.Option(help="resnet20, vgg19 or efficientnet_b0.")] = "resnet20",
    noise: Annotated[float, typer.Option(help="Share of wrong labels to plant.")] = 0.005,
    kind: Annotated[str, typer.Option(help="uniform or asymmetric flips.")] = "uniform",
    noise_seed: Annotated[int, typer.Option(help="Which labels are wrong.")] = 0,
    models: Annotated[int, typer.Option(help="How many; 0 only sums up what is in --out.")] = 6,
    seed: Annotated[int, typer.Option(help="Of the first model.")] = 0,
    regulariser: Annotated[str, typer.Option(help="none, or l1l2 on the head.")] = "none",
    schedule: Annotated[str, typer.Option(help="cycle, step, cosine, or slow (over-trains).")] = "cycle",
    epochs: Annotated[int, typer.Option(help="Of each training.")] = 16,
    side: Annotated[
        int | None,
        typer.Option(
            help="Of the images in pixels, throughout.", show_default="they grow to 32 while training"
        ),
    ] = None,
    folds: Annotated[
        bool, typer.Option("--folds", help="Also five models that leave a fifth out, for cleanlab.")
    ] = False,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """How many of the wrong labels planted in CIFAR-10 does each score find?

    Writes tables and ROC curves of all models in the folder. Interrupted, the same command goes on.

      swaypoint study cifar10 --models 3 --noise 0.005 --noise-seed 1

      swaypoint study cifar10 --models 2 --schedule slow --epochs 60 --side 16
    """
    from swaypoint.cli.terminal import progress
    from swaypoint.data.hardware import device_of, using_threads
    from swaypoint.studies.cifar10.study import CifarOptions, study
    from swaypoint.studies.cifar10.summary import brief
    from swaypoint.studies.cifar10.trainings import cell_of

    cell = cell_of(
        architecture=arch,
        noise=(noise, noise_seed, kind),
        seed=seed,
        epochs=epochs,
        regulariser=regulariser,
        schedule=schedule,
        side=side,
    )
    options = CifarOptions(cell, models, folds, data, test, name, device_of(device))
    with progress() as listener, using_threads(threads):
        detections = study(options, out, listener)
    console = screen()
    console.print(markdown(brief(detections)))
    console.print(f"written: {out}", soft_wrap=True, highlight=False, markup=False)


@family.command()
def labels(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            help="Sets whose labels are taken for right: tables, image folders, texts, sklearn:NAME.",
            show_default="sklearn:digits, breast_cancer and wine",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder to write; several commands may share it.")] = Path(
        "labels"
    ),
    noise: Annotated[
        list[str] | None,
        typer.Option(
            help="uniform, class (between like classes) or record (where a weak model is unsure), and the"
            " share; repeatable.",
            metavar="KIND:SHARE",
            show_default="all three, 0.5 to 20 %",
        ),
    ] = None,
    draws: Annotated[int, typer.Option(help="Of the wrong labels, each with trainings of its own.")] = 3,
    draw: Annotated[int, typer.Option(help="The first draw.")] = 0,
    rows: Annotated[int, typer.Option(help="Of each set at most so many records.")] = 2000,
    label: Annotated[str | None, typer.Option(help="The label column of the tables.")] = None,
    text: Annotated[str | None, typer.Option(help="The text column of the tables.")] = None,
) -> None:
    """Wrong labels of several kinds planted in your sets: what finds them, beside cleanlab at five folds?

    Writes labels.md, labels.json and a file a cell; interrupted, the same command goes on.

    swaypoint study labels letters.parquet reviews.csv --label label
    """
    from swaypoint.cli.terminal import progress
    from swaypoint.data.dataset import ReadOptions
    from swaypoint.studies.labels.noise import Noise
    from swaypoint.studies.labels.study import NOISES, SOURCES, LabelsOptions, study
    from swaypoint.studies.labels.summary import by_score

    options = LabelsOptions(
        tuple(sources or SOURCES),
        tuple(map(Noise.of, noise or NOISES)),
        tuple(range(draw, draw + draws)),
        rows,
        ReadOptions(label=label, text=text),
    )
    with progress() as listener:
        found = study(options, out, listener)
    console = screen()
    console.print(markdown(by_score(found)))
    console.print(f"written: {out}", soft_wrap=True, highlight=False, markup=False)
