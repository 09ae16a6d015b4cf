"""A cleaned dataset at the Hugging Face hub: private unless asked, with a card of what was done to it."""

from __future__ import annotations

from collections import Counter

from swaypoint import __version__
from swaypoint.errors import InputError, require, told
from swaypoint.report.terminal import FITNESS
from swaypoint.review.cleaning.export import Exported, ExportOptions
from swaypoint.review.cleaning.policy import rulings
from swaypoint.review.items import Items
from swaypoint.review.log.verdicts import Review

FORMAT = "hf"
"""The only format that is pushed."""
_FAILED = "{} was not pushed to the hub"


def check_destination(name: str, *, public: bool) -> None:
    """Before anything is written: that ``name`` (OWNER/NAME) may be pushed to, and is seen by nobody else.

    Raises:
        InputError: nobody is logged in, the hub does not answer, the name is none, or there is a public
            dataset of that name and ``public`` was not asked for.
        MissingExtra: ``datasets`` is not installed, which brings the hub's client.
    """
    hub = require("huggingface_hub", "hub")
    if name.count("/") != 1 or not all(name.split("/")):
        raise InputError(f"--push is {name!r}; expected OWNER/NAME, such as me/photos-clean")
    with told(
        _FAILED.format(name),
        "log in with `hf auth login`, or check the name and the network, and export again",
    ):
        api = hub.HfApi()
        api.whoami()
        there = api.repo_exists(name, repo_type="dataset")
        if there and not public and not api.repo_info(name, repo_type="dataset").private:
            raise InputError(
                f"{name} is there and public, and what is pushed is private unless asked; choose another"
                " name, or say --public"
            )


def push(exported: Exported, name: str, card: str, *, public: bool) -> str:
    """Push what was exported in :data:`FORMAT`, its changelog and ``card``; the address.

    The card and the changelog come first: the data are never there without them. Pushed again, a further
    commit is added.

    Raises:
        InputError: the hub refused it or broke off; the export stays.
    """
    hub, datasets = require("huggingface_hub", "hub"), require("datasets", "hub")
    again = f"{exported.path} is complete: push it by datasets' load_from_disk(…).push_to_hub(…)"
    with told(_FAILED.format(name), again):
        api, about = hub.HfApi(), {"repo_id": name, "repo_type": "dataset"}
        address = api.create_repo(name, repo_type="dataset", private=not public, exist_ok=True)
        api.upload_file(path_or_fileobj=card.encode(), path_in_repo="README.md", **about)
        api.upload_file(path_or_fileobj=exported.changes, path_in_repo="changes.csv", **about)
        datasets.load_from_disk(str(exported.path)).push_to_hub(name, private=not public)
    return str(address)


def card(items: Items, review: Review, exported: Exported, options: ExportOptions) -> str:
    """What the data are, what was changed, by what, and what that does not say; Markdown as the hub shows."""
    manifest = items.manifest
    verdicts = Counter(ruling.verdict for ruling in rulings(review).values())
    counted = ", ".join(f"{count:,} {verdict}" for verdict, count in verdicts.most_common()) or "none"
    changed = f"{exported.relabeled:,} with another label than before, {exported.dropped:,} left out"
    how = f"policy `{options.policy}`, splits: {options.split}"
    model = f"{manifest.model.name}, {FITNESS[manifest.diagnostics.verdict]}"
    doubt = f" The log of verdicts did not verify: {options.doubt}." if options.doubt else ""
    return f"""---
tags:
- swaypoint
- data-cleaning
---

# {items.name}, cleaned

{exported.records:,} records of {items.name}: {changed} ({how}). `changes.csv` has every change.

Ranked by swaypoint {manifest.swaypoint} with a model ({model}), reviewed, and exported by swaypoint
{__version__}. Verdicts that stand: {counted}, of {len(items):,} points.{doubt}

What nobody looked at is as it was, and may be wrong. Licence, origin and what the data may be used for are
those of the source: say them here.
"""
