"""A reviewer who knows the truth, and the commands that measure what the cleaning brought."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from swaypoint.auditing import audit as flow
from swaypoint.cli.main import app
from swaypoint.errors import InputError
from swaypoint.models.predictor import ModelOptions
from swaypoint.review.cleaning.policy import clean
from swaypoint.review.cleaning.simulated import Erring, read_truth, replay
from swaypoint.review.cleaning.source import read_source
from swaypoint.review.items import Items
from swaypoint.review.log.store import open_store
from swaypoint.review.log.verdicts import Review


@pytest.fixture(scope="module")
def audit(tmp_path_factory):
    """Wine with a tenth of the labels flipped."""
    options = flow.AuditOptions(model=ModelOptions("mlp", epochs=5), flip=0.1)
    return flow.audit("sklearn:wine", tmp_path_factory.mktemp("simulated") / "audit", options=options)


@pytest.fixture(scope="module")
def items(audit):
    return Items(audit)


@pytest.fixture(scope="module")
def truth(items):
    source = read_source(items)
    return [source.dataset.classes[label] for label in source.given[source.ranked]]


def test_the_reviewer_is_always_right(items, truth):
    events = replay(items, truth, len(items))
    order = np.argsort(items.scores["rank"])
    assert [event.item for event in events] == [items.ids[i] for i in order]
    review = Review(items.run, (replace(event, seq=i + 1) for i, event in enumerate(events)))
    cleaned = clean(items, review, "relabel")
    assert cleaned.kept.all()
    assert [items.classes[int(label)] for label in cleaned.labels] == truth
    wrong = np.array(truth) != [items.label(i) for i in range(len(items))]
    assert (clean(items, review, "drop").kept == ~wrong).all()
    assert wrong.sum() == items.manifest.flipped.planted


def test_the_first_of_the_ranking_and_once(items, truth, tmp_path):
    events = replay(items, truth, 10)
    assert {event.item for event in events} == {
        items.ids[i] for i in np.flatnonzero(items.scores["rank"] <= 10)
    }
    store = open_store(tmp_path / "log.sqlite")
    store.append(events)
    store.append(replay(items, truth, 12))
    assert store.verify().seq == 12
    store.close()


def test_truth_from_a_file(items, truth, tmp_path):
    table = pa.table({"index": items.scores["index"][::-1], "label": truth[::-1]})
    pa_csv.write_csv(table, tmp_path / "truth.csv")
    pq.write_table(table, tmp_path / "truth.parquet")
    assert read_truth(items, tmp_path / "truth.csv") == truth
    assert read_truth(items, tmp_path / "truth.parquet") == truth
    pa_csv.write_csv(table.slice(1), tmp_path / "short.csv")
    with pytest.raises(InputError, match=f"no label for the point of index {int(items.scores['index'][-1])}"):
        read_truth(items, tmp_path / "short.csv")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="columns label and index"):
        read_truth(items, tmp_path / "other.csv")


@pytest.mark.parametrize(
    ("count", "labels", "said"), [(-1, None, "count is -1"), (1, ["x"], "1 true labels")]
)
def test_bad_replays(items, truth, count, labels, said):
    with pytest.raises(InputError, match=said):
        replay(items, labels or truth, count)


def test_commands_from_ranking_to_proof(audit, items):
    def command(*arguments):
        result = CliRunner().invoke(app, list(map(str, arguments)))
        assert result.exit_code == 0, result.output
        return result.output

    path = audit.path
    said = command("simulate", path, "--inspect", 0.5, "--curve", "0,1", "--seeds", 1)
    inspected, wrong = round(0.5 * len(items)), items.manifest.flipped.planted
    assert f"{inspected} of {len(items)} points inspected" in said
    assert f"of {wrong} wrong labels found" in said
    costs = json.loads((path / "cost.json").read_text())
    assert [(cost["inspected"], cost["found"]) for cost in costs] == [(0, 0), (len(items), wrong)]
    assert "the cost of cleaning" in (path / "cost.html").read_text()

    said = command("compare", path, "--seeds", 2)
    found = json.loads((path / "compare.json").read_text())
    store = open_store(path / "review.sqlite")
    store_events = list(store.since(items.run))
    decided = [event.decision for event in store_events]
    store.close()
    by_item = zip((event.item for event in store_events), decided, strict=True)
    trained = {items.ids[i] for i in np.flatnonzero(items.scores["split"] == "train")}
    assert found["relabeled"] == sum(
        d is not None and d.label is not None and i in trained for i, d in by_item
    )
    assert found["overall"]["points"] == items.manifest.data.validation
    assert "points of accuracy" in said
    page = (path / "compare.html").read_text()
    for name in items.classes:
        assert name in page


def test_a_reviewer_who_errs_errs_as_often_as_said_and_alike_each_time(items, truth):
    erring = Erring(misses=0.3, alarms=0.2)
    saying = [erring.says(wrong, str(i)) for wrong in (True, False) for i in range(4000)]
    assert np.mean(saying[:4000]) == pytest.approx(0.7, abs=0.03)
    assert np.mean(saying[4000:]) == pytest.approx(0.2, abs=0.03)
    assert replay(items, truth, 50, erring=erring) == replay(items, truth, 80, erring=erring)[:50]
    always = replay(items, truth, len(items), erring=Erring(1.0, 1.0))
    by = {event.item: event.decision for event in always}
    for position, label in enumerate(truth):
        said, given = by[items.ids[position]], items.label(position)
        assert said.verdict == ("correct" if label != given else "mislabeled")
        assert said.label != given
    with pytest.raises(InputError, match="misses is 2"):
        Erring(misses=2)


def test_the_count_of_a_simulated_review_in_the_terminal(audit, items, truth, tmp_path):
    def command(*arguments):
        result = CliRunner().invoke(app, list(map(str, [*arguments, "--store", tmp_path / "log.sqlite"])))
        assert result.exit_code == 0, result.output
        return result.output

    command("simulate", audit.path, "--inspect", 0.2, "--sample", 60)
    assert "of its first 60" in (text := command("progress", audit.path))
    found = json.loads(command("progress", audit.path, "--json"))
    whole, planted = found["whole"], items.manifest.flipped.planted
    assert found["reviewed"] == whole["judged"] == round(0.2 * len(items)) + 60
    assert (whole["seen"], whole["drawn"]) == (60, len(items) - round(0.2 * len(items)))
    assert whole["wrong"] <= whole["low"] <= planted <= whole["high"] < len(items)
    assert f"Between {whole['low']} and {whole['high']} of the {len(items)} points are wrong" in text
    assert sum(part["points"] for part in found["splits"]) == len(items)
    assert found["draw"]["event"] == round(0.2 * len(items)) + 1
    known = tmp_path / "known.csv"
    pa_csv.write_csv(pa.table({"index": items.scores["index"], "label": truth}), known)
    checked = command("progress", audit.path, "--checks", known)
    assert "By known labels" in checked
    assert f"of {whole['wrong']} known to be wrong 0 for right" in checked
    command("simulate", audit.path, "--inspect", 0.2, "--sample", 60)
    assert json.loads(command("progress", audit.path, "--json")) == found, "the same events, kept once"


def test_several_simulated_reviewers_err_each_by_themselves(audit, items, tmp_path):
    def command(*arguments):
        result = CliRunner().invoke(app, list(map(str, [*arguments, "--store", tmp_path / "log.sqlite"])))
        assert result.exit_code == 0, result.output
        return result.output

    options = ("--inspect", 0.6, "--sample", 40, "--reviewers", 3, "--misses", 0.2, "--false-alarms", 0.1)
    assert f"{round(0.6 * len(items))} of {len(items)} points" in command("simulate", audit.path, *options)
    found = json.loads(command("progress", audit.path, "--json"))
    points = round(0.6 * len(items)) + 40
    assert [(one["reviewer"], one["points"]) for one in found["overlaps"]] == [
        (who, points) for who in ("simulated", "simulated 2", "simulated 3")
    ]
    assert len({(one["alarms"], one["misses"]) for one in found["overlaps"]}) > 1, "each by themselves"
    assert all(0 < one["alarm_rate"] < 0.25 for one in found["overlaps"])
    text = command("progress", audit.path)
    assert "By what most others say" in text
    assert f"about {100 * found['overlaps'][0]['alarm_rate']:.2g} %" in " ".join(text.split())
