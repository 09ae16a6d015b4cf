"""The review page in a real Chromium on a real audit, with the server as a process of its own."""

from __future__ import annotations

import json
import re
import shutil
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import expect
from safetensors.numpy import load_file, save_file

from review_audit import HOSTILE, Server, verdicts
from review_tab import current, decisions, moved, opened, press, saved
from swaypoint.folder.audit_folder import AuditFolder
from swaypoint.review.items import Items
from swaypoint.review.log.served import BLIND, OPEN, Servings
from swaypoint.review.log.store import open_store
from swaypoint.review.log.verdicts import Decision

CHOICES = "[...document.querySelectorAll('[data-do=relabel]')].map((button) => button.dataset.label)"
DECODED = """() => {
  const images = [...document.querySelectorAll('.cell img')];
  return images.length > 20 && images.every((i) => i.complete && i.naturalWidth > 0);
}"""


def test_the_token_opens_and_nothing_else_does(tab, folder):
    with Server(folder, ("--reviewer", "Ada")) as server:
        stranger = tab(f"{server.base}/gallery")
        expect(stranger.locator("h1")).to_have_text("This review is closed to strangers")
        page = opened(tab, server)
        assert "token" not in page.url
        again = tab(server.address)  # used up
        expect(again.locator("h1")).to_have_text("This review is closed to strangers")
        assert page.evaluate("document.cookie") == ""


@pytest.mark.slow
def test_fifty_items_by_keyboard_alone(tab, folder):
    items = Items(AuditFolder(folder))
    expected = {}
    with Server(folder, ("--reviewer", "Ada")) as server:
        page = opened(tab, server)
        for key in islice(cycle("1f1b1u1x1s2"), 50):
            choices = page.evaluate(CHOICES)
            verdict = {"f": "correct", "b": "boundary", "u": "under-represented", "x": "bad", "s": "skip"}
            said = Decision("mislabeled", choices[int(key) - 1]) if key.isdigit() else Decision(verdict[key])
            expected[press(page, key)] = said
        for _ in range(2):  # the last two are taken back, and one is done again
            before = current(page)
            page.keyboard.press("z")
            moved(page, before)
        page.keyboard.press("Shift+Z")
        saved(page)
        expect(page.locator("#own")).to_contain_text("Your verdict")
        lost = list(expected)[-1]
        del expected[lost]
        # By type-ahead, with a note.
        page.goto(f"{server.base}/item?at={lost}")
        page.keyboard.press("n")
        page.keyboard.type("a note with keys: fmbux")
        page.keyboard.press("Escape")
        page.keyboard.press("m")
        page.keyboard.type("7" if items.label(items.position(lost)) != "7" else "8")
        page.keyboard.press("Enter")
        moved(page, lost)
        saved(page)
        label = "7" if items.label(items.position(lost)) != "7" else "8"
        expected[lost] = Decision("mislabeled", label, "a note with keys: fmbux")
        page.reload()
        page.goto(f"{server.base}/item?at={lost}")
        expect(page.locator("#own")).to_contain_text(f"mislabeled → {label}")
        expect(page.locator("#note")).to_have_value("a note with keys: fmbux")
    assert decisions(folder, "Ada") == expected
    top = np.argsort(items.scores["rank"])[:50]
    assert set(expected) == {items.ids[p] for p in top}


