"""Tables as people export them, one case an input: what each column becomes, and what is said of it."""

from __future__ import annotations

import gzip
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import feather, ipc
from typer.testing import CliRunner

import swaypoint
from swaypoint.auditing.options import AuditOptions
from swaypoint.cli.main import app
from swaypoint.data.dataset import Dataset, ReadOptions
from swaypoint.data.readers import read_dataset, read_frame, read_stored
from swaypoint.errors import InputError, MissingExtra
from swaypoint.folder.audit_folder import AuditFolder
from swaypoint.models.predictor import ModelOptions

N = 120
ROWS = range(N)
LABELS = ["no" if i % 2 else "yes" for i in ROWS]
START = datetime(2023, 11, 3, 8)
MOMENTS = [START + timedelta(hours=7 * i) for i in ROWS]
WORDS = [f"the {i}th customer was not happy with part {i * i}" for i in ROWS]


def of_column(values: list[object], options: ReadOptions | None = None, name: str = "c") -> Dataset:
    """A table of that column, one clean number and a label."""
    table = pa.table({name: values, "z": [i * 0.5 for i in ROWS], "y": LABELS})
    return read_frame(table, options)


# One column: its values, the inputs it becomes, and words of what is said of it.

COLUMNS: list[tuple[str, list[object], list[str], list[str]]] = [
    ("numbers", [i * 1.5 for i in ROWS], ["c"], []),
    ("few whole numbers", [i % 4 for i in ROWS], ["c"], []),
    ("booleans", [i % 3 == 0 for i in ROWS], ["c"], []),
    ("different whole numbers", [i * i for i in ROWS], ["c"], []),
    ("categories", ["a", "b", "c"] * 40, ["c=a", "c=b", "c=c"], []),
    ("codes with zeros before", [f"0{i % 5}" for i in ROWS], [f"c=0{i}" for i in range(5)], []),
    ("texts that are all numbers", [str(i % 3) for i in ROWS], ["c=0", "c=1", "c=2"], []),
    (
        "gaps",
        [None if i % 4 == 0 else i % 9 for i in ROWS],
        ["c", "c is missing"],
        ["30 of 120", "median, 4"],
    ),
    ("not a number", [float("nan"), *[0.5 * i for i in ROWS[1:]]], ["c", "c is missing"], ["1 of 120"]),
    ("gaps in booleans", [None, *[i % 3 > 0 for i in ROWS[1:]]], ["c", "c is missing"], ["the median, 1"]),
    ("one number or none", [None if i % 5 else 3 for i in ROWS], ["c is missing"], ["3 or missing", "96"]),
    ("gaps in categories", ["a", "b", None] * 40, ["c=a", "c=b", "c=missing"], ["40 of 120", "of their own"]),
    ("nothing", [None] * N, [], ["left out", "holds no values"]),
    ("only not a number", [float("nan")] * N, [], ["left out", "holds no values"]),
    ("a constant", [7] * N, [], ["left out", "it is 7 in every row"]),
    ("a constant text", ["here"] * N, [], ["left out", "'here' in every row"]),
    ("an index", list(ROWS), [], ["left out", "an index of the rows"]),
    ("an index from 1, shuffled", [(37 * i) % N + 1 for i in ROWS], [], ["an index of the rows"]),
    ("texts all different", [f"AB-{i * 7919}" for i in ROWS], [], ["an identifier", "120 different texts"]),
    ("free text", WORDS, [], ["left out", "free text, 120 different"]),
    ("look-alikes", ["yes", "Yes", " yes", "no"] * 30, ["c= yes", "c=Yes", "c=no", "c=yes"], ["look alike"]),
    (
        "marks for gaps",
        ["?" if i % 6 == 0 else f"{i % 8}" for i in ROWS],
        ["c", "c is missing"],
        ["20 marked"],
    ),
    ("a few that are none", ["abc", *[f"{i}.5" for i in ROWS[1:]]], ["c", "c is missing"], ["'abc'"]),
    ("decimal commas", [f"{i},25" for i in ROWS], ["c"], ["decimal commas"]),
    ("thousands", [f"{1 + i},{i + 100}" for i in ROWS], ["c"], ["commas between thousands"]),
    ("points and commas", [f"{1 + i}.{i + 100},5" for i in ROWS], ["c"], ["decimal commas"]),
    ("too large", ["1e400", "?", *[f"{i}" for i in ROWS[2:]]], ["c", "c is missing"], ["2 of 120"]),
]


