"""Retrains on an audit's data as given and as cleaned, and keeps what came of it in the audit's folder."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from swaypoint.auditing.run import Listener
from swaypoint.data.hardware import AUTO
from swaypoint.folder.writing import write_json, write_text
from swaypoint.review.cleaning import comparison
from swaypoint.review.cleaning.acting import act as follow
from swaypoint.review.cleaning.compare import Comparison, compare, trial
from swaypoint.review.cleaning.policy import Policy
from swaypoint.review.cleaning.source import read_source
from swaypoint.review.items import Items
from swaypoint.review.log.stored import Stored


@dataclass(frozen=True)
class RetrainOptions:
    """What is compared.

    Attributes:
        policy: see :func:`swaypoint.review.cleaning.policy.clean`.
        act: names of findings whose remedy is followed, see :func:`swaypoint.review.cleaning.acting.act`.
        seeds: models to train on each set.
        test, transform: see :func:`swaypoint.review.cleaning.compare.trial`.
        source: where the source is now; default: where it was.
    """

    policy: Policy = "relabel"
    act: tuple[str, ...] = ()
    seeds: int = 5
    test: str | None = None
    transform: str | None = None
    source: Path | None = None
    device: str = AUTO


def retrain(items: Items, stored: Stored, options: RetrainOptions, listener: Listener) -> Comparison:
    """See :func:`swaypoint.review.cleaning.compare.compare`; writes ``compare.json`` and ``compare.html``.

    Raises:
        InputError: as that, or the source is gone or changed.
    """
    review, _, doubt = stored
    found = read_source(items, options.source, listener.records)
    tried = trial(
        items,
        found,
        test=options.test,
        transform=options.transform,
        device=options.device,
        listener=listener,
    )
    leaving = follow(items, review, options.act).leaving
    cleaned = tried.cleaned(items, review, options.policy, leaving)
    judged = tried.judged(items, review, options.policy, leaving)
    result = compare(tried, cleaned, seeds=options.seeds, judged=judged)
    said = {"policy": options.policy, "act": [*options.act], "test": options.test}
    said |= {"unverified": doubt} if doubt else {}
    write_json(items.folder.path / "compare.json", said | asdict(result))
    page = comparison.render(result, items.name, doubt=doubt)
    write_text(items.folder.path / "compare.html", page)
    return result
