"""Points that are texts: their embeddings are ranked, and a person reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import swaypoint
from review_audit import HOSTILE
from review_site import Site
from swaypoint.data.dataset import ReadOptions

TEXTS = [f"Review {i}: {HOSTILE} {'it works, and ' * 100}ends at {i}." for i in range(40)]


@pytest.fixture(scope="module")
def letters(tmp_path_factory) -> Path:
    """The audit of texts with an embedding each."""
    root, generator = tmp_path_factory.mktemp("text"), np.random.default_rng(0)
    labels = np.arange(40) % 2
    vectors = generator.normal(size=(40, 4)) + labels[:, None]
    table = {"text": TEXTS, "embedding": list(vectors), "stars": labels + 1, "label": labels}
    pq.write_table(pa.table(table), root / "reviews.parquet")
    return swaypoint.audit(
        root / "reviews.parquet", root / "audit", read=ReadOptions(features="embedding")
    ).path


@pytest.fixture
def site(letters):
    made = Site(letters)
    yield made
    made.store.close()


def test_the_whole_text_is_in_the_item_and_its_beginning_in_the_gallery(site):
    page = site.page()
    for position in (0, len(site.items) - 1):
        item, text = site.items.ids[position], TEXTS[int(site.items.scores["index"][position])]
        values = dict(page.json(f"/item.json?at={item}")["values"])
        assert values == {"text": text, "stars": str(int(site.items.scores["label"][position]) + 1)}
    cells = page.json("/gallery.json")["cells"]
    for cell in cells:
        text = TEXTS[int(site.items.scores["index"][site.items.position(cell["id"])])]
        assert dict(cell["values"])["text"] == text[:200]


def test_markup_in_a_text_stays_text(site):
    page = site.page()
    for path in (f"/item?at={site.items.ids[0]}", "/gallery"):
        assert HOSTILE not in page.get(path).text


def test_texts_are_searched_to_their_end(site):
    position = 7
    number = int(site.items.scores["index"][position])
    cells = site.page().json(f"/gallery.json?text=ends+at+{number}.")["cells"]
    assert [cell["id"] for cell in cells] == [site.items.ids[position]]