@pytest.mark.parametrize(("values", "names", "words"), [pytest.param(*c[1:], id=c[0]) for c in COLUMNS])
def test_a_column(values: list[object], names: list[str], words: list[str]) -> None:
    dataset = of_column(values)
    assert dataset.columns == (*names, "z")
    assert len(dataset) == N
    assert np.isfinite(dataset.inputs).all()
    assert not dataset.skipped
    said = dataset.treatments.get("c", "")
    assert bool(said) == bool(words), said
    for word in words:
        assert word in said, said
    assert set(dataset.treatments) <= {"c"}
    assert dict(dataset.describe(0))["z"] == "0"


NAMED = [
    ("Unnamed: 0", [3, 1, 0, 2] * 0 + list(ROWS), "an index of the rows"),
    ("", list(ROWS), "an index of the rows"),
    ("customer_id", [i * 7919 % 100_003 for i in ROWS], "120 different numbers"),
    ("userId", [i * 7919 % 100_003 for i in ROWS], "120 different numbers"),
    ("id", [i * 7919 % 100_003 for i in ROWS], "an identifier"),
]


@pytest.mark.parametrize(("name", "values", "words"), NAMED)
def test_a_number_that_its_name_calls_an_identifier(name: str, values: list[object], words: str) -> None:
    dataset = of_column(values, name=name)
    assert dataset.columns == ("z",)
    assert words in dataset.treatments[name]


@pytest.mark.parametrize("name", ["paid", "grid", "humid", "price", "turkey"])
def test_names_that_only_end_like_one(name: str) -> None:
    assert of_column([i * 7919 % 100_003 for i in ROWS], name=name).columns == (name, "z")


def test_a_small_index_is_known_by_its_name() -> None:
    table = pa.table({"Unnamed: 0": [0, 1, 2, 3], "x": [3, 1, 0, 2], "y": ["a", "b"] * 2})
    assert read_frame(table).columns == ("x",)


# Numbers, held to scikit-learn's


def test_gaps_are_scikit_learns() -> None:
    impute = pytest.importorskip("sklearn.impute")
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(N, 3))
    numbers[rng.random(numbers.shape) < 0.2] = np.nan
    table = pa.table({**{f"x{j}": numbers[:, j] for j in range(3)}, "y": LABELS})
    expected = impute.SimpleImputer(strategy="median", add_indicator=True).fit_transform(numbers)
    found = read_frame(table)
    assert found.columns[::2] == ("x0", "x1", "x2")
    np.testing.assert_array_equal(found.inputs[:, [0, 2, 4, 1, 3, 5]], expected.astype(np.float32))


def test_frequent_categories_are_scikit_learns() -> None:
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    values = [f"k{j:03d}" for j in range(110) for _ in range(j + 2)]  # none as often as another
    names, counts = np.unique(values, return_counts=True)
    table = pa.table({"c": values, "y": [str(i % 2) for i in range(len(values))]})
    found = read_frame(table)
    encoder = preprocessing.OneHotEncoder(max_categories=51, min_frequency=5, sparse_output=False)
    expected = encoder.fit_transform(np.array(values)[:, None])
    ours = [name.removeprefix("c=") for name in found.columns[:-1]]
    theirs = [name.removeprefix("x0_") for name in encoder.get_feature_names_out()]
    assert ours == [*theirs[:-1], "the others"]
    np.testing.assert_array_equal(found.inputs[:, :-1], expected)
    frequency = np.log10(dict(zip(names, counts, strict=True))[values[17]])
    np.testing.assert_allclose(found.inputs[17, -1], frequency, rtol=1e-6)
    assert found.columns[-1] == "c: frequency"
    assert f"{len(names)} categories: an input for each of the 50 most frequent" in found.treatments["c"]


def test_clean_tables_are_as_they_were() -> None:
    table = pa.table({"x": [1.5, 2.5, 4.0], "c": ["b", "a", "b"], "k": [True, False, True], "y": [0, 1, 0]})
    found = read_frame(table)
    assert found.columns == ("x", "c=a", "c=b", "k")
    assert found.treatments == {}
    np.testing.assert_array_equal(found.inputs, np.float32([[1.5, 0, 1, 1], [2.5, 1, 0, 0], [4, 0, 1, 1]]))


# Dates and times