@pytest.mark.slow
def test_type_ahead_among_a_thousand_classes(tab, folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["data"]["classes"] += [f"species {number:04}" for number in range(10, 1000)]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    head = load_file(folder / "head.safetensors")
    head |= {name: np.resize(value, (1000, *value.shape[1:])) for name, value in head.items()}
    save_file(head, folder / "head.safetensors")
    (folder / "factor.safetensors").unlink()
    with Server(folder, ("--reviewer", "Ada")) as server:
        page = opened(tab, server)
        item = current(page)
        page.keyboard.press("m")
        page.keyboard.type("077")
        expect(page.locator("#palette-list li")).to_have_count(11)  # 0077 and 0770 to 0779
        page.keyboard.type("7")
        page.keyboard.press("Enter")
        moved(page, item)
        saved(page)
        page.goto(f"{server.base}/classes")  # without a matrix of a million cells
        expect(page.locator("main")).to_contain_text("species 0777")
    assert decisions(folder, "Ada") == {item: Decision("mislabeled", "species 0777")}


@pytest.mark.slow
def test_every_verdict_by_mouse(tab, folder):
    with Server(folder, ("--reviewer", "Ada")) as server:
        page = opened(tab, server)
        for do in ("correct", "relabel", "boundary", "under-represented", "bad", "skip"):
            before = current(page)
            page.locator(f"[data-do={do}]").first.click()
            moved(page, before)
        before = current(page)
        page.locator("[data-do=mislabeled]").click()
        page.get_by_role("option", name="not known").click()
        moved(page, before)
        saved(page)
        page.locator("#undo").click()
        page.wait_for_function("id => document.getElementById('item').dataset.id === id", arg=before)
    said = [decision.verdict for decision in decisions(folder, "Ada").values()]
    assert sorted(said) == sorted(["correct", "mislabeled", "boundary", "under-represented", "bad", "skip"])


@pytest.mark.slow
def test_what_the_server_fails_on_is_not_sent_for_ever(tab, folder):
    with Server(folder, ("--reviewer", "Ada")) as server:
        page, sent = opened(tab, server), []
        bad = current(page)

        def answer(route):
            sent.append(route.request.post_data)
            return route.fulfill(status=500, body="{}") if bad in sent[-1] else route.continue_()

        page.route("**/actions", answer)
        press(page, "f")
        good = press(page, "f")
        expect(page.locator("#trouble")).to_contain_text("fails on 1 of your verdicts", timeout=15_000)
        expect(page.locator("#state")).to_have_text("1 pending")
        alone = [body for body in sent if bad in body and good not in body]
        assert len(alone) == 4
        page.wait_for_timeout(3500)
        assert [body for body in sent if bad in body and good not in body] == alone
        page.unroute("**/actions")
        page.reload()
        saved(page)
        assert {bad, good} <= {*verdicts(folder).reviewed()}


@pytest.mark.slow
def test_the_address_is_the_filter(tab, folder):
    items = Items(AuditFolder(folder))
    threes = int((items.scores["label"] == 3).sum())
    with Server(folder, ("--reviewer", "Ada")) as server:
        page = opened(tab, server)
        page.goto(f"{server.base}/gallery?label=3&sort=-margin")
        expect(page.locator(".count")).to_have_text(f"{threes} of {len(items):,}")
        order = [p for p in np.argsort(-items.scores["margin"], kind="stable") if items.label(p) == "3"]
        expect(page.locator("#cell-0")).to_have_attribute("data-id", items.ids[order[0]])
        page.locator("select[name=suggested]").select_option("5")  # a choice goes into the address
        page.wait_for_url("**suggested=5*")
        assert "label=3" in page.url
        both = (items.scores["label"] == 3) & (items.scores["suggested_label"] == 5)
        expect(page.locator(".count")).to_have_text(f"{int(both.sum())} of {len(items):,}")
        page.keyboard.press("/")
        page.keyboard.type("no such file")
        page.keyboard.press("Enter")
        page.wait_for_url("**text=no+such+file*")
        expect(page.locator(".empty")).to_be_visible()


@pytest.mark.slow
def test_thumbnails_stay_decoded_when_cells_change(tab, folder):
    with Server(folder, ("--reviewer", "Ada")) as server:
        page = opened(tab, server)
        page.goto(f"{server.base}/gallery")
        page.wait_for_function(DECODED)
        page.evaluate("for (const i of document.querySelectorAll('.cell img')) i.dataset.first = '1'")
        page.keyboard.press("ArrowRight")
        for key in "fbu1":
            page.keyboard.press(key)
        saved(page)
        assert page.locator(".badge:not(:empty)").count() >= 4
        assert page.evaluate(DECODED)
        # The very same nodes: nothing was drawn anew.
        assert page.evaluate("[...document.querySelectorAll('.cell img')].every((i) => i.dataset.first)")
        for top in (20_000, 3_000, 0):
            page.evaluate(f"document.getElementById('grid').scrollTop = {top}")
            page.wait_for_timeout(100)
            page.wait_for_function(DECODED)
            assert page.locator(".cell").count() <= 100
        page.set_viewport_size({"width": 3840, "height": 2160})
        page.wait_for_timeout(100)
        page.wait_for_function(DECODED)
        assert page.locator(".cell").count() <= 100


def test_one_verdict_for_all_that_match(tab, folder):
    items = Items(AuditFolder(folder))
    differ = (items.scores["label"] != items.scores["suggested_label"]) & (items.scores["label"] == 9)
    with Server(folder, ("--reviewer", "Ada")) as server:
        page = opened(tab, server)
        page.goto(f"{server.base}/gallery?label=9&disagree=1")
        page.wait_for_selector("#cell-0[data-id]")
        page.keyboard.press("Control+a")
        expect(page.locator("#selected")).to_have_text(f"{differ.sum()} selected")
        page.keyboard.press("1")
        saved(page)
        expect(page.locator("#cell-0 .badge")).to_contain_text("→")
        said = decisions(folder, "Ada")
        assert {items.position(item) for item in said} == set(np.flatnonzero(differ))
        assert all(d.label == items.suggested(items.position(item)) for item, d in said.items())
        page.keyboard.press("z")
        expect(page.locator("#cell-0 .badge")).to_be_empty()
        saved(page)
        assert decisions(folder, "Ada") == {}
        page.locator("#cell-1").click()
        page.locator("#cell-3").click(modifiers=["Shift"])
        page.locator("#cell-2").click(modifiers=["Control"])
        page.locator(".selection [data-do=bad]").click()
        saved(page)
        chosen = [page.locator(f"#cell-{i}").get_attribute("data-id") for i in (1, 3)]
        assert decisions(folder, "Ada") == dict.fromkeys(chosen, Decision("bad"))


@pytest.mark.slow
def test_two_reviewers_at_once(tab, folder):
    with Server(folder, ("--reviewer", "Ada")) as server:
        ada = opened(tab, server)
        ada.locator(".menu summary").click()
        ada.locator("#invite").click()
        ada.locator("#invitation-make").click()
        expect(ada.locator("#invitation-address")).to_have_value(re.compile("token="))
        invitation = ada.locator("#invitation-address").input_value()
        ada.keyboard.press("Escape")
        bob = tab(invitation)
        bob.wait_for_url("**/name")
        bob.locator("#field").fill("Bob")
        bob.keyboard.press("Enter")
        bob.wait_for_selector("#item[data-painted]")
        for _ in range(12):
            press(ada, "f")
            press(bob, "b")
        saved(ada)
        saved(bob)
        own, others = decisions(folder, "Ada"), decisions(folder, "Bob")
        assert len(own) == len(others) == 12
        assert not own.keys() & others.keys()  # each was offered what the other had not
        item = next(iter(own))
        bob.goto(f"{server.base}/item?at={item}")
        expect(bob.locator(".decide")).to_contain_text("Ada: correct")
        bob.keyboard.press("x")
        saved(bob)
        ada.goto(f"{server.base}/item?status=conflict")
        expect(ada.locator(".conflict")).to_contain_text("Reviewers differ")
        assert current(ada) == item
        ada.keyboard.press("x")
        saved(ada)
        ada.goto(f"{server.base}/item?status=conflict")
        expect(ada.locator("h1")).to_have_text("Nothing matches")


def test_the_session_reaches_no_other_port(tab, folder):
    """Cookies know of hosts alone: another server on this machine would be sent it."""
    sent = []

    class Other(BaseHTTPRequestHandler):
        def do_GET(self):
            sent.append(self.headers.get("cookie", ""))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    other = ThreadingHTTPServer(("127.0.0.1", 0), Other)
    threading.Thread(target=other.serve_forever, daemon=True).start()
    with Server(folder, ("--reviewer", "Ada")) as server:
        page = opened(tab, server)
        for host in ("127.0.0.1", "localhost"):
            page.goto(f"http://{host}:{other.server_port}/")
        assert len(sent) >= 2
        assert set(sent) == {""}
        page.goto(server.base)
        page.wait_for_selector("#item[data-id]")  # still in
        page.locator(".menu summary").click()
        page.locator("#logout").click()
        expect(page.locator("h1")).to_have_text("This review is closed to strangers")
    other.shutdown()


@pytest.mark.slow
def test_a_verdict_outlasts_an_outage_and_a_reload(tab, folder):
    with Server(folder, ("--reviewer", "Ada")) as server:
        page = opened(tab, server)
        done = [press(page, "f")]
        saved(page)
        page.wait_for_timeout(500)  # what comes next is there already
        server.stop()
        done.append(press(page, "b"))
        done.append(press(page, "x"))
        expect(page.locator("#trouble")).to_contain_text("No connection")
        expect(page.locator("#state")).to_have_text("2 pending")
        server.start()
        saved(page)
        expect(page.locator("#trouble")).to_be_hidden()
        assert list(decisions(folder, "Ada")) == done
        server.stop()
        page.keyboard.press("u")
        expect(page.locator("#state")).to_have_text("1 pending")
        server.start()
        page.goto(f"{server.base}/progress")  # another page sends what this browser kept
        saved(page)
        assert [d.verdict for d in decisions(folder, "Ada").values()] == [
            "correct",
            "boundary",
            "bad",
            "under-represented",
        ]


@pytest.mark.slow
def test_a_full_disk_is_shown_and_work_resumes(tab, folder):
    with Server(folder, ("--reviewer", "Ada")) as server:
        page = opened(tab, server)
        refuse = True

        def gone(route):
            reason = '{"error": "no space left on the disk of the database"}'
            route.fulfill(status=503, body=reason) if refuse else route.continue_()

        page.route("**/actions", gone)
        item = press(page, "f")
        expect(page.locator("#trouble")).to_contain_text("no space left on the disk")
        page.goto(f"{server.base}/gallery")
        expect(page.locator(f"[data-id='{item}'] .badge.pending")).to_have_text("✓ fine")
        refuse = False
        saved(page)
        expect(page.locator(f"[data-id='{item}'] .badge")).not_to_have_class("pending")
        assert decisions(folder, "Ada") == {item: Decision("correct")}


@pytest.mark.parametrize("round_", [0, *(pytest.param(i, marks=pytest.mark.slow) for i in (1, 2))])
def test_what_is_shown_as_saved_outlasts_sigkill(tab, folder, round_):
    with Server(folder, ("--reviewer", "Ada")) as server:
        page = opened(tab, server)
        page.goto(f"{server.base}/gallery")
        page.wait_for_selector("#cell-30[data-id]")
        keys = cycle("fbux")
        while int(page.get_attribute("#state", "data-saved")) < 4 + 5 * round_:
            page.keyboard.press(next(keys))
        killer = threading.Timer(0.01 + 0.01 * round_, lambda: server.process.send_signal(signal.SIGKILL))
        killer.start()
        while killer.is_alive() or server.process.poll() is None:
            page.keyboard.press(next(keys))
        page.wait_for_timeout(200)
        shown = page.evaluate(
            """() => Object.fromEntries([...document.querySelectorAll('.cell')]
                .filter((c) => c.querySelector('.badge')?.textContent && !c.querySelector('.badge.pending'))
                .map((c) => [c.dataset.id, c.querySelector('.badge').className.split(' ')[1]]))"""
        )
        count, pending = (int(page.get_attribute("#state", f"data-{name}")) for name in ("saved", "pending"))
        kept = {item: decision.verdict for item, decision in decisions(folder, "Ada").items()}
        assert shown.items() <= kept.items()
        assert 0 < count <= len(kept)
        server.start()
        saved(page)
        assert len(decisions(folder, "Ada")) == count + pending


def test_markup_in_labels_names_and_notes_is_inert(tab, audited_hostile, tmp_path):
    path = Path(shutil.copytree(audited_hostile, tmp_path / "hostile"))
    with Server(path, ("--reviewer", HOSTILE)) as server:
        page = opened(tab, server)
        item = current(page)
        page.keyboard.press("n")
        page.keyboard.type("</textarea><script>window.hacked=3</script><img src=x onerror=window.hacked=4>")
        page.keyboard.press("Escape")
        press(page, "1")
        page.keyboard.press("m")
        page.keyboard.press("Escape")
        saved(page)
        for path_ in ("gallery", f"item?at={item}", "map", "progress", "classes", "name", "gallery?text=<b>"):
            page.goto(f"{server.base}/{path_}")
            page.wait_for_timeout(250)
            assert page.evaluate("window.hacked") is None
            assert page.locator("img[src=x]").count() == 0
        page.goto(f"{server.base}/item?at={item}")
        expect(page.locator("h1")).to_contain_text("Labelled")
        assert page.locator("#own").inner_text().count("<img") >= 1  # shown, as text


@pytest.mark.slow
@pytest.mark.parametrize("scripts", [True, False])
def test_a_name_is_given_by_enter(tab, folder, scripts):
    with Server(folder) as server:
        page = tab(server.address, java_script_enabled=scripts)
        page.wait_for_url("**/name")
        page.locator("#field").fill(" ")
        page.keyboard.press("Enter")
        expect(page.locator("#problem")).to_have_text("A name has at least one letter.")
        page.locator("#field").fill("Ada")
        page.keyboard.press("Enter")
        page.wait_for_url("**/item?status=open")


@pytest.mark.slow
def test_enter_before_the_script_has_come_gives_the_name_all_the_same(tab, folder):
    with Server(folder) as server:
        page = tab("about:blank")
        page.route("**/door.js", lambda route: None)  # which never comes
        page.goto(server.address, wait_until="commit")
        page.wait_for_url("**/name", wait_until="commit")
        page.locator("#field").fill("Ada")
        page.keyboard.press("Enter")
        page.wait_for_url("**/item?status=open")


@pytest.mark.slow
def test_rows_are_reviewed_as_cards(tab, audited_rows, tmp_path):
    path = Path(shutil.copytree(audited_rows, tmp_path / "wine"))
    with Server(path, ("--reviewer", "Ada")) as server:
        page = opened(tab, server)
        expect(page.locator(".sheet")).to_contain_text("alcohol")
        item = press(page, "f")
        saved(page)
        page.goto(f"{server.base}/gallery")
        expect(page.locator(f"[data-id='{item}'] .badge")).to_have_text("✓ fine")
        expect(page.locator(f"[data-id='{item}']")).to_contain_text("alcohol")


@pytest.mark.slow
def test_the_original_is_shown_and_zoomed_or_what_the_model_saw(tab, photos):
    with Server(photos / "folder-audit", ("--reviewer", "Ada")) as server:
        page = opened(tab, server)
        expect(page.locator("#picture")).to_have_js_property("naturalWidth", 120)
        expect(page.locator("#seen")).to_be_hidden()
        page.keyboard.press(" ")
        expect(page.locator("#zoom img")).to_have_js_property("naturalWidth", 120)
        page.keyboard.press(" ")
        expect(page.locator("#zoom")).to_be_hidden()
        shutil.rmtree(photos / "photos")
        page.goto(f"{server.base}/item?sort=-rank")
        expect(page.locator("#seen")).to_have_text("as the model saw it, 8 × 8")
        expect(page.locator("#picture")).to_have_js_property("naturalWidth", 8)


@pytest.mark.slow
def test_a_lasso_is_a_filter(tab, folder):
    items = Items(AuditFolder(folder))
    with Server(folder, ("--reviewer", "Ada")) as server:
        page = opened(tab, server)
        page.goto(f"{server.base}/map")
        page.wait_for_selector("#canvas[data-painted]")
        box = page.locator("#canvas").bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        page.mouse.move(x, y)
        page.mouse.down()
        for dx, dy in ((150, 0), (150, 150), (0, 150), (0, 10)):
            page.mouse.move(x + dx, y + dy, steps=6)
        page.mouse.up()
        page.wait_for_url("**lasso=*")
        unit = min(box["width"], box["height"]) / 2.5
        right, below = items.places[:, 0] * unit, -items.places[:, 1] * unit
        inside = (right > 0) & (right < 150) & (below > 0) & (below < 150)
        count = int(page.locator(".count b").inner_text().replace(",", ""))
        assert abs(count - inside.sum()) <= 0.05 * inside.sum() + 3
        page.locator("#canvas").focus()  # and by keyboard
        for key in [
            "ArrowRight",
            "Enter",
            *["Shift+ArrowUp"] * 2,
            "Enter",
            *["Shift+ArrowLeft"] * 2,
            "Enter",
            "c",
        ]:
            page.keyboard.press(key)
        page.wait_for_load_state()


def test_a_blind_review_hides_the_suggestion(tab, folder):
    with Server(folder, ("--reviewer", "Ada", "--blind")) as server:
        ada = opened(tab, server)
        expect(ada.locator(".claim")).to_contain_text("hidden")
        item = press(ada, "1")
        saved(ada)
        invitation = ada.evaluate(
            """async () => (await (await fetch('/invite', {method: 'POST', body: '{}', headers:
            {'x-swaypoint-csrf': document.querySelector('meta[name=csrf]').content}})).json()).address"""
        )
        bob = tab(invitation)
        bob.wait_for_url("**/name")
        bob.locator("#field").fill("Bob")
        bob.locator("button").click()
        bob.wait_for_selector("#item[data-painted]")
        assert current(bob) == item
        expect(bob.locator(".claim")).to_contain_text("hidden")
        assert "Ada" not in bob.locator("#item").inner_text()
    review, store = verdicts(folder), open_store(folder / "review.sqlite")
    assert Servings(store, review.run).shown(review.events) == {BLIND: 1, OPEN: 0, "": 0}
    store.close()


@pytest.mark.slow
def test_accessible_by_name_and_at_every_width(tab, folder):
    """Each control has a name, nothing is wider than the window, and the focus is visible."""
    unnamed = """() => [
      ...document.querySelectorAll('button, a, input, select, textarea, summary, img, canvas')]
      .filter((n) => n.checkVisibility() && !n.matches('[type=hidden], [aria-hidden=true]'))
      .filter((n) => !(n.getAttribute('aria-label') || n.textContent.trim() || n.labels?.length ||
        n.getAttribute('alt') !== null || n.title)).map((n) => n.outerHTML)"""
    with Server(folder, ("--reviewer", "Ada")) as server:
        page = opened(tab, server)
        press(page, "f")
        for width, height in ((400, 800), (1280, 800), (3840, 2160)):
            page.set_viewport_size({"width": width, "height": height})
            for path in ("item?status=open", "gallery", "map", "progress", "classes"):
                page.goto(f"{server.base}/{path}")
                page.wait_for_timeout(150)
                assert page.evaluate(unnamed) == []
                assert page.evaluate("document.documentElement.scrollWidth") <= width, (path, width)
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none"
