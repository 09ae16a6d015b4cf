"""An export or a retraining in a process of its own, as the review page starts it.

What to do comes in as one JSON object on standard input; how far it is goes out as JSON, a line each:
``stage``; ``done`` and ``total``; at the end ``said``, or ``error``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from swaypoint.auditing.run import Listener
from swaypoint.errors import InputError, MissingExtra
from swaypoint.folder.audit_folder import AuditFolder
from swaypoint.review.cleaning.export import ExportOptions, export
from swaypoint.review.items import Items
from swaypoint.review.log.stored import Stored, stored_review
from swaypoint.review.log.threads import Threads
from swaypoint.review.log.verdicts import StoreUnavailable


def main() -> int:
    """Do what standard input says; the exit code is 1 if it could not be done."""
    asked = json.load(sys.stdin)
    try:
        _tell(said=perform(asked))
    except (InputError, MissingExtra, StoreUnavailable) as error:
        _tell(error=str(error))
        return 1
    return 0


def perform(asked: dict[str, Any]) -> str:
    """What came of it, in words.

    Args:
        asked: ``do`` is export or retrain; ``audit`` its folder and ``store`` where its log is; the rest are
            fields of the options, and of an export ``to`` and ``out``.

    Raises:
        InputError, MissingExtra: as :func:`export` and :func:`~swaypoint.review.cleaning.retrained.retrain`.
        StoreUnavailable: the log cannot be read.
    """
    items = Items(AuditFolder(Path(asked["audit"])))
    place = asked["store"] if "://" in asked["store"] else Path(asked["store"])
    listener = Listener(
        stage=lambda name: _tell(stage=name, done=0, total=0),
        records=lambda done, total: _tell(done=done, total=total),
        epoch=lambda done, total, *_: _tell(done=done, total=total),
    )
    with stored_review(items, place) as stored:
        if asked["do"] == "retrain":
            # Here, as an export needs no torch.
            from swaypoint.review.cleaning.retrained import RetrainOptions, retrain

            listener.stage("reading the source")
            options = RetrainOptions(policy=asked["policy"], seeds=asked["seeds"])
            return retrain(items, stored, options, listener).outcome
        return _export(items, stored, asked, listener)


def _export(items: Items, stored: Stored, asked: dict[str, Any], listener: Listener) -> str:
    named = asked["reviewers"] and stored.log is not None
    options = ExportOptions(
        policy=asked["policy"],
        reviewers=asked["reviewers"],
        comments=Threads(stored.log, items.run).in_words() if named and stored.log else {},
    )
    out = Path(asked["out"])
    out.parent.mkdir(parents=True, exist_ok=True)
    listener.stage("writing")
    written = export(items, stored.review, out, asked["to"], options=options, on_progress=listener.records)
    counts = f"{written.records:,} records, {written.relabeled:,} relabeled, {written.dropped:,} left out"
    return "; ".join((counts, *written.notes))


def _tell(**values: Any) -> None:
    print(json.dumps(values), flush=True)


if __name__ == "__main__":
    sys.exit(main())
