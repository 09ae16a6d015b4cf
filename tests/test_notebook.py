"""What a notebook shows: the top of an audit, and findings; HTML without scripts, all data in it escaped."""

from __future__ import annotations

import base64
import re
import sys
from html import unescape
from pathlib import Path

import numpy as np

import swaypoint
from swaypoint.findings import Finding, Found, keep
from swaypoint.findings import base as registered
from swaypoint.findings.base import Said
from swaypoint.folder.audit_folder import AuditFolder
from swaypoint.models.predictor import ModelOptions
from swaypoint.report.findings import OPEN
from swaypoint.report.notebook import FIRST

HOSTILE = "<script>alert('&')</script>"


def finding(name: str, severity: str = "high", records: int = 3) -> Finding:
    sentence, remedy = f"much of {name} is alike", f"wash {name}"
    return Finding(name, sentence, severity, {"share": 0.5}, np.arange(records), remedy)


def found(*findings: Finding, note: str | None = None) -> Found:
    return Found.of({"stains": Said(findings, note)})


def words(html: str) -> str:
    """What is read of it, spaces as one."""
    html = re.sub(r"<style>.*?</style>|</?(b|small|code)\b[^>]*>", "", html, flags=re.S)
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", html)).split())


def elements(html: str) -> set[str]:
    return set(re.findall(r"<([a-z]+)", html))


def audited(table: dict[str, list], out: Path, **read: str) -> AuditFolder:
    import pyarrow as pa

    options = swaypoint.AuditOptions(model=ModelOptions(epochs=2), top=30)
    return swaypoint.audit(pa.table(table), out, options=options, read=swaypoint.ReadOptions(**read))


def test_the_first_pictures_of_the_ranking(folder):
    audit = AuditFolder(folder)
    html = audit._repr_html_()
    examples = audit.examples().to_pylist()[:FIRST]
    shown = [base64.b64decode(one) for one in re.findall(r'src="data:image/png;base64,([^"]*)"', html)]
    assert shown == [one["picture"] for one in examples]
    scores, names = audit.scores().to_pandas().set_index("index"), audit.manifest().data.classes
    for one in examples:
        label = names[int(scores.loc[one["index"], "label"])]
        assert f"#{one['rank']} index {one['index']} labelled {label}," in words(html)
    assert elements(html) <= {
        *("div", "style", "p", "b", "small", "article", "header", "span", "img", "ul", "li", "code"),
        *("details", "summary"),
    }
    assert not re.search(r"\bon[a-z]+=|javascript:|https?:", html)


def test_rows_are_shown_by_their_first_columns_and_escaped(tmp_path):
    rng = np.random.default_rng(0)
    columns = {f"<b>{i}": rng.normal(size=60).round(3).tolist() for i in range(7)}
    label = [HOSTILE if value > 0 else "b & c" for value in columns["<b>0"]]
    audit = audited({**columns, "label": label}, tmp_path / "audit", label="label")
    html = audit._repr_html_()
    assert "<script" not in html
    assert "<b>0" not in html
    assert HOSTILE in words(html)
    first = audit.examples().to_pylist()[0]
    for name, value in list(audit.row(first["row"]).items())[:5]:
        assert f"{name} {value}" in words(html)
    assert "<b>5" not in words(html.partition("</article>")[0])


def test_texts_are_shown_up_to_a_length_and_escaped(tmp_path):
    rng = np.random.default_rng(0)
    sets = [["good", "fine", "warm", "bright"], ["bad", "dull", "cold", "slow"]]
    texts = [HOSTILE + " " + " ".join(rng.choice(sets[i % 2], 12)) for i in range(80)]
    texts[7] = texts[7] + " good and bad" * 100  # of the other class as well: at the top
    audit = audited(
        {"text": texts, "label": [("up", "down")[i % 2] for i in range(80)]},
        tmp_path / "audit",
        text="text",
        label="label",
    )
    html = audit._repr_html_()
    assert "<script" not in html
    shown = [
        unescape(re.sub(r"<[^>]*>", "", part))
        for part in re.findall(r'<div class="text"[^>]*>(.*?)</div>', html)
    ]
    expected = []
    for example in audit.examples().to_pylist()[:FIRST]:
        text = texts[example["index"]]
        rest = f" … {len(text) - 400:,} more characters" if len(text) > 400 else ""
        expected.append(text[:400] + rest)
    assert shown == expected
    assert max(map(len, expected)) > 400


def test_an_audit_has_its_findings_in_brief(folder, monkeypatch):
    every = [finding(f"{HOSTILE} {i}", ("low", "high")[i % 2], i + 1) for i in range(OPEN + 3)]
    monkeypatch.setattr(registered, "findings", {"stains": lambda _: every})
    keep(AuditFolder(folder))
    html = AuditFolder(folder)._repr_html_()
    assert "<script" not in html
    assert f"high · {HOSTILE} 1, 2 records: much of {HOSTILE} 1 is alike." in words(html)
    assert "1 record:" in words(html)
    assert "wash" not in words(html)
    assert "3 more: 3 low" in words(html)


def test_findings_are_a_list_with_what_to_do():
    html = found(finding("a", "low"), finding(HOSTILE, records=1), note="stains: needs soap")._repr_html_()
    assert words(html) == (
        f"high · {HOSTILE}, 1 record: much of {HOSTILE} is alike. To do: wash {HOSTILE}."
        " low · a, 3 records: much of a is alike. To do: wash a. Not looked for: stains: needs soap"
    )
    assert "<script" not in html
    assert words(found()._repr_html_()).startswith("Nothing was found. Looked for were stains:")


def test_without_an_audit_or_jinja_a_notebook_shows_the_text(folder, tmp_path, monkeypatch):
    assert AuditFolder(tmp_path)._repr_html_() is None
    monkeypatch.setitem(sys.modules, "jinja2", None)
    assert AuditFolder(folder)._repr_html_() is None
    assert found(finding("a"))._repr_html_() is None
