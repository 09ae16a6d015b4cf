"""Folding events: undo, redo, conflicts and their resolution, as laws over any history."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swaypoint.errors import InputError
from swaypoint.review.log.verdicts import VERDICTS, Decision, Event, Review

ACTORS, ITEMS = ("ann", "bob", "cy"), ("i", "j", "k")
DECISIONS = [
    Decision("correct"),
    Decision("mislabeled", "cat"),
    Decision("mislabeled", "dog", "sure"),
    Decision("skip"),
    Decision("bad", note="torn"),
]


class Log:
    """A store in memory, as the contract says, and the reviewer's side of undo and redo."""

    def __init__(self):
        self.events, self.review = [], Review("run")

    def say(self, actor, words, *, undoes=None, resolves=False):
        """One action: (item, decision) each."""
        action = f"action {len(self.events)}"
        for item, decision in words:
            seq = len(self.events) + 1
            event = Event(f"event {seq}", "run", item, actor, decision, action, undoes, resolves)
            before = next(
                (e.decision for e in reversed(self.events) if (e.actor, e.item) == (actor, item)), None
            )
            self.events.append(replace(event, seq=seq, before=before))
            self.review.apply(self.events[-1])

    def compensate(self, actor, events):
        if events:
            self.say(actor, [(e.item, e.before) for e in events], undoes=events[0].action)
        return bool(events)

    def undo(self, actor):
        return self.compensate(actor, self.review.undoable(actor))

    def redo(self, actor):
        return self.compensate(actor, self.review.redoable(actor))

    def do(self, step):
        actor, what, words = step
        if what in ("undo", "redo"):
            getattr(self, what)(actor)
        else:
            self.say(actor, words, resolves=what == "resolve")


def state(review):
    """All that can be asked of it but for its history."""
    items = {
        item: (review.all_on(item), review.decision(item), review.conflict(item))
        for item in ITEMS
        if item in set(review.reviewed())
    }
    return items, review.actors


# An item twice in one action, and a decision taken back by None, are no mistakes.
words = st.lists(
    st.tuples(st.sampled_from(ITEMS), st.none() | st.sampled_from(DECISIONS)), min_size=1, max_size=3
)
steps = st.tuples(
    st.sampled_from(ACTORS), st.sampled_from(["say", "say", "resolve", "undo", "undo", "redo"]), words
)
histories = st.lists(steps, max_size=12)
laws = settings(max_examples=60, deadline=None)


def after(history):
    log = Log()
    for step in history:
        log.do(step)
    return log


@laws
@given(histories, st.sampled_from(ACTORS), words, st.booleans())
def test_undo_returns_to_the_state_before(history, actor, said, resolves):
    log = after(history)
    before = state(log.review)
    log.say(actor, said, resolves=resolves)
    assert log.undo(actor)
    assert state(log.review) == before


@laws
@given(histories, st.sampled_from(ACTORS))
def test_undo_then_redo_returns_the_same_state(history, actor):
    log = after(history)
    before = state(log.review)
    if log.undo(actor):
        assert log.redo(actor)
        assert state(log.review) == before


@laws
@given(histories, st.sampled_from(ACTORS), st.integers(1, 4))
def test_so_many_undos_then_as_many_redos(history, actor, times):
    log = after(history)
    before = state(log.review)
    undone = sum(log.undo(actor) for _ in range(times))
    assert sum(log.redo(actor) for _ in range(undone)) == undone
    assert state(log.review) == before


@laws
@given(histories, st.permutations(ACTORS))
def test_undoing_everything_returns_the_empty_state(history, actors):
    log = after(history)
    for actor in actors:
        while log.undo(actor):
            pass
    assert state(log.review) == state(Review("run")) == ({}, ())


@laws
@given(histories, st.lists(st.integers(0, 40), max_size=5))
def test_folding_does_not_depend_on_the_batches(history, cuts):
    log = after(history)
    review = Review("run")
    for cut in sorted(cuts):
        for event in log.events[:cut]:  # what was applied already comes again
            review.apply(event)
    for event in log.events:
        review.apply(event)
    assert state(review) == state(log.review) == state(Review("run", log.events))
    assert list(review.events) == log.events
    for actor in ACTORS:
        assert review.undoable(actor) == log.review.undoable(actor)
        assert review.redoable(actor) == log.review.redoable(actor)


@laws
@given(histories)
def test_the_last_word_of_each_actor_stands(history):
    log = after(history)
    last = {(e.actor, e.item): e.decision for e in log.events}
    for actor in ACTORS:
        for item in ITEMS:
            assert log.review.by(actor, item) == last.get((actor, item))


def test_a_new_decision_ends_redo():
    log = Log()
    log.say("ann", [("i", Decision("bad"))])
    assert log.review.redoable("ann") == []
    log.undo("ann")
    assert [e.decision for e in log.review.redoable("ann")] == [None]
    log.say("ann", [("j", Decision("bad"))])
    assert log.review.redoable("ann") == []


def test_undo_is_of_the_actors_own_actions_and_takes_a_bulk_back_at_once():
    log = Log()
    log.say("ann", [(item, Decision("bad")) for item in ITEMS])
    log.say("bob", [("i", Decision("correct"))])
    assert log.review.undoable("cy") == []
    assert log.undo("ann")
    assert set(log.review.reviewed()) == {"i"}
    assert log.review.all_on("i") == {"bob": Decision("correct")}
    assert not log.undo("ann")


def test_a_conflict_is_resolved_and_a_later_word_reopens_it():
    log = Log()
    log.say("ann", [("i", Decision("mislabeled", "cat", "ears"))])
    assert log.review.decision("i") == Decision("mislabeled", "cat", "ears")
    log.say("bob", [("i", Decision("mislabeled", "dog"))])
    assert log.review.conflict("i")
    assert log.review.decision("i") is None
    log.say("cy", [("i", Decision("correct"))], resolves=True)
    assert not log.review.conflict("i")
    assert log.review.decision("i") == Decision("correct")
    log.say("ann", [("i", Decision("bad"))])
    assert log.review.conflict("i")
    log.undo("ann")
    assert log.review.decision("i") == Decision("correct"), "what reopened it was taken back"
    log.undo("cy")
    assert log.review.conflict("i")
    log.redo("cy")
    assert log.review.decision("i") == Decision("correct"), "the redo resolves again"


def test_notes_and_skips_are_no_conflict():
    log = Log()
    log.say("ann", [("i", Decision("skip"))])
    assert log.review.decision("i") == Decision("skip")
    log.say("bob", [("i", Decision("bad", note="dark"))])
    log.say("cy", [("i", Decision("bad", note="torn"))])
    assert not log.review.conflict("i")
    assert log.review.decision("i") == Decision("bad", note="dark; torn")
    assert log.review.actors == ACTORS


def test_a_long_joined_note_is_no_error():
    log = Log()
    for actor in ACTORS:
        log.say(actor, [("i", Decision("bad", note=actor + "x" * 1990))])
    assert log.review.decision("i").verdict == "bad"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Decision("wrong"), f"verdict is 'wrong'; expected one of {', '.join(VERDICTS)}"),
        (lambda: Decision("correct", "cat"), "a label goes with the verdict mislabeled"),
        (lambda: Decision("bad", note="x" * 2001), "the note has 2,001 characters; at most 2,000"),
    ],
)
def test_what_is_no_decision(make, words):
    with pytest.raises(InputError, match=words):
        make()
