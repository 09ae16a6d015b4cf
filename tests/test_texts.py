"""Texts: how they are read from every kind of source, their features, and what their words say."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import polars
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
import xlsxwriter
from pyarrow import feather
from sklearn.feature_extraction.text import HashingVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from typer.testing import CliRunner

import swaypoint
from review_site import Site
from swaypoint.auditing.options import AuditOptions
from swaypoint.cli.main import app
from swaypoint.data.dataset import Dataset, ReadOptions
from swaypoint.data.readers import read_dataset, read_frame, read_stored
from swaypoint.errors import InputError
from swaypoint.folder.audit_folder import AuditFolder
from swaypoint.models.predictor import ModelOptions
from swaypoint.models.text_features import TextFeatures, fit_text_features
from swaypoint.report.words import Words
from swaypoint.review.items import Items

HOSTILE = (
    "<script>alert('x')</script> <b>bold</b> & \"quoted\" 😀 שלום עולם if (a < b) { return c; } {{ 7 * 7 }}"
)
TOPICS = {
    "garden": ["rose", "tulip", "soil", "seed", "water", "bloom", "pot", "spade", "hedge", "lawn"],
    "engine": ["piston", "valve", "clutch", "torque", "oil", "gear", "wheel", "brake", "motor", "axle"],
    "kitchen": ["flour", "butter", "oven", "knife", "pan", "salt", "dough", "sugar", "spoon", "boil"],
}
FILLER = [
    "the",
    "a",
    "of",
    "and",
    "to",
    "in",
    "it",
    "was",
    "with",
    "on",
    "we",
    "they",
    "very",
    "much",
    "again",
]


def corpus(n: int = 300, seed: int = 0) -> pa.Table:
    """Sentences of three topics with filler between; the first is hostile."""
    rng = np.random.default_rng(seed)
    names = list(TOPICS)
    labels = [names[i % 3] for i in range(n)]
    texts = [" ".join(rng.permutation([*rng.choice(TOPICS[k], 4), *rng.choice(FILLER, 8)])) for k in labels]
    texts[0] += f" {HOSTILE}"
    return pa.table({"review": texts, "topic": labels})


TABLE = corpus()
LABELLED = ReadOptions(label="topic")


# -- reading ----------------------------------------------------------------------------------------


def as_csv(table: pa.Table, path: Path) -> Path:
    pa_csv.write_csv(table, path.with_suffix(".csv"))
    return path.with_suffix(".csv")


def as_tsv(table: pa.Table, path: Path) -> Path:
    pa_csv.write_csv(table, path.with_suffix(".tsv"), pa_csv.WriteOptions(delimiter="\t"))
    return path.with_suffix(".tsv")


def as_json_lines(table: pa.Table, path: Path) -> Path:
    path = path.with_suffix(".jsonl")
    path.write_text("\n".join(map(json.dumps, table.to_pylist())))
    return path


def as_parquet(table: pa.Table, path: Path) -> Path:
    pq.write_table(table, path.with_suffix(".parquet"))
    return path.with_suffix(".parquet")


def as_feather(table: pa.Table, path: Path) -> Path:
    feather.write_feather(table, path.with_suffix(".feather"))
    return path.with_suffix(".feather")


def as_sheet(table: pa.Table, path: Path) -> Path:
    path = path.with_suffix(".xlsx")
    with xlsxwriter.Workbook(path) as book:
        sheet = book.add_worksheet()
        for column, name in enumerate(table.column_names):
            sheet.write_column(0, column, [name, *table[name].to_pylist()])
    return path


def as_sqlite(table: pa.Table, path: Path) -> Path:
    path = path.with_suffix(".sqlite")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"CREATE TABLE t ({', '.join(table.column_names)})")
        places = ", ".join("?" * table.num_columns)
        connection.executemany(
            f"INSERT INTO t VALUES ({places})", zip(*table.to_pydict().values(), strict=True)
        )
        connection.commit()
    return path


def as_saved(table: pa.Table, path: Path) -> Path:
    import datasets

    datasets.Dataset.from_dict(table.to_pydict()).save_to_disk(str(path))
    return path


SOURCES = (as_csv, as_tsv, as_json_lines, as_parquet, as_feather, as_sheet, as_sqlite, as_saved)


@pytest.mark.parametrize("write", SOURCES)
def test_every_kind_of_table_is_read_alike(write: Callable[[pa.Table, Path], Path], tmp_path: Path) -> None:
    found = read_dataset(write(TABLE, tmp_path / "t"), options=LABELLED)
    assert (found.kind, found.columns, found.inputs.shape) == ("texts", ("review",), (300, 1))
    assert found.texts == TABLE["review"].to_pylist()
    assert found.fingerprint == read_frame(TABLE, LABELLED).fingerprint


def test_frames() -> None:
    expected = read_frame(TABLE, LABELLED)
    for frame in (TABLE.to_pandas(), polars.from_arrow(TABLE)):
        found = read_frame(frame, LABELLED)
        assert found.kind == "texts"
        assert found.fingerprint == expected.fingerprint


def test_a_table_with_numbers_stays_one_and_says_how_to_audit_its_texts() -> None:
    table = TABLE.append_column("stars", pa.array(np.arange(300) % 5))
    found = read_frame(table, LABELLED)
    assert (found.kind, found.columns) == ("rows", ("stars",))
    assert (
        "free text, 300 different in 300 rows; to audit the texts: --text review"
        in found.treatments["review"]
    )
    texts = read_frame(table, ReadOptions(label="topic", text="review"))
    assert (texts.kind, texts.columns) == ("texts", ("review",))
    assert texts.describe(5) == {"review": TABLE["review"][5].as_py(), "stars": "0"}


def test_identifiers_beside_it_do_not_hide_the_only_text() -> None:
    table = TABLE.append_column("id", pa.array([f"AB-{i * 7919}" for i in range(300)]))
    assert read_frame(table, LABELLED).columns == ("review",)


def test_pairs_are_read_one_after_the_other() -> None:
    table = TABLE.append_column("answer", pa.array([f"answer {i}" for i in range(300)]))
    found = read_frame(table, ReadOptions(label="topic", text="review, answer"))
    assert found.columns == ("review", "answer")
    assert found.texts[7] == f"{TABLE['review'][7]}\n\nanswer 7"
    assert found.describe(7) == {"review": TABLE["review"][7].as_py(), "answer": "answer 7"}


def test_records_are_frozen_and_a_subset_is_marked() -> None:
    found = read_frame(TABLE, LABELLED)
    with pytest.raises(ValueError, match="read-only"):
        found.inputs[0, 0] = "other"
    part = found.subset([4, 2])
    assert part.texts == [found.texts[4], found.texts[2]]
    assert part.fingerprint == found.subset([4, 2]).fingerprint != found.subset([2, 4]).fingerprint
    with pytest.raises(ValueError, match="read-only"):
        part.inputs[0, 0] = "other"
    assert found.content(0) != found.content(1)


def test_empty_and_missing_texts_are_kept_and_said() -> None:
    table = pa.table({"review": ["", None, "  ", *TABLE["review"].to_pylist()[3:]], "topic": TABLE["topic"]})
    found = read_frame(table, ReadOptions(label="topic", text="review"))
    assert found.texts[:3] == ["", "", "  "]
    assert found.treatments["review"] == "3 of 300 texts are empty or missing, and kept"


MANY = TABLE.append_column("more", TABLE["review"])
REFUSED = [
    (MANY, ReadOptions(label="topic"), ["no column beside the label", "--text review"]),
    (TABLE, ReadOptions(label="topic", text="nosuch"), ["no column 'nosuch'", "review, topic"]),
    (TABLE, ReadOptions(label="topic", text="topic"), ["is the label"]),
    (TABLE, ReadOptions(label="topic", text="review,review"), ["twice"]),
    (TABLE, ReadOptions(label="topic", text="review", features="x"), ["--text and --features"]),
    (
        TABLE.append_column("n", pa.array(range(300))),
        ReadOptions(label="topic", text="n"),
        ["type int64", "expected text"],
    ),
    (
        pa.table({"review": [""] * 4, "topic": ["a", "b"] * 2}),
        ReadOptions(label="topic", text="review"),
        ["all of its texts are empty"],
    ),
]


@pytest.mark.parametrize(("table", "options", "words"), REFUSED)
def test_refused_in_one_sentence(table: pa.Table, options: ReadOptions, words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        read_frame(table, options)
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


# -- a folder by class ------------------------------------------------------------------------------


def text_folder(root: Path, table: pa.Table = TABLE) -> Path:
    for i, (text, label) in enumerate(zip(*table.to_pydict().values(), strict=True)):
        (root / label).mkdir(parents=True, exist_ok=True)
        (root / label / f"{i:03d}.txt").write_text(text, encoding="utf-8")
    return root


def test_a_folder_by_class(tmp_path: Path) -> None:
    found = read_dataset(text_folder(tmp_path / "texts"))
    assert (found.kind, found.classes, found.columns) == ("texts", ("engine", "garden", "kitchen"), ("text",))
    assert len(found) == 300
    place = found.names.index("garden/000.txt")
    assert found.describe(place) == {"text": TABLE["review"][0].as_py()}
    stored = read_stored(tmp_path / "texts")
    assert stored.table["text"][place].as_py() == found.texts[place]
    assert stored.table["label"][place].as_py() == found.labels[place]


def test_a_folder_of_another_encoding_with_bad_files(tmp_path: Path) -> None:
    root = text_folder(tmp_path / "texts", TABLE.slice(0, 30))
    words = "Der Bär hörte das Gebrüll der Löwen, süß und groß, über die Straße. Öfen kühlen für Mägde."
    for name in ("000", "003", "006"):
        (root / "garden" / f"{name}.txt").write_bytes(words.encode("cp1252"))
    (root / "garden" / "009.txt").write_bytes("\ufeffmit Marke".encode("utf-8"))
    (root / "garden" / "012.txt").write_text("sixteen bits", encoding="utf-16")
    (root / "engine" / "001.txt").write_bytes(b"\x00\x01\x02" * 50)
    with pytest.raises(InputError, match=r"engine/001\.txt: it holds binary data, no text"):
        read_dataset(root)
    found = read_dataset(root, options=ReadOptions(skip_bad=True))
    text = dict(zip(found.names, found.texts, strict=True))
    assert text["garden/000.txt"] == words
    assert (text["garden/009.txt"], text["garden/012.txt"]) == ("mit Marke", "sixteen bits")
    assert [one.where for one in found.skipped] == ["engine/001.txt"]
    assert "3 of 30 taken for cp1252" in found.treatments["(the files)"]


def test_no_folder_of_texts(tmp_path: Path) -> None:
    root = text_folder(tmp_path / "texts", TABLE.slice(0, 6))
    (root / "stray.txt").write_text("stray")
    with pytest.raises(InputError, match=r"1 text .such as stray\.txt. outside class folders"):
        read_dataset(root)
    with pytest.raises(InputError, match="no real values"):
        read_dataset(root, options=ReadOptions(regression=True))
    (tmp_path / "empty" / "a").mkdir(parents=True)
    with pytest.raises(InputError, match="holds no images"):
        read_dataset(tmp_path / "empty")


# -- features ---------------------------------------------------------------------------------------


def test_weights_are_scikit_learns() -> None:
    texts = TABLE["review"].to_pylist()
    made = fit_text_features(texts, components=8)
    vectors = TfidfVectorizer(
        ngram_range=(1, 2), sublinear_tf=True, vocabulary=list(made.terms), token_pattern=r"[^\W]+|\S"
    )
    expected = vectors.fit_transform(texts)
    np.testing.assert_allclose(made.weights(texts).toarray(), expected.toarray(), atol=1e-6)


def test_features_are_the_first_components() -> None:
    """Against a dense decomposition of x A: as much of it as any twelve directions hold, and no more."""
    texts = TABLE["review"].to_pylist()
    made = fit_text_features(texts, components=12)
    words = [term for term in made.terms if " " not in term]
    letters = HashingVectorizer(analyzer="char_wb", ngram_range=(3, 5), n_features=2**16, lowercase=False)
    x = made.weights(texts).toarray().astype(np.float64)
    y = x[:, : len(words)] @ letters.transform(words)
    values = np.linalg.eigvalsh(x @ x.T + y @ y.T)[::-1]
    found = np.linalg.eigvalsh(made(texts).T.astype(np.float64) @ made(texts))[::-1]
    assert 0.98 * values[:12].sum() < found.sum() < values[:12].sum() * (1 + 1e-5)
    np.testing.assert_allclose(found[:2], values[:2], rtol=1e-3)


def test_the_same_seed_gives_the_same_bits() -> None:
    texts = TABLE["review"].to_pylist()
    one, two = (fit_text_features(texts, components=16, seed=3) for _ in range(2))
    assert one.terms == two.terms
    assert one.embedding.tobytes() == two.embedding.tobytes()
    assert one.digest == two.digest != fit_text_features(texts, components=16, seed=4).digest


def test_saved_and_loaded(tmp_path: Path) -> None:
    texts = TABLE["review"].to_pylist()
    made = fit_text_features(texts, components=16)
    made.save(tmp_path)
    again = TextFeatures.load(tmp_path)
    assert again is not None
    assert made(texts).tobytes() == again(texts).tobytes()
    assert TextFeatures.load(tmp_path / "nowhere") is None


SCRIPTS = ["今日は良い天気です", "هذا نص عربي", "हिन्दी में लिखा", "don't", "a😀b", "ภาษาไทย", "İstanbul", ""]


@pytest.mark.parametrize("text", [*SCRIPTS, HOSTILE, "rose rose rose tulip rose tulip", "unknown words only"])
def test_contributions_are_the_words_weights_and_sum_to_the_logit(text: str) -> None:
    """An independent route: the term's weight W E' for the class, times the text's weight of the term."""
    texts = [*TABLE["review"].to_pylist(), *SCRIPTS, *SCRIPTS]
    made = fit_text_features(texts, components=24)
    weight, bias = np.random.default_rng(0).normal(size=(3, 24)), np.array([0.3, -0.2, 0.1])
    logits = Words(made, weight, bias).logits(text)
    by_term = made.weights([text]).toarray()[0] * (made.embedding.astype(np.float64) @ weight.T).T
    for c in range(3):
        spans = made.contributions(text, weight[c])
        assert sum(span.value for span in spans) + bias[c] == pytest.approx(logits[c], abs=1e-6)
        found: dict[str, float] = {}
        for span in spans:
            word = text[span.start : span.stop].lower()
            found[word] = found.get(word, 0.0) + span.value
        for word, value in found.items():  # of a pair half, of a word with itself both halves
            shares = np.array([t.split(" ").count(word) / len(t.split(" ")) for t in made.terms])
            assert value == pytest.approx(by_term[c] @ shares, abs=1e-6)


