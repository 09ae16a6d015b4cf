"""What a review shows of a point and which points it asks for, against other packages and by laws."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from urllib.parse import parse_qsl

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

import swaypoint
from swaypoint.errors import InputError
from swaypoint.folder.audit_folder import AuditFolder
from swaypoint.folder.items import item_id, project
from swaypoint.review.items import Items
from swaypoint.review.log.dealing import dealt, draw
from swaypoint.review.log.verdicts import VERDICTS, Decision, Event, Review
from swaypoint.review.page.query import Query, inside, select

laws = settings(max_examples=60, deadline=None)
FINE, WRONG = Decision("correct"), Decision("mislabeled", "7")


@pytest.fixture(scope="module")
def items(audited):
    return Items(AuditFolder(audited))


@pytest.fixture(scope="module")
def features(audited):
    return load_file(audited / "features.safetensors")["features"]


def said(items, *decisions):
    """(actor, position, decision) each, in order."""
    review = Review(items.run)
    for seq, (actor, position, decision) in enumerate(decisions, start=1):
        item = items.ids[position]
        review.apply(Event(f"e{seq}", items.run, item, actor, decision, action=f"a{seq}", seq=seq))
    return review


def chosen(query, items, review=None, actor="ada", **options):
    return select(query, items, review or said(items), actor, **options).tolist()


# -- the model's view -------------------------------------------------------------------------------


@pytest.mark.parametrize("position", [0, 700, 1796])
def test_neighbours_are_scikit_learns(items, features, position):
    scaled = StandardScaler().fit_transform(features.double().numpy())
    distances, index = NearestNeighbors(n_neighbors=13).fit(scaled).kneighbors(scaled[[position]])
    found = items.neighbours(position, 12)
    np.testing.assert_allclose(found.values, distances[0, 1:], rtol=1e-6)
    assert set(found.positions) == set(index[0]) - {position}


def test_neighbours_far_from_the_origin_are_told_apart(items, features, audited, tmp_path):
    """In float32 the expanded squares of such vectors lose their differences."""
    from safetensors.torch import save_file

    moved = Items(AuditFolder(audited))
    save_file({"features": features * 1e-3 + 5.0}, tmp_path / "features.safetensors")
    moved.folder = AuditFolder(tmp_path)
    scaled = StandardScaler().fit_transform((features * 1e-3 + 5.0).double().numpy())
    distances, _ = NearestNeighbors(n_neighbors=6).fit(scaled).kneighbors(scaled[[3]])
    np.testing.assert_allclose(moved.neighbours(3, 5).values, distances[0, 1:], rtol=1e-5)


@pytest.mark.parametrize("position", [5, 1000])
def test_influences_are_those_of_the_library(items, features, audited, position):
    head = load_file(audited / "head.safetensors")
    layer = torch.nn.Linear(*reversed(head["weight"].shape))
    layer.load_state_dict(head)
    labels = torch.from_numpy(items.scores["label"].astype(np.int64))
    point = (features[[position]], labels[[position]])
    seen, expected = items.scores["split"] == "train", np.zeros(len(items))  # none of those held out
    expected[seen] = swaypoint.influence(layer, (features[seen], labels[seen]), point, l2=1e-3)[0]
    expected[position] = 0.0
    for_it, against = items.influences(position, 6)
    np.testing.assert_allclose(for_it.values, np.sort(expected)[::-1][:6], rtol=2e-3)
    np.testing.assert_allclose(against.values, np.sort(expected)[:6], rtol=2e-3)
    np.testing.assert_allclose(expected[for_it.positions], for_it.values, rtol=2e-3)


def test_suggestions_are_the_heads_probabilities(items, features, audited):
    head = load_file(audited / "head.safetensors")
    probabilities = torch.softmax(features[8].double() @ head["weight"].T.double() + head["bias"].double(), 0)
    found = items.suggestions(8, 10)
    assert found[0].label == items.suggested(8)
    assert {s.label for s in found} == set(items.classes)
    for suggestion in found:
        expected = probabilities[items.classes.index(suggestion.label)].item()
        assert suggestion.probability == pytest.approx(expected, abs=1e-5)
    rest = [s.probability for s in found[1:]]
    assert rest == sorted(rest, reverse=True)


def test_without_features_there_is_no_model_to_ask(folder):
    (folder / "features.safetensors").unlink()
    bare = Items(AuditFolder(folder))
    assert bare.suggestions(0) == []
    assert len(bare.neighbours(0).positions) == 0
    assert [len(related.positions) for related in bare.influences(0)] == [0, 0]
    assert not bare.distances(0).any()


def test_rows_have_values_and_no_picture(audited_rows):
    rows = Items(AuditFolder(audited_rows))
    assert rows.picture(0) is None
    assert float(rows.row(0)["alcohol"]) > 10
    assert rows.matching("ALCOHOL").all()
    assert not rows.matching("no such text").any()


def test_damage_is_named(folder):
    (folder / "features.safetensors").write_bytes((8).to_bytes(8, "little") + b"{}      ")
    with pytest.raises(InputError, match=r"features\.safetensors: .*make the audit again"):
        Items(AuditFolder(folder)).neighbours(0)
    (folder / "items.arrow").write_bytes(b"not arrow")
    with pytest.raises(InputError, match=r"items\.arrow.*make the audit again"):
        Items(AuditFolder(folder))


def test_ids_are_of_content_and_place():
    assert item_id(b"a", "1") == item_id(b"a", "1")
    assert len({item_id(b"a", "1"), item_id(b"a", "2"), item_id(b"b", "1"), item_id(b"a\0", "1")}) == 4


def test_the_map_is_the_first_principal_components():
    features = np.random.default_rng(0).normal(size=(500, 8)) * np.arange(1, 9)
    features[:, 1] += 3 * features[:, 0]
    scores = PCA(2).fit_transform(StandardScaler().fit_transform(features))
    places = project(features.astype(np.float32))
    for axis in (0, 1):
        assert abs(np.corrcoef(places[:, axis], scores[:, axis])[0, 1]) > 1 - 1e-6
    np.testing.assert_allclose(np.quantile(places, [0.01, 0.99], axis=0), [[-1, -1], [1, 1]], atol=1e-5)


# -- the query in the address -----------------------------------------------------------------------

names = st.lists(st.text(min_size=1, max_size=8), max_size=3).map(tuple)
coordinates = st.floats(-2, 2).map(lambda x: float(f"{x:.4g}") + 0.0)
queries = st.builds(
    Query,
    sort=st.sampled_from(["rank", "-cook", "index"]),
    label=names,
    suggested=names,
    kind=names,
    verdict=st.lists(st.sampled_from(VERDICTS), max_size=2).map(tuple),
    status=st.sampled_from(["all", "open", "reviewed", "conflict"]),
    text=st.text(max_size=10),
    disagree=st.booleans(),
    top=st.integers(0, 10**6),
    near=st.text("0123456789abcdef", max_size=20),
    sample=st.integers(0, 999),
    lasso=st.lists(st.tuples(coordinates, coordinates), max_size=4).map(tuple),
    x=st.text(max_size=5),
    y=st.text(max_size=5),
    within=names,
    region=st.integers(0, 10**6),
)


@laws
@given(queries)
def test_an_address_reproduces_its_query(query):
    assert Query.parse(dict(parse_qsl(query.address(), keep_blank_values=True))) == query


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("top", "many", "makes no sense"),
        ("lasso", "1,2;3", "makes no sense"),
        ("lasso", ";".join(["0,0"] * 501), "makes no sense"),
        ("sample", "300,1", "makes no sense"),
        ("status", "done", "expected one of all, open"),
        ("verdict", "wrong", "expected one of mislabeled, correct"),
    ],
)
def test_what_makes_no_sense_is_refused(name, value, words):
    with pytest.raises(InputError, match=words):
        Query.parse({name: value})


def test_other_parameters_are_passed_over():
    assert Query.parse({"at": "x", "utm_source": "y", "status": ""}) == Query()


# -- which points, in which order -------------------------------------------------------------------


@cache
def naive(items, query):
    """Row by row."""
    scores, kept = items.scores, []
    for p in range(len(items)):
        label, suggested = items.label(p), items.suggested(p)
        if query.label and label not in query.label:
            continue
        if query.suggested and suggested not in query.suggested:
            continue
        if query.kind and scores["kind"][p] not in query.kind:
            continue
        if (query.disagree and label == suggested) or (query.top and scores["rank"][p] > query.top):
            continue
        kept.append(p)
    column = query.sort.removeprefix("-")
    sign = -1 if query.sort.startswith("-") else 1
    return sorted(kept, key=lambda p: (sign * scores[column][p], p))


@laws
@given(
    st.builds(
        Query,
        sort=st.sampled_from(["rank", "-rank", "index", "-cook", "margin", "leverage"]),
        label=st.lists(st.sampled_from("0123456789"), max_size=4).map(tuple),
        suggested=st.lists(st.sampled_from("0123456789"), max_size=4).map(tuple),
        kind=st.sampled_from([(), ("mislabeled",), ("boundary", "typical")]),
        disagree=st.booleans(),
        top=st.sampled_from([0, 1, 100, 5000]),
    )
)
def test_select_is_the_filter_row_by_row(items, query):
    assert chosen(query, items) == naive(items, query)


def test_status_and_verdict_are_the_reviewers_or_what_counts(items):
    review = said(items, ("ada", 3, FINE), ("bob", 4, WRONG), ("ada", 5, FINE), ("bob", 5, WRONG))
    assert sorted(chosen(Query(status="reviewed"), items, review)) == [3, 4, 5]
    assert sorted(chosen(Query(status="open"), items, review)) == sorted(set(range(len(items))) - {3, 4, 5})
    assert chosen(Query(status="conflict"), items, review) == [5]
    assert sorted(chosen(Query(verdict=("correct",)), items, review)) == [3, 5]
    assert sorted(chosen(Query(verdict=("mislabeled",)), items, review, "bob")) == [4, 5]


def test_a_blind_reviewer_sees_nothing_of_the_others(items):
    review = said(items, ("bob", 4, WRONG), ("ada", 9, FINE), ("bob", 9, WRONG))
    assert chosen(Query(status="reviewed"), items, review, blind=True) == [9]
    assert 4 in chosen(Query(status="open"), items, review, blind=True)
    opinions = (Query(suggested=tuple(items.classes)), Query(kind=("mislabeled", "typical", "boundary")))
    for query in (Query(status="conflict"), *opinions):
        with pytest.raises(InputError, match="blind"):
            chosen(query, items, review, blind=True)


def test_similar_points_come_first(items):
    found = chosen(Query(near=items.ids[7], label=(items.label(7),)), items)
    assert found[0] == 7
    nearest = [p for p in items.neighbours(7, 40).positions if items.label(p) == items.label(7)]
    assert found[1 : 1 + len(nearest)] == nearest


def test_a_sample_stays_what_it_was_when_it_was_drawn(items):
    first, event = said(items, ("ada", 0, FINE)).events[0], draw(items, "ada", "the draw")
    events = [first, replace(event, seq=2, digest="5eed")]
    before, order = Review(items.run, events), dealt(items, Review(items.run, events)).tolist()
    later = Review(items.run, [*events, replace(first, id="x", seq=3, item=items.ids[1])])
    assert 0 not in order
    assert len(order) == len(items) - 1
    query = Query(sample=50)
    assert chosen(query, items, before) == chosen(query, items, later) == order[:50]
    assert set(chosen(Query(sample=50, label=("3",)), items, later)) == {
        p for p in order[:50] if items.label(p) == "3"
    }
    with pytest.raises(InputError, match="no random sample was drawn"):
        chosen(query, items, said(items, ("ada", 0, FINE)))


@pytest.mark.parametrize(
    ("query", "words"),
    [
        (Query(sort="kind"), "expected one of index"),
        (Query(sort="'; DROP TABLE event; --"), "expected one of index"),
        (Query(label=("ten",)), "no class 'ten'"),
        (Query(near="nowhere"), "no point 'nowhere'"),
    ],
)
def test_what_is_not_there_is_named(items, query, words):
    with pytest.raises(InputError, match=words):
        chosen(query, items)


@laws
@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1)), min_size=1, max_size=20), st.integers(3, 9))
def test_a_regular_polygon_holds_what_lies_on_the_inner_side_of_all_its_edges(points, k):
    angles = 2 * np.pi * np.arange(k) / k
    corners = np.stack([np.cos(angles), np.sin(angles)], 1)
    normals = np.stack([np.cos(angles + np.pi / k), np.sin(angles + np.pi / k)], 1)
    points = np.array(points)
    reach = (points @ normals.T).max(1) - np.cos(np.pi / k)
    clear = np.abs(reach) > 1e-9
    np.testing.assert_array_equal(inside(points, corners)[clear], reach[clear] < 0)


@pytest.mark.filterwarnings("error")
def test_a_polygon_of_any_size_is_looked_at_in_silence():
    corners = np.array([[-1e308, -1e308], [1e308, -1e308], [1e308, 1e308], [-1e308, 1e308]])
    assert inside(np.zeros((3, 2)), corners).all()


def test_a_lasso_is_inside_of_the_places(items):
    lasso = ((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5))
    box = (np.abs(items.places) < 0.5).all(1)
    assert sorted(chosen(Query(lasso=lasso), items)) == np.flatnonzero(box).tolist()
