"""The source's own pictures in the review page, and only those that were audited."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageFile

import swaypoint
from review_audit import SEEN, SIZE, encoded, photograph
from review_site import Site
from swaypoint.auditing.options import AuditOptions, Scale
from swaypoint.data.dataset import ReadOptions
from swaypoint.folder.audit_folder import AuditFolder
from swaypoint.review.items import Items
from swaypoint.review.page import originals
from swaypoint.review.page.originals import Originals, shown


@pytest.fixture(params=["folder-audit", "table-audit"])
def items(request, photos) -> Items:
    return Items(AuditFolder(photos / request.param))


@pytest.fixture
def of_folder(photos) -> Items:
    return Items(AuditFolder(photos / "folder-audit"))


def whole(items: Items, position: int) -> Image.Image | None:
    return Originals(items).picture(position, SEEN)


def test_every_picture_is_the_sources_own(items, photos):
    stored = pq.read_table(photos / "photos.parquet")["image"].to_pylist()
    for p in range(len(items)):
        # PIL alone: what the file shows, turned as its camera says.
        opened = Image.open(io.BytesIO(stored[int(items.scores["index"][p])]["bytes"]))
        expected = opened.convert("RGB")
        if opened.getexif().get(0x0112) == 6:
            expected = expected.transpose(Image.Transpose.ROTATE_270)
        np.testing.assert_array_equal(np.asarray(whole(items, p)), np.asarray(expected))


def gone(file: Path) -> None:
    file.unlink()


def changed(file: Path) -> None:
    file.write_bytes(encoded(photograph(np.random.default_rng(1)), "JPEG"))


def cut_short(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:300])


def a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def a_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def linked_elsewhere(file: Path) -> None:
    """The very same bytes, but outside of the source."""
    outside = file.parents[2] / "outside.jpg"
    shutil.move(file, outside)
    file.symlink_to(outside)


def other_files_link(file: Path) -> None:
    file.unlink()
    file.symlink_to("/etc/passwd")


def a_loop(file: Path) -> None:
    file.unlink()
    file.symlink_to(file)


def unreadable_kind(file: Path) -> None:
    file.write_text("<svg xmlns='http://www.w3.org/2000/svg' width='100' height='100'/>")


@pytest.mark.parametrize(
    "harm",
    [gone, changed, cut_short, a_folder, a_pipe, linked_elsewhere, other_files_link, a_loop, unreadable_kind],
)
def test_what_is_no_longer_the_point_is_not_shown(of_folder, photos, harm):
    harm(photos / "photos" / of_folder.source(0))
    assert whole(of_folder, 0) is None
    assert whole(of_folder, 1) is not None  # the others still are


def test_a_file_moved_within_the_source_is_not_another_point(of_folder, photos):
    first, second = (photos / "photos" / of_folder.source(p) for p in (0, 1))
    shutil.copy(second, first)
    assert whole(of_folder, 0) is None


def test_a_source_that_moved_and_came_back(items, photos):
    source = Path(items.manifest.data.origin["path"])
    source.rename(photos / "elsewhere")
    found = Originals(items)
    assert found.picture(0, SEEN) is None
    (photos / "elsewhere").rename(source)
    assert found.picture(0, SEEN) is not None


def test_a_changed_table_is_not_shown(photos):
    items = Items(AuditFolder(photos / "table-audit"))
    table = pq.read_table(photos / "photos.parquet")
    pq.write_table(table.take(list(range(len(table)))[::-1]), photos / "photos.parquet")
    assert whole(items, 0) is None
    (photos / "photos.parquet").write_bytes(b"PAR1, but no more")
    assert whole(items, 0) is None
    pq.write_table(table.slice(0, 1), photos / "photos.parquet")
    assert whole(items, len(items) - 1) is None


@pytest.mark.parametrize("name", ["../outside.jpg", "/etc/passwd", "cat/../../outside.jpg", "cat\0.jpg", "."])
def test_a_name_that_leads_out_of_the_source_is_not_followed(of_folder, photos, name, monkeypatch):
    shutil.copy(photos / "photos" / of_folder.source(0), photos / "outside.jpg")
    monkeypatch.setattr(of_folder, "source", lambda position: name)
    monkeypatch.setattr(originals, "item_id", lambda *_: of_folder.ids[0])  # even where the content fits
    assert whole(of_folder, 0) is None


def test_a_bomb_is_not_decoded(of_folder, photos, monkeypatch):
    bomb = encoded(Image.new("1", (20_000, 20_000)))
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
    (photos / "photos" / of_folder.source(0)).write_bytes(bomb)
    assert len(bomb) < 100_000
    assert whole(of_folder, 0) is None


def test_a_huge_file_is_not_read_whole(of_folder, photos):
    with (photos / "photos" / of_folder.source(0)).open("ab") as file:
        file.truncate(originals.MOST_BYTES + 1)
    assert whole(of_folder, 0) is None


def test_what_the_model_saw_whole_needs_no_original(of_folder):
    assert Originals(of_folder).picture(0, max(SIZE)) is None


def test_large_pictures_are_shown_smaller():
    content, kind = shown(Image.new("RGB", (5000, 1000)), 2048)
    assert kind == "image/jpeg"
    assert Image.open(io.BytesIO(content)).size == (2048, 410)


def test_the_page_serves_the_original_and_falls_back_in_silence(photos):
    site = Site(photos / "folder-audit")
    page, item = site.page(), site.items.ids[1]
    answer = page.get(f"/picture/{item}")
    assert sorted(Image.open(io.BytesIO(answer.content)).size) == sorted(SIZE)
    assert answer.headers["content-type"] == "image/png"
    assert "immutable" in answer.headers["cache-control"]
    assert answer.content != (photos / "photos" / site.items.source(1)).read_bytes()  # encoded anew
    (photos / "photos" / site.items.source(1)).unlink()
    answer = page.get(f"/picture/{item}")
    assert Image.open(io.BytesIO(answer.content)).size == (SEEN, SEEN)
    assert "immutable" not in answer.headers["cache-control"]  # it may come back
    assert f"as the model saw it, {SEEN} × {SEEN}" in page.get(f"/item?at={item}").text
    site.store.close()


@pytest.mark.parametrize("path", ["/picture/{name}", "/picture/..%2F{name}", "/picture/%2Fetc%2Fpasswd"])
def test_a_name_is_no_address(photos, path):
    site = Site(photos / "folder-audit")
    answer = site.page().get(path.format(name=site.items.source(0)))
    assert answer.status_code == 404
    site.store.close()


def test_audits_whose_source_is_not_known(photos):
    manifest = photos / "folder-audit" / "manifest.json"
    content = json.loads(manifest.read_text())
    content["data"]["origin"] = None
    manifest.write_text(json.dumps(content))
    assert whole(Items(AuditFolder(photos / "folder-audit")), 0) is None


@pytest.fixture(scope="module")
def streamed_pictures(tmp_path_factory) -> Path:
    """The audit of features beside the pictures that they were made of, larger than may be held."""
    root, generator = tmp_path_factory.mktemp("streamed"), np.random.default_rng(0)
    rows = [
        {
            "features": (generator.standard_normal(3) + label).astype(np.float32).tolist(),
            "picture": encoded(Image.new("RGB", (SEEN, SEEN), (10 * i, 0, 0))),
            "label": label,
        }
        for i, label in enumerate([0, 1] * 12)
    ]
    pq.write_table(pa.Table.from_pylist(rows), root / "features.parquet")
    read = ReadOptions(features="features")
    options = AuditOptions(validation=0.0)
    scale = Scale(max_memory=0.0)
    return swaypoint.audit(
        root / "features.parquet", root / "audit", options=options, read=read, scale=scale
    ).path


def test_the_page_serves_the_pictures_that_features_were_made_of(streamed_pictures):
    site = Site(streamed_pictures)
    page, ids = site.page(), site.items.ids
    assert site.items.kind == "features"
    expected = [(10 * int(index), 0, 0) for index in site.items.scores["index"]]
    asked = re.findall(r'href="(/sheet/[^"]+)"', page.get("/gallery").text)
    assert asked
    assert [page.get(address).status_code for address in asked] == [200] * len(asked)
    for path in ("picture", "thumb"):
        answer = page.get(f"/{path}/{ids[7]}")
        assert answer.status_code == 200, path
        drawn = Image.open(io.BytesIO(answer.content))
        assert (drawn.size, drawn.getpixel((0, 0))) == ((SEEN, SEEN), expected[7])
    drawn = Image.open(io.BytesIO(page.get(f"/sheet/{ids[3]},{ids[5]}").content))
    assert [drawn.getpixel((SEEN * slot, 0)) for slot in (0, 1)] == [expected[3], expected[5]]
    site.store.close()


def test_points_without_pictures_have_none_to_serve(audited_rows, tmp_path):
    site = Site(Path(shutil.copytree(audited_rows, tmp_path / "rows")))
    for path in ("picture", "thumb", "sheet"):
        assert site.page().get(f"/{path}/{site.items.ids[0]}").status_code == 404
    site.store.close()