def test_no_common_word() -> None:
    with pytest.raises(InputError, match="no word is in two of the 2 texts"):
        fit_text_features(["one two", "three four"])


# -- an audit ---------------------------------------------------------------------------------------


def quick(**changes: object) -> AuditOptions:
    return AuditOptions(**{"seed": 1, "top": 40} | changes)


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> AuditFolder:
    folder = tmp_path_factory.mktemp("texts")
    pq.write_table(TABLE.append_column("place", pa.array(["here"] * 300)), folder / "t.parquet")
    return swaypoint.audit(
        folder / "t.parquet", folder / "audit", options=quick(flip=0.04, scores=("auto",)), read=LABELLED
    )


def test_planted_flips_are_found(audited: AuditFolder) -> None:
    manifest = audited.manifest()
    assert (manifest.data.kind, manifest.data.columns) == ("texts", ("review",))
    assert manifest.model.name.startswith("TF-IDF of words and letters")
    assert manifest.model.hash == TextFeatures.load(audited.path).digest
    assert manifest.model.accuracy.validation > 0.9
    flipped = manifest.flipped
    assert flipped is not None
    within = next(row for row in flipped.found if row["inspected"] == 0.05)
    assert flipped.in_training >= 8
    assert within["auto"] >= 0.9


def test_the_same_audit_twice_is_the_same_to_the_bit(audited: AuditFolder, tmp_path: Path) -> None:
    again = swaypoint.audit(
        audited.path.parent / "t.parquet",
        tmp_path / "a",
        options=quick(flip=0.04, scores=("auto",)),
        read=LABELLED,
    )
    pd.testing.assert_frame_equal(again.scores().to_pandas(), audited.scores().to_pandas(), check_exact=True)


