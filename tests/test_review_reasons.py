"""What the review says of a point's place, and of an audit that is not fit: never three reassurances."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from review_site import Site
from swaypoint.folder.audit_folder import AuditFolder
from swaypoint.folder.manifest import CheckResult, Fitness
from swaypoint.review.items import Items
from swaypoint.review.page.reasons import reasons
from swaypoint.review.page.trust import trust
from swaypoint.scoring.kinds import BOUNDARY, SPARSE


def said(items: Items, position: int, *, hidden: bool = False):
    return {
        reason.name: reason for reason in reasons(items, position, items.neighbours(position), hidden=hidden)
    }


@pytest.mark.parametrize("audit", ["audited", "audited_rows"])
def test_what_is_said_is_what_sets_the_point_apart(audit, request):
    """Against the scores as they are: every reason is one, and there is always one."""
    items = Items(AuditFolder(request.getfixturevalue(audit)))
    cook, margin, leverage = (items.scores[name] for name in ("cook", "margin", "leverage"))
    multiple = leverage / leverage[items.scores["split"] == "train"].mean()
    for position in np.argsort(items.scores["rank"])[::7].tolist():
        found = said(items, position)
        share = float(re.match(r"([\d.e+-]+)( %)?", found["influence"].words)[1])
        share /= 100 if "%" in found["influence"].words.split(" of ")[0] else 1
        assert share == pytest.approx(cook[position] / cook.sum(), rel=0.06)
        times = re.search(r"(over )?([\d.,e+-]+) times that of the median", found["influence"].words)
        ratio = cook[position] / np.median(cook)
        bound = 10_000.0 if times[1] else pytest.approx(ratio, rel=0.06)
        assert float(times[2].replace(",", "")) == bound
        assert (ratio >= 10_000) == bool(times[1])
        surer, closer = np.mean(margin > margin[position]), np.mean(leverage < leverage[position])
        apart = {
            "label": margin[position] < BOUNDARY or surer >= 0.75,
            "region": multiple[position] > SPARSE or closer >= 0.75,
        }
        expected = {name for name, holds in apart.items() if holds}
        expected = expected or {"label" if surer >= closer else "region"}
        assert found.keys() & {"label", "region"} == expected
        if "neighbours" in found:
            near = items.neighbours(position, 10).positions
            same = int((items.scores["label"][near] == items.scores["label"][position]).sum())
            assert same <= 5
            assert found["neighbours"].words.startswith(f"{same} of its 10 ")
        assert not any("many points are like it" in reason.words for reason in found.values())


def test_a_blind_second_review_tells_nothing_of_the_model(audited):
    items = Items(AuditFolder(audited))
    assert said(items, 0, hidden=True).keys() == {"region"}


def test_the_recommended_order_gives_its_own_reason(audited):
    items = Items(AuditFolder(audited))
    items.manifest = replace(items.manifest, ranked_by="auto")
    items.scores["p_wrong"] = np.linspace(0.0, 1.0, len(items))
    assert said(items, len(items) - 1)["order"].words.startswith("its label is wrong with probability 100%")


def test_points_without_a_place_are_said_to_have_none(audited):
    items = Items(AuditFolder(audited))
    items.scores["cook"] = np.where(np.arange(len(items)) == 3, np.inf, items.scores["cook"])
    assert "not defined" in said(items, 3)["influence"].words
    assert "times" in said(items, 4)["influence"].words
    items = Items(AuditFolder(audited))
    items.scores["cook"] = np.zeros(len(items))
    assert "influence" not in said(items, 4)


CHECKS = (
    CheckResult("Stationarity", "9 × sampling noise", "caution", "…", "refit the head"),
    CheckResult("Somebody's own", "0.3", "unfit", "It must be small.", "make it small"),
    CheckResult("Curvature", "condition 3", "fit", "…", ""),
)


def test_the_worst_comes_first_and_a_fit_audit_says_nothing():
    fitness = Fitness("unfit", "closed form", "float64", "exact", 0.0, CHECKS)
    found = trust(fitness)
    assert [one.name for one in found.concerns] == ["Somebody's own", "Stationarity"]
    assert found.concerns[0].order == "It must be small."
    assert "not fit" in found.headline
    assert trust(replace(fitness, verdict="fit", checks=CHECKS[2:])) is None


@pytest.mark.parametrize("verdict", ["unfit", "caution", "fit"])
def test_an_audit_that_is_not_fit_says_so_on_every_view(folder, verdict):
    manifest = json.loads((folder / "manifest.json").read_text())
    check = {"name": "Baseline", "value": "no better", "verdict": verdict, "meaning": "", "remedy": "train"}
    manifest["diagnostics"] |= {"verdict": verdict, "checks": [check]}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    page = Site(folder).page()
    for view in ("item?status=open", "gallery", "map", "progress", "classes"):
        text = page.get(f"/{view}").text
        assert ("Fitness of this audit" in text) == (verdict != "fit")
        assert ("This audit is not fit for influence." in text) == (verdict == "unfit")
        assert ("little better than chance" in text) == (verdict != "fit")
