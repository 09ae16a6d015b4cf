"""Label Studio: tasks to import there, with our suggestion as a prediction, and its annotations back."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from swaypoint.errors import InputError, reading
from swaypoint.review.cleaning.checks import differs
from swaypoint.review.cleaning.claims import Claim, actor, decided, decision, point, read_text
from swaypoint.review.cleaning.exporters import Exporter, exporters
from swaypoint.review.cleaning.records import Records
from swaypoint.review.items import Items
from swaypoint.review.log.verdicts import VERDICTS

_TYPES = {".png": "png", ".jpg": "jpeg", ".gif": "gif", ".bmp": "bmp", ".webp": "webp", ".tif": "tiff"}
_SHORT = 20  # classes: more are a list to search, not buttons


def write_tasks(records: Records, path: Path) -> None:
    """The ranked points, the most influential first, and beside them ``NAME.config.xml``, the
    labelling configuration.

    Pictures of a folder are addresses of Label Studio's local files, their document root the folder's
    parent; others are in the file itself, encoded. Values instead of classes are a number to type.
    """
    with path.open("w", encoding="utf-8") as file:
        file.write("[")
        for number, row in enumerate(records.ranked.tolist()):
            file.write(",\n" if number else "\n")
            file.write(json.dumps(_task(records, row), ensure_ascii=False))
        file.write("\n]\n")
    path.with_name(f"{path.stem}.config.xml").write_text(_configuration(records), encoding="utf-8")


def _task(records: Records, row: int) -> dict[str, Any]:
    items, position = records.items, int(records.positions[row])
    label, probability = records.suggestion(row)
    ruling = records.ruling(row)
    assert ruling is not None
    value: dict[str, Any] = {"type": "choices", "value": {"choices": [label]}}
    if not items.classes:
        value = {"type": "number", "value": {"number": float(label)}} if label is not None else {}
    result = {"from_name": "label", "to_name": "input", **value}
    score = {} if probability is None else {"score": probability}
    return {
        "data": {
            "id": items.ids[position],
            "given_label": records.given(row),
            "influence": float(items.scores["cook"][position]),
            "influence_rank": int(items.scores["rank"][position]),
            "split": items.split(position),
            "verdict": ruling.verdict,
            **_shown(records, row, position),
        },
        "predictions": [{"model_version": "swaypoint", **score, "result": [result]}],
    }


def _shown(records: Records, row: int, position: int) -> dict[str, Any]:
    pictures = records.source.pictures
    if texts := records.items.texts(position):
        columns = {name: one.text for name, one in zip(_texts(records), texts, strict=True)}
        others = records.items.others(position)
        return columns | ({"row": others} if others else {})
    if pictures is None:
        return {"row": records.items.row(position)}
    file = pictures.file(row)
    if file is not None:
        root = Path(records.source.path).name
        return {"image": f"/data/local-files/?d={quote(f'{root}/{records.source.place(row)}')}"}
    kind = _TYPES[pictures.suffix(row)]
    return {"image": f"data:image/{kind};base64,{base64.b64encode(pictures.encoded(row)).decode()}"}


def _texts(records: Records) -> list[str]:
    """Names in a task of the columns of texts, which a labelling configuration can name."""
    columns = records.items.manifest.data.columns if records.items.kind == "texts" else ()
    return ["text", *(f"text_{number}" for number in range(2, len(columns) + 1))][: len(columns)]


def _input(records: Records) -> list[str]:
    """The controls that show a point; the first is what labels are given to."""
    if texts := _texts(records):
        controls = ["input", *texts[1:]]
        heads = [f"  <Header value={quoteattr(name)}/>" for name in records.items.manifest.data.columns]
        shown = [f'  <Text name="{c}" value="${t}"/>' for c, t in zip(controls, texts, strict=True)]
        return (
            shown if len(shown) == 1 else [line for pair in zip(heads, shown, strict=True) for line in pair]
        )
    if records.source.pictures is None:
        return ['  <Table name="input" value="$row"/>']
    return ['  <Image name="input" value="$image"/>']


def _configuration(records: Records) -> str:
    classes = records.items.classes
    layout = "inline" if len(classes) <= _SHORT else "select"
    labels = [
        f'  <Choices name="label" toName="input" choice="single" layout="{layout}">',
        *(f"    <Choice value={quoteattr(name)}/>" for name in classes),
        "  </Choices>",
    ]
    verdicts = (verdict for verdict in VERDICTS if verdict != "skip")
    lines = [
        "<View>",
        '  <Header value="Given label: $given_label"/>',
        *_input(records),
        *(labels if classes else ['  <Number name="label" toName="input"/>']),
        '  <Choices name="verdict" toName="input" choice="single" layout="inline">',
        *(f'    <Choice value="{verdict}"/>' for verdict in verdicts),
        "  </Choices>",
        '  <TextArea name="note" toName="input" maxSubmissions="1" placeholder="Note"/>',
        "</View>",
    ]
    return "\n".join(lines) + "\n"


exporters.register("labelstudio", Exporter(write_tasks))


# -- back -----------------------------------------------------------------------------------------


def read_annotations(path: Path, items: Items, reviewer: str | None) -> list[Claim]:
    """What annotators said, of Label Studio's export as JSON (not JSON-MIN), the earlier first.

    A task that an annotator skipped (``was_cancelled``), or submitted empty, is looked at and undecided.
    The given label chosen without a verdict is ``correct``.

    Args:
        reviewer: who it was; default: the annotators' addresses or numbers.

    Raises:
        InputError: not such a file, or an annotation that makes no sense; the task is named.
    """
    with reading(path, "JSON", "export as JSON from Label Studio"):
        tasks = json.loads(read_text(path))
    if not isinstance(tasks, list):
        raise InputError(f"{path} holds no list of tasks; export as JSON from Label Studio")
    claims = []
    for number, task in enumerate(tasks, 1):
        where = f"{path}, task {number}"
        item, annotations = _annotations(task, where)
        position = point(items, item, where)
        for annotation in sorted(annotations, key=_time):
            claims.append(_claim(items, position, annotation, reviewer, where))
    return claims


def _annotations(task: Any, where: str) -> tuple[str, list[dict[str, Any]]]:
    data = task.get("data") if isinstance(task, dict) else None
    found = task.get("annotations") if isinstance(task, dict) else None
    if not isinstance(data, dict) or not isinstance(found, list):
        raise InputError(f"{where}: no data and annotations; export as JSON, not JSON-MIN, from Label Studio")
    if not isinstance(data.get("id"), str):
        raise InputError(f"{where}: its data has no id; import tasks that swaypoint export wrote")
    if not all(isinstance(a, dict) and isinstance(a.get("result"), list) for a in found):
        raise InputError(f"{where}: an annotation without a result; export as JSON from Label Studio again")
    return data["id"], found


def _time(annotation: dict[str, Any]) -> str:
    return str(annotation.get("updated_at") or annotation.get("created_at") or "")


def _claim(
    items: Items, position: int, annotation: dict[str, Any], reviewer: str | None, where: str
) -> Claim:
    by = actor(reviewer, _annotator(annotation.get("completed_by")), where=where)
    said = {name: _value(annotation["result"], name, where) for name in ("label", "verdict", "note")}
    note = said["note"] or ""
    found = None
    if not annotation.get("was_cancelled"):
        label = said["label"]
        same = label is not None and not differs(items, position, label)
        chosen = said["verdict"] or ("correct" if same else None)
        found = decided(items, position, said["label"], chosen, note, where)
    found = found or decision("skip", None, note, where)
    return Claim(items.ids[position], by, found, _time(annotation))


def _annotator(by: Any) -> str | None:
    """A number, or, in some versions, a record of the user."""
    if isinstance(by, dict):
        by = by.get("email") or by.get("id")
    return f"annotator {by}" if isinstance(by, int) else by if isinstance(by, str) else None


def _value(result: list[Any], name: str, where: str) -> str | None:
    """The only choice, or the text, of the control ``name``."""
    for region in result:
        if not isinstance(region, dict) or region.get("from_name") != name:
            continue
        value = region.get("value")
        texts = (value.get("choices") or value.get("text")) if isinstance(value, dict) else None
        if isinstance(value, dict) and isinstance(value.get("number"), int | float):
            texts = repr(float(value["number"]))
        texts = [texts] if isinstance(texts, str) else texts
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise InputError(f"{where}: its {name} is no choice and no text; use the configuration exported")
        if name == "note":
            return "\n".join(texts)
        if len(texts) != 1:
            raise InputError(f"{where}: {len(texts)} choices of {name}; expected one")
        return texts[0]
    return None