def test_the_report_escapes_and_marks(audited: AuditFolder, tmp_path: Path) -> None:
    whole = swaypoint.audit(
        audited.path.parent / "t.parquet",
        tmp_path / "a",
        options=quick(validation=0.0, top=300),
        read=LABELLED,
    )
    page = (whole.path / "report.html").read_text(encoding="utf-8")
    assert "<script>alert(" not in page
    assert "&gt;alert(&#39;x&#39;)&lt;/script" in re.sub(r"</?mark[^>]*>", "", page)
    assert "😀" in page
    assert "שלום" in page
    assert 'class="text" dir="auto"' in page
    assert '<mark class="for s' in page
    assert '<mark class="against s' in page
    assert "49" not in re.sub(r"</?mark[^>]*>", "", page).split("{{")[1][:20]


def test_words_speak_for_the_topic(audited: AuditFolder) -> None:
    words, classes = Words.of(audited), audited.manifest().data.classes
    assert words is not None
    direction = words.direction(classes.index("garden"), classes.index("engine"))
    (found,) = words.marked({"review": "The rose of the piston"}, direction)
    assert found.text == "The rose of the piston"
    signs = {part.text: part.sign for part in found.parts}
    assert (signs["rose"], signs["piston"]) == (1, -1)


def test_show_has_the_beginnings_on_one_line(audited: AuditFolder) -> None:
    run = CliRunner().invoke(app, ["show", str(audited.path), "--top", "5"], env={"COLUMNS": "160"})
    assert run.exit_code == 0, run.output
    items = Items(audited)
    first = items.texts(int(items.order("rank")[0]))[0].text
    assert first[:30] in run.output


