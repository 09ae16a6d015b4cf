"""The whole flow of an audit: read, train, score, explain, in memory or streamed."""

from __future__ import annotations

import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from swaypoint.auditing.first_look import PROBE, announced, earlier, paced
from swaypoint.auditing.held import HeldRecords, origin
from swaypoint.auditing.options import AuditOptions, Scale
from swaypoint.auditing.records import Records
from swaypoint.auditing.run import AuditRun, Listener, describe_model, listening
from swaypoint.auditing.scored import Scored, found
from swaypoint.auditing.shown import explain
from swaypoint.auditing.streamed import StreamedRecords, table_to_stream
from swaypoint.auditing.suspected import suspected, write_pairs
from swaypoint.auditing.weighing import weighing
from swaypoint.data.dataset import Dataset, ReadOptions
from swaypoint.data.hardware import device_of, using_threads
from swaypoint.data.readers import read_dataset, read_frame
from swaypoint.data.readers.beside import datasets_beside, read_beside
from swaypoint.data.readers.builtin import PREFIX
from swaypoint.data.readers.parquet import ParquetTable
from swaypoint.data.sampling import sampled
from swaypoint.errors import InputError
from swaypoint.findings import keep
from swaypoint.findings.kept import Weighing
from swaypoint.folder.audit_folder import AuditFolder
from swaypoint.folder.manifest import TRAIN, Planted
from swaypoint.models.predictor import seen_side
from swaypoint.report.html import write_report
from swaypoint.scoring.risks.losses import regression


def audit(
    source: Any,
    out: str | Path | None = None,
    *,
    options: AuditOptions | None = None,
    read: ReadOptions | None = None,
    listener: Listener | None = None,
    scale: Scale | None = None,
    force: bool = False,
    test: Any = None,
    progress: bool = False,
) -> AuditFolder:
    """Rank every record of ``source``, those held out of the training too, and write an audit folder; the
    command line's audit.

    A second call with the same inputs returns the finished folder, or resumes an interrupted one; with more
    scores or another ``top`` it computes what is new, without training again.

    Args:
        source: an image folder, a table, an ``.npz``, a Hugging Face dataset (see
            :func:`~swaypoint.data.readers.sources.read_dataset`), ``sklearn:digits`` and its like, or a
            :class:`~swaypoint.data.dataset.Dataset`, or a frame of pandas, polars or pyarrow.
        out: the folder; default: the source's name with ``-audit``.
        scale: how much may be held in memory, beyond which parquet files of features are streamed, where
            that runs, by how many threads, and how long it may take, which decides how many records.
        force: overwrite the audit of other data or with other options that ``out`` holds.
        test: a second source like the first, whose records are audited by the model trained on the first, as
            the split ``test``; a class that the first has not is refused. A source may bring splits of its
            own: of a folder ``train/ test/`` of class folders, of a Hugging Face dataset or a folder of
            parquet files with several, the model is trained on ``train`` and all are audited.
        progress: show a bar on a terminal or in a notebook, unless a ``listener`` is told.

    Returns:
        The folder: ``manifest.json``, ``scores.parquet``, ``examples.parquet``, ``findings.json``,
        ``report.html``, and the head, its factor and the model as safetensors. Of streamed data the scores
        are files in ``scores/``, and ``top.parquet``, the examples and items are of the top of the ranking.

    Raises:
        InputError: bad data, a model that does not fit, or ``out`` holds another audit.
        MissingExtra: what the data or the model need is not installed.
    """
    options, scale = options or AuditOptions(), scale or Scale()
    options.check()
    options = replace(options, device=device_of(options.device))
    with using_threads(scale.threads), listening(listener, progress=progress) as told:
        return _audited(source, out, options, read, told, scale, force, test)


def _audited(
    source: Any,
    out: str | Path | None,
    options: AuditOptions,
    read: ReadOptions | None,
    listener: Listener,
    scale: Scale,
    force: bool,
    test: Any,
) -> AuditFolder:
    read = replace(read or ReadOptions(), regression=regression(options.objective.loss))
    read = replace(read, largest_side=max(read.largest_side, seen_side(options.model)))
    if not isinstance(source, (str, Path, Dataset)):
        source, test = read_frame(source, read, test=test), None
    run = AuditRun(_folder_for(source, out, quick=scale.minutes is not None), listener)
    with run.stage("reading"):
        table = table_to_stream(source, read, scale)
        if scale.minutes is not None and table is None:
            source, test, read = _first_look(source, test, read, options, 60.0 * scale.minutes, run, force)
        records = _records(source, test, table, read, options, scale, run)
    records.check()
    with run.at_stake():
        asked = run.begin(records.about, options, force=force)
        if asked is not None:
            records.options = asked
            weigh = _made(run, records)
    folder = AuditFolder(run.path)
    if asked is None:
        return folder
    with run.stage("findings"):
        keep(folder, weigh)
    if find_spec("jinja2") is not None:  # an extra, without which the rest is of use all the same
        write_report(folder, run.path / "report.html")
    return folder