FORMS = ["%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%SZ", "%d.%m.%Y %H:%M", "%m/%d/%Y %I:%M %p", "%d/%m/%Y %H:%M:%S"]


@pytest.mark.parametrize("form", [None, *FORMS])
def test_dates(form: str | None) -> None:
    values = [moment if form is None else moment.strftime(form) for moment in MOMENTS]
    found = of_column(values)
    parts = [
        "days",
        *(f"{part} ({of})" for part in ("time of year", "day of week", "time of day") for of in _OF),
    ]
    assert found.columns == (*(f"c: {part}" for part in parts), "z")
    days = [(moment - START) / timedelta(days=1) for moment in MOMENTS]
    np.testing.assert_allclose(found.inputs[:, 0], days, rtol=1e-6)
    hour = np.array([(m.hour + m.minute / 60) / 24 for m in MOMENTS])
    year = np.array(
        [
            (m - datetime(m.year, 1, 1)) / (datetime(m.year + 1, 1, 1) - datetime(m.year, 1, 1))
            for m in MOMENTS
        ]
    )
    week = np.array([m.weekday() / 7 for m in MOMENTS])
    for place, share in enumerate((year, week, hour)):
        np.testing.assert_allclose(found.inputs[:, 1 + 2 * place], np.sin(2 * np.pi * share), atol=1e-6)
        np.testing.assert_allclose(found.inputs[:, 2 + 2 * place], np.cos(2 * np.pi * share), atol=1e-6)
    assert "a date, as days since 2023-11-03" in found.treatments["c"]


_OF = ("sine", "cosine")


def test_which_of_day_and_month_stands_first_is_said() -> None:
    both = [f"{1 + i % 12:02d}/{1 + i % 12:02d}/2020" for i in ROWS]
    assert "month first" in of_column(both).treatments["c"]
    assert "day first" in of_column(["31/01/2020", *both[1:]]).treatments["c"]


def test_gaps_in_dates() -> None:
    found = of_column([None if i % 10 == 0 else MOMENTS[i].date() for i in ROWS])
    assert found.columns[-2] == "c: is missing"
    np.testing.assert_array_equal(found.inputs[:, -2], [i % 10 == 0 for i in ROWS])
    middle = sorted(MOMENTS[i].date() for i in ROWS if i % 10)[54]
    assert found.inputs[0, 0] == (middle - MOMENTS[1].date()).days


def test_times_and_durations() -> None:
    assert of_column([moment.time() for moment in MOMENTS]).columns[:2] == (
        "c: time of day (sine)",
        "c: time of day (cosine)",
    )
    found = of_column([timedelta(minutes=i) for i in ROWS])
    np.testing.assert_array_equal(found.inputs[:, 0], [60.0 * i for i in ROWS])
    assert found.treatments["c"] == "a duration, in seconds"
    assert "the same time in every row" in of_column([START] * N).treatments["c"]


# Labels


def test_labels_that_look_alike_are_reported() -> None:
    table = pa.table({"x": [0.5 * i for i in ROWS], "y": ["yes", "Yes", "no"] * 40})
    found = read_frame(table)
    assert found.classes == ("Yes", "no", "yes")
    assert found.treatments == {"y": "the labels; 'Yes' and 'yes' look alike"}