def test_the_review_page(audited: AuditFolder) -> None:
    items = Items(audited)
    position = items.ids.index(items.ids[int(items.order("rank")[0])])
    site = Site(audited.path)
    page = site.page()
    html = page.get(f"/item?at={items.ids[position]}").text
    assert '<mark class="' in html
    assert 'dir="auto"' in html
    at = page.json(f"/item.json?at={items.ids[position]}")
    assert at["words"] is True
    assert "".join(part["text"] for part in at["texts"][0]["parts"]) == items.texts(position)[0].text
    assert at["values"] == [["place", "here"]]
    assert at["neighbours"][0]["values"][0][0] == "review"


def test_a_blind_review_shows_no_marks(audited: AuditFolder, tmp_path: Path) -> None:
    items = Items(audited)
    texts, sides = items.marked(0)
    assert any(part.sign for part in texts[0].parts)
    assert len(sides) == 2
    assert not any(part.sign for part in items.texts(0)[0].parts)


@pytest.mark.parametrize("kind", ["csv", "parquet", "textfolder", "labelstudio"])
def test_exports(audited: AuditFolder, kind: str, tmp_path: Path) -> None:
    suffix = {"textfolder": "", "labelstudio": ".json"}.get(kind, f".{kind}")
    out = tmp_path / f"out{suffix}"
    run = CliRunner().invoke(app, ["export", str(audited.path), "--to", kind, "--out", str(out)])
    assert run.exit_code == 0, run.output
    items = Items(audited)
    if kind == "labelstudio":
        first = json.loads(out.read_text(encoding="utf-8"))[0]["data"]
        assert first["text"] == items.texts(int(items.order("rank")[0]))[0].text
        assert first["row"] == {"place": "here"}
        assert '<Text name="input" value="$text"/>' in out.with_name("out.config.xml").read_text()
        return
    options = ReadOptions() if kind == "textfolder" else ReadOptions(label="topic", text="review")
    again = read_dataset(out, options=options)
    assert sorted(again.texts) == sorted(TABLE["review"].to_pylist())
    assert again.classes == audited.manifest().data.classes