def _made(run: AuditRun, records: Records) -> Weighing | None:
    """Train, score and explain; what then measures the cost of findings."""
    with records.at_work(run):
        with run.stage("training"):
            predictor = records.predictor(run)
            run.record(data=records.about, model={"name": predictor.name, "hash": predictor.hash})
        with run.stage("scoring"):
            scored = records.scored(run, predictor)
            run.record(model=describe_model(predictor, scored, records.options))
            run.record(diagnostics=scored.diagnostics.to_dict(), streamed=scored.streamed)
            write_pairs(scored.pairs, run.path)
            run.record(suspected=suspected(scored, records.planted if records.wrong else None))
    with run.stage("explaining"):
        explain(run.path, records, predictor, scored, run.listener.records)
        run.record(ranked_by=scored.ranked_by, flipped=_planted(records, scored))
    run.finish()
    records.tidy(run)
    return weighing(predictor, scored, records.options)


def _folder_for(source: str | Path | Dataset, out: str | Path | None, *, quick: bool) -> Path:
    if out is not None:
        return Path(out)
    name = source.name if isinstance(source, Dataset) else str(source)
    return Path(f"{Path(name.removeprefix(PREFIX)).stem}-audit{'-quick' if quick else ''}")


def _first_look(
    source: str | Path | Dataset,
    test: Any,
    read: ReadOptions,
    options: AuditOptions,
    seconds: float,
    run: AuditRun,
    force: bool,
) -> tuple[str | Path | Dataset, Any, ReadOptions]:
    """The source, what is beside it, and how they are read, so that the audit takes about ``seconds``: as
    much of them as the audit that is there already has, else as its pace allows."""
    if read.limit is not None:
        raise InputError("--quick chooses how many records are read; leave --limit out")
    start = time.monotonic()
    if isinstance(source, Dataset) and test is not None:
        source, test = _given(source, test, read, run)[0], None

    def some(limit: int | None) -> tuple[str | Path | Dataset, Any, ReadOptions]:
        if limit is None:
            return source, test, read
        if isinstance(source, Dataset):
            return sampled(source, limit), None, read
        return source, test, replace(read, limit=limit, spread=True)

    held = None if force else earlier(run.path)
    if held is not None:
        return some(held.limit)
    probe = _given(*some(PROBE), run)[0]
    reading = time.monotonic() - start
    run.listener.stage("timing")
    pace = paced(probe, lambda part, folder: audit(part, folder, options=options), seconds)
    if probe.kind == "images":  # of other kinds all is read in either case
        pace = replace(pace, each=pace.each + reading / len(probe))
    of = len(probe) if probe.of is None else probe.of
    wanted = max(pace.records(seconds - (time.monotonic() - start)), 2 * len(probe.classes))
    if run.listener.note is not None:
        run.listener.note(announced(min(wanted, of), of, pace))
    run.listener.stage("reading")
    return some(None if wanted >= of else wanted if test is None else -(-wanted // 2))


def _as_dataset(test: Any) -> Dataset:
    if not isinstance(test, Dataset):
        raise InputError(f"test is a {type(test).__name__}; expected a Dataset, as the source is one")
    return test


def _records(
    source: str | Path | Dataset,
    test: Any,
    table: ParquetTable | None,
    read: ReadOptions,
    options: AuditOptions,
    scale: Scale,
    run: AuditRun,
) -> Records:
    if table is not None:
        if scale.minutes is not None:
            raise InputError(
                f"{table.name} is streamed, and a first look needs its records in memory; leave --quick out,"
                " or raise --max-memory where the data fit"
            )
        if test is not None:
            raise InputError(
                f"{table.name} is streamed, and a test set needs the data in memory; leave --test out, or"
                " raise --max-memory where the data fit"
            )
        return StreamedRecords(table, options, scale.engine, scale.room)
    return HeldRecords(*_given(source, test, read, run), options, scale.room)


def _given(
    source: str | Path | Dataset, test: Any, read: ReadOptions, run: AuditRun
) -> tuple[Dataset, dict[str, Any] | None]:
    """The dataset, and what it takes to read it again."""
    if isinstance(source, Dataset):
        return source if test is None else datasets_beside(source, _as_dataset(test)), None
    if test is None:
        return read_dataset(source, options=read, on_progress=run.listener.records), origin(source, read)
    if not isinstance(test, (str, Path)):
        raise InputError(f"test is a {type(test).__name__}; expected a path, as the source is one")
    stored = read_beside(source, test, options=read, on_progress=run.listener.records)
    return stored.dataset, origin(source, read, test)


def _planted(records: Records, scored: Scored) -> Planted | None:
    """How many planted errors stand in the first shares of several orders; None where none is ranked."""
    if not records.wrong:
        return None
    options = records.options
    ranked, rows = found(scored, records.planted, options.seed)
    if not any(ranked.values()):
        return None
    return Planted(options.flip, options.seed, ranked[TRAIN], tuple(rows), records.wrong, ranked)