def test_a_target_with_decimal_commas(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x;y\n" + "".join(f"{i * i};{i},5\n" for i in ROWS))
    found = read_dataset(tmp_path / "a.csv", options=ReadOptions(regression=True))
    np.testing.assert_array_equal(found.labels, [i + 0.5 for i in ROWS])
    assert found.treatments["y"] == "the target; numbers with decimal commas"


def test_what_is_missing_of_skipped_rows_counts_not() -> None:
    table = pa.table({"x": [1.0, None, 3.0, 4.0], "c": ["a", "b", "a", "c"], "y": [0, None, 1, 0]})
    found = read_frame(table, ReadOptions(skip_bad=True))
    assert found.columns == ("x", "c=a", "c=c")
    assert found.treatments == {}


# Files: every kind gives the same dataset

RECORDS = [
    {"x": i * 1.5, "k": i % 3, "c": "ab"[i % 2], "when": MOMENTS[i], "label": LABELS[i]} for i in range(40)
]
TABLE = pa.Table.from_pylist(RECORDS)
TEXTS = [{**record, "when": record["when"].isoformat(" ")} for record in RECORDS]


def lines(separator: str = ",", *, comma: bool = False) -> str:
    def cell(value: object) -> str:
        return str(value).replace(".", ",") if comma and isinstance(value, float) else str(value)

    rows = [separator.join(cell(value) for value in record.values()) for record in TEXTS]
    return "\n".join([separator.join(TEXTS[0]), *rows]) + "\n"


def stream(path: Path) -> None:
    with ipc.new_stream(path, TABLE.schema) as writer:
        writer.write_table(TABLE)


def sqlite(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE notes (a TEXT)")
        connection.execute('CREATE TABLE "the points" (x REAL, k INTEGER, c TEXT, "when" TEXT, label TEXT)')
        rows = [tuple(record.values()) for record in TEXTS]
        connection.executemany('INSERT INTO "the points" VALUES (?, ?, ?, ?, ?)', rows)


def spreadsheet(path: Path) -> None:
    pytest.importorskip("python_calamine")
    book = pytest.importorskip("xlsxwriter").Workbook(str(path), {"default_date_format": "yyyy-mm-dd hh:mm"})
    sheet = book.add_worksheet("points")
    book.add_worksheet("notes")
    for place, name in enumerate(RECORDS[0]):
        sheet.write(0, place, name)
        for row, record in enumerate(RECORDS, start=1):
            sheet.write(row, place, record[name])
    book.close()


def duck(path: Path) -> None:
    points = TABLE  # found by its name
    with closing(pytest.importorskip("duckdb").connect(str(path))) as connection:
        connection.execute("CREATE TABLE points AS SELECT * FROM points")
    assert points is TABLE


def text(content: str, encoding: str = "utf-8") -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content.encode(encoding))


FILES: list[tuple[str, Callable[[Path], object], str]] = [
    ("a.csv", text(lines()), ""),
    ("blanks.csv", text(lines().replace("x,k,c", "x, k , c")), ""),
    ("mark.csv", text(lines(), "utf-8-sig"), ""),
    ("windows.csv", text(lines().replace("\n", "\r\n")), ""),
    ("semicolons.csv", text(lines(";")), "semicolons between the fields"),
    ("commas.csv", text(lines(";", comma=True)), "semicolons between the fields"),
    ("bars.csv", text(lines("|")), "bars between the fields"),
    ("tabs.csv", text(lines("\t")), "tabs between the fields"),
    ("a.tsv", text(lines("\t")), ""),
    ("excel.csv", text(lines("\t"), "utf-16"), "tabs between the fields, taken for utf-16"),
    ("a.csv.gz", lambda path: path.write_bytes(gzip.compress(lines().encode())), ""),
    ("a.jsonl", text("\n".join(json.dumps(record) for record in TEXTS)), ""),
    ("a.ndjson", text("\n".join(json.dumps(record) for record in TEXTS)), ""),
    ("a.json", text(json.dumps(TEXTS)), ""),
    ("columns.json", text(json.dumps({name: [r[name] for r in TEXTS] for name in TEXTS[0]})), ""),
    ("a.feather", lambda path: feather.write_feather(TABLE, path), ""),
    ("a.arrow", stream, ""),
    ("a.parquet", lambda path: pq.write_table(TABLE, path), ""),
    ("a.sqlite", sqlite, "the table 'the points', one of 2"),
    ("a.db", sqlite, "the table 'the points', one of 2"),
    ("a.xlsx", spreadsheet, "the sheet 'points', one of 2"),
    ("a.duckdb", duck, ""),
]


@pytest.mark.parametrize(("name", "write", "said"), [pytest.param(*case, id=case[0]) for case in FILES])
def test_a_file(tmp_path: Path, name: str, write: Callable[[Path], object], said: str) -> None:
    write(tmp_path / name)
    found = read_dataset(tmp_path / name)
    assert found.fingerprint == read_frame(TABLE).fingerprint
    assert found.columns == read_frame(TABLE).columns
    assert found.treatments.get("(the file)", "").startswith(said)
    assert bool(found.treatments.get("(the file)")) == bool(said)
    stored = read_stored(tmp_path / name)
    assert stored.table.num_rows == len(found)
    assert b"swaypoint.read" not in (stored.table.schema.metadata or {})
    limited = read_dataset(tmp_path / name, options=ReadOptions(limit=30))
    assert len(limited) == 30


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_a_frame(library: str) -> None:
    frame = TABLE if library == "pyarrow" else pytest.importorskip(library).DataFrame(RECORDS)
    assert read_frame(frame).fingerprint == read_frame(TABLE).fingerprint


def test_categoricals_of_pandas_and_its_index() -> None:
    frame = pytest.importorskip("pandas").DataFrame(RECORDS)
    frame = frame.astype({"c": "category", "label": "category"}).sample(frac=1, random_state=0).sort_index()
    assert read_frame(frame.set_axis(range(900, 940))).fingerprint == read_frame(TABLE).fingerprint


WRITTEN = [
    ("cp1252", "café,naïve,Zürich"),
    ("cp1252", "Málaga,Besançon,Köln"),
    ("cp1250", "Łódź,Kraków,Wrocław"),
    ("cp1251", "Москва,Петербург,Уфа"),
    ("shift_jis", "東京,大阪,京都市"),
    ("utf-8", "Łódź,Москва,東京"),
    ("utf-16", "Łódź,Москва,東京"),
]


@pytest.mark.parametrize(("encoding", "words"), WRITTEN)
def test_encodings(tmp_path: Path, encoding: str, words: str) -> None:
    cities = words.split(",")
    rows = "".join(f"{cities[i % 3]},{i},{LABELS[i]}\n" for i in range(60))
    (tmp_path / "a.csv").write_bytes(f"city,x,{'y'}\n{rows}".encode(encoding))
    found = read_dataset(tmp_path / "a.csv", options=ReadOptions(label="y"))
    assert set(found.columns) == {f"city={city}" for city in cities} | ({"x"} & set(found.columns))
    said = found.treatments.get("(the file)", "")
    assert said == ("" if encoding == "utf-8" else f"taken for {encoding}, as it is not UTF-8")


def test_quotes_that_are_none(tmp_path: Path) -> None:
    rows = "".join(f'{i % 3}" pipe,{i * 0.5},{LABELS[i % N]}\n' for i in range(20_000))
    (tmp_path / "a.csv").write_text(f"c,x,y\n{rows}")
    found = read_dataset(tmp_path / "a.csv")
    assert len(found) == 20_000
    assert found.columns == (*(f'c={i}" pipe' for i in range(3)), "x")


def test_a_quote_that_never_ends(tmp_path: Path) -> None:
    rows = "".join(f"{i},a;b|c,{LABELS[i % N]}\n" for i in range(20_000))
    (tmp_path / "a.csv").write_text(f'x,c,y\n1,"a,yes\n{rows}')
    with pytest.raises(InputError, match=r"a\.csv: ") as caught:
        read_dataset(tmp_path / "a.csv")
    assert "\n" not in str(caught.value)


def test_texts_with_separators_and_line_ends(tmp_path: Path) -> None:
    rows = "".join(f'"part {i % 3}; of\na thing",{i * 0.5},{LABELS[i]}\n' for i in range(60))
    (tmp_path / "a.csv").write_text(f"c,x,y\n{rows}")
    found = read_dataset(tmp_path / "a.csv")
    assert len(found) == 60
    assert found.columns == (*(f"c=part {i}; of\na thing" for i in range(3)), "x")


# What is refused, in one sentence


def book(path: Path) -> None:
    pytest.importorskip("python_calamine")
    path.write_bytes(b"PK\x03\x04 no book")


REFUSED: list[tuple[str, Callable[[Path], object], list[str]]] = [
    ("a.jsonl", text('{"x": 1, "y": "a"}\n{"x": "b", "y": "b"}\n'), ["a.jsonl", "x", "one type"]),
    ("b.jsonl", text(""), ["it is empty"]),
    ("a.json", text("[1, 2]"), ["expected one JSON object a line"]),
    ("b.json", text('{"x": '), ["b.json", "not one JSON object a line"]),
    ("a.feather", text("nothing"), ["not an Arrow file", "whole"]),
    ("a.sqlite", text("nothing at all"), ["not an SQLite database", "whole"]),
    ("a.db", text("nothing at all"), ["unknown kind of file .db", ".sqlite"]),
    ("empty.sqlite", text(""), ["no tables"]),
    ("a.csv.gz", text("x,y\n1,2\n"), ["a.csv.gz", "not a table"]),
    ("a.xlsx", book, ["not a spreadsheet", "save it again"]),
    (
        "a.csv",
        text("x,y\n1,a\n1,b\n1,a\n"),
        ["no column beside the label can be used", "'x': left out: it is 1"],
    ),
    ("ids.csv", text("id,y\n" + "".join(f"x{i},{i % 2}\n" for i in ROWS)), ["'id'", "an identifier"]),
]


@pytest.mark.parametrize(("name", "write", "words"), [pytest.param(*case, id=case[0]) for case in REFUSED])
def test_refused(tmp_path: Path, name: str, write: Callable[[Path], object], words: list[str]) -> None:
    write(tmp_path / name)
    with pytest.raises(InputError) as caught:
        read_dataset(tmp_path / name)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message


def test_a_database_whose_tables_have_no_such_column(tmp_path: Path) -> None:
    sqlite(tmp_path / "a.sqlite")
    with pytest.raises(InputError, match=r"none of its tables \(notes, the points\) has a column 'outcome'"):
        read_dataset(tmp_path / "a.sqlite", options=ReadOptions(label="outcome"))


@pytest.mark.parametrize(
    ("name", "module", "extra", "content"),
    [
        ("a.xlsx", "python_calamine", "tables", b"PK"),
        ("a.csv", "charset_normalizer", "tables", "x,y\né,a\ne,b\n".encode("latin-1")),
        ("a.duckdb", "duckdb", "duckdb", b"DUCK"),
    ],
)
def test_what_is_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, module: str, extra: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(MissingExtra, match=rf"pip install 'swaypoint\[{extra}\]'"):
        read_dataset(tmp_path / name)


@pytest.mark.parametrize("thing", [3, [1, 2], np.zeros((3, 3)), None])
def test_what_is_no_source(thing: object) -> None:
    with pytest.raises(InputError, match="is no source of an audit; expected a path, a name, or a frame"):
        swaypoint.audit(thing)


# The whole way


def mixed(path: Path) -> Path:
    header = "Unnamed: 0;customer_id;joined;age;city;member;note;plan;score;outcome"
    cities = np.random.default_rng(0).integers(0, 9, N)
    rows = [
        f"{i};{i * 7919 % 100_003};{MOMENTS[i]:%d.%m.%Y};{'' if i % 7 == 0 else 20 + i % 50};"
        f"Köln {cities[i]};{('yes', 'Yes', 'no')[i % 3]};{WORDS[i]};gold;{i % 11},5;{LABELS[i]}"
        for i in ROWS
    ]
    path.write_bytes("\n".join([header, *rows]).encode("cp1252"))
    return path


def test_one_command_and_what_it_says(tmp_path: Path) -> None:
    source, out = mixed(tmp_path / "mixed.csv"), tmp_path / "out"
    run = CliRunner().invoke(
        app, ["audit", str(source), "--label", "outcome", "--epochs", "1", "--out", str(out)]
    )
    assert run.exit_code == 0, run.output
    manifest = AuditFolder(out).manifest()
    treated = manifest.data.treatments
    assert treated is not None
    assert manifest.data.points == N
    assert not manifest.data.skipped
    expected = {
        "(the file)": "semicolons between the fields, taken for cp1252, as it is not UTF-8",
        "Unnamed: 0": "left out: an index of the rows",
        "customer_id": "left out: an identifier, 120 different numbers in 120 rows",
        "member": "'Yes' and 'yes' look alike",
        "note": "left out: free text, 120 different in 120 rows; to audit the texts: --text note",
        "plan": "left out: it is 'gold' in every row",
        "score": "numbers with decimal commas",
    }
    assert {name: treated[name] for name in expected} == expected
    assert set(treated) == {*expected, "joined", "age"}
    shown = CliRunner().invoke(app, ["show", str(out)], env={"COLUMNS": "200"}).output
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "What was done to the columns" in page
    for name, said in expected.items():
        assert f"{name}: {said}"[:90] in shown
        assert name in page
    assert "left out: free text, 120 different in 120 rows" in page


def test_an_older_manifest_without_treatments_is_read(tmp_path: Path) -> None:
    folder = swaypoint.audit(TABLE, tmp_path / "out", options=AuditOptions(model=ModelOptions(epochs=1)))
    assert set(folder.manifest().data.treatments or {}) == {"when"}
    path = folder.path / "manifest.json"
    stored = json.loads(path.read_text())
    del stored["data"]["treatments"]
    path.write_text(json.dumps(stored))
    assert folder.manifest().data.treatments is None
    assert folder.manifest().data.name == "frame"