def test_an_audit_of_a_folder_and_of_pairs(tmp_path: Path) -> None:
    folder = swaypoint.audit(text_folder(tmp_path / "texts"), tmp_path / "audit", options=quick())
    assert folder.manifest().data.kind == "texts"
    assert Items(folder).source(0).endswith(".txt")
    table = TABLE.append_column("answer", pa.array([f"<i>answer</i> {i}" for i in range(300)]))
    pq.write_table(table, tmp_path / "pairs.parquet")
    what = ["--label", "topic", "--text", "review,answer", "--out", str(tmp_path / "pairs")]
    run = CliRunner().invoke(app, ["audit", str(tmp_path / "pairs.parquet"), *what])
    assert run.exit_code == 0, run.output
    page = (tmp_path / "pairs" / "report.html").read_text(encoding="utf-8")
    assert '<p class="column">answer</p>' in page
    assert "<i>answer" not in page
    assert [one.name for one in Items(AuditFolder(tmp_path / "pairs")).texts(0)] == ["review", "answer"]


def test_real_values(tmp_path: Path) -> None:
    values = [3.0 * (row["topic"] == "garden") + len(row["review"]) / 50 for row in TABLE.to_pylist()]
    table = pa.table({"review": TABLE["review"], "price": pa.array(values, pa.float64())})
    pq.write_table(table, tmp_path / "t.parquet")
    what = ["--label", "price", "--loss", "squared_error", "--flip", "0.02", "--out", str(tmp_path / "a")]
    run = CliRunner().invoke(app, ["audit", str(tmp_path / "t.parquet"), *what])
    assert run.exit_code == 0, run.output
    assert "raises the prediction" in (tmp_path / "a" / "report.html").read_text(encoding="utf-8")


def test_a_model_of_the_users_own_needs_a_transform(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--transform"):
        swaypoint.audit(_dataset(), tmp_path / "a", options=quick(model=ModelOptions("tests.cases:net")))


def _dataset() -> Dataset:
    return read_frame(TABLE, LABELLED)


@pytest.mark.slow
def test_the_ridge_of_few_classes_is_the_one_that_predicts_left_out_texts_best(tmp_path: Path) -> None:
    table = corpus(60)
    topics = np.array(table["topic"].to_pylist())
    topics[::7] = "garden"  # wrong labels, which a small ridge would follow
    pq.write_table(pa.table({"review": table["review"], "topic": topics}), tmp_path / "a.parquet")
    options = AuditOptions(validation=0.0)
    made = swaypoint.audit(tmp_path / "a.parquet", tmp_path / "audit", options=options, read=LABELLED)
    features = TextFeatures.load(made.path)
    assert features is not None
    x = features(table["review"].to_pylist()).astype(np.float64)

    def left_out(share: float) -> float:
        """By a refit without each text; the penalty stays what it is."""
        model, total = LogisticRegression(C=1.0 / share, max_iter=5000, tol=1e-8), 0.0
        for i in range(len(x)):
            rest = np.arange(len(x)) != i
            fitted = model.fit(x[rest], topics[rest])
            total -= fitted.predict_log_proba(x[[i]])[0][fitted.classes_ == topics[i]].item()
        return total

    losses = {share: left_out(share) for share in (3.0, 1.0, 0.3, 0.1, 0.03)}
    best = min(losses, key=losses.__getitem__)
    assert 0.03 < best < 3.0
    assert made.manifest().model.l2 == pytest.approx(best / 60)


@pytest.mark.parametrize("what", ["photos", "npz", "letters"])
def test_a_column_of_text_where_there_is_no_table_is_refused(what: str, tmp_path: Path) -> None:
    source = tmp_path / "a.npz"
    if what == "npz":
        np.savez(source, features=np.eye(4), labels=[0, 1, 0, 1])
    else:
        source = tmp_path / "folder"
        for label in ("a", "b"):
            (source / label).mkdir(parents=True)
            (source / label / ("1.png" if what == "photos" else "1.txt")).write_bytes(b"x")
    with pytest.raises(InputError, match="--text body names a column of a table, and this is none") as caught:
        swaypoint.audit(source, tmp_path / "audit", read=ReadOptions(text="body"))
    assert str(source) in str(caught.value)
    assert not (tmp_path / "audit").exists()
