"""The review page over 100,000 pictures of 32 x 32 in a real browser: how long a reviewer waits.

``python -m benchmarks.review`` prints the figures; with ``--screenshots DIR --audit AUDIT`` it takes pictures
of every view of an audit instead; with ``--cut X Y`` as well, of the map along two of its columns alone.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from benchmarks.made_review import made_audit, memory, serving
from swaypoint.review.log.store import open_store

POINTS, FEATURES = 100_000, 64
PAGES, JUMPS, VERDICTS = 7, 40, 200
PACE = 150  # ms between two verdicts, a very fast reviewer
LOOKS = (("", 1280, "light"), ("-dark", 1280, "dark"), ("-400", 400, "light"))
FIRST = (
    ("item", "status=open"),
    ("gallery", "top=300"),
    ("map", "lasso=-0.4,-0.1;0.3,-0.1;0.4,0.4;-0.2,0.5"),
)
LAST = (("progress", ""), ("classes", ""))
SAMPLED = 40
"""Random points that are judged before the last views."""
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

# Milliseconds since the page was asked for, when every cell in sight is filled and its picture decoded.
SETTLED = """() => new Promise((resolve) => {
  const look = () => {
    const cells = [...document.querySelectorAll('.cell')];
    const seen = cells.filter((c) => {
      const box = c.getBoundingClientRect();
      return box.bottom > 0 && box.top < innerHeight;
    });
    const images = seen.map((c) => c.querySelector('img'));
    if (seen.length > 20 && images.every((i) => i && i.complete && i.naturalWidth > 0))
      Promise.all(images.map((i) => i.decode())).then(() => resolve(performance.now()));
    else requestAnimationFrame(look);
  };
  look();
})"""
JUMP = """async (top) => {
  const start = performance.now();
  document.getElementById('grid').scrollTop = top;
  await new Promise(requestAnimationFrame);
  await new Promise(requestAnimationFrame);
  return [start, document.querySelectorAll('.cell').length];
}"""
# Of each key: when the next item was painted, and when the verdict was confirmed as durable.
WATCH = """() => {
  window.times = [];
  performance.setResourceTimingBufferSize(10000);
  addEventListener('keydown', () => times.push({ start: performance.now() }), true);
  new MutationObserver(() => {
    const last = times.at(-1);
    if (last && !last.next) requestAnimationFrame(() => (last.next = performance.now() - last.start));
  }).observe(document.getElementById('main'), { childList: true });
  let saved = 0;
  new MutationObserver(() => {
    const now = Number(document.getElementById('state').dataset.saved);
    for (; saved < now; saved++) times[saved].saved = performance.now() - times[saved].start;
  }).observe(document.getElementById('state'), { attributes: true });
}"""


MOVED = "id => ((item) => item.dataset.id !== id && item.dataset.painted)(document.getElementById('item'))"
ANSWERS = """() => performance.getEntriesByType('resource').filter((e) => e.name.endsWith('/actions'))
  .map((e) => e.responseEnd - e.requestStart)"""


def settled(page: Page) -> float:
    return float(page.evaluate(SETTLED))


def spread(values: list[float], unit: str = "ms") -> str:
    return f"{statistics.median(values):.0f} {unit} median, {min(values):.0f} to {max(values):.0f} {unit}"


def entered(browser: Browser, address: str) -> tuple[str, BrowserContext]:
    """The server's address, and a context that is in."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.goto(address)
    page.wait_for_selector("#item[data-painted]")
    page.locator("#met").click()  # a first visit
    return address.partition("/open")[0], context


def measure(browser: Browser, path: Path) -> None:
    with serving(path, "--reviewer", "Ada") as (address, pid):
        base, first = entered(browser, address)
        state = first.storage_state()
        grids, again = [], []
        for _ in range(PAGES):
            fresh = browser.new_context(viewport={"width": 1280, "height": 800}, storage_state=state)
            page = fresh.new_page()
            page.goto(f"{base}/gallery", wait_until="commit")
            grids.append(settled(page))
            page.goto(f"{base}/progress")
            page.goto(f"{base}/gallery?sort=-margin", wait_until="commit")
            again.append(settled(page))
            fresh.close()
        print(f"first grid, in a new browser process with nothing cached: {spread(grids)}")
        print(f"first grid, another order from another view: {spread(again)}")
        _jumps(first, base)
        _verdicts(first, base, path)
        page = first.new_page()
        page.goto(f"{base}/map")
        page.wait_for_selector("#canvas[data-painted]")
        print(f"map of {POINTS:,} points painted in {page.get_attribute('#canvas', 'data-painted')} ms")
        used = memory(pid)
        print(
            f"server memory: {used['VmRSS']:.0f} MB resident, of which {used['RssAnon']:.0f} MB its own and"
            f" {used['RssFile']:.0f} MB pages of mapped files"
        )


def _jumps(context: BrowserContext, base: str) -> None:
    page = context.new_page()
    page.goto(f"{base}/gallery")
    settled(page)
    height = page.evaluate("document.getElementById('grid').scrollHeight")
    jumps, nodes = [], 0
    for top in np.random.default_rng(0).uniform(0, height, JUMPS):
        start, count = page.evaluate(JUMP, float(top))
        jumps.append(settled(page) - start)
        nodes = max(nodes, count)
    print(f"jump until every picture in sight is decoded: {spread(jumps)}; at most {nodes} cells in the page")
    page.close()


def _verdicts(context: BrowserContext, base: str, path: Path) -> None:
    page = context.new_page()
    page.goto(f"{base}/item?status=open")
    page.wait_for_selector("#item[data-painted]")
    page.wait_for_timeout(1500)
    page.evaluate(WATCH)
    for i in range(VERDICTS):
        page.keyboard.press("1fb"[i % 3])
        page.wait_for_timeout(PACE)
    page.wait_for_selector("#state[data-pending='0']", state="attached")
    times = page.evaluate("times")
    print(f"next item after a verdict: {spread([t['next'] for t in times if 'next' in t])}")
    print(f"verdict shown as durable, from the key: {spread([t['saved'] for t in times])}")
    print(f"of which the server's answer: {spread(page.evaluate(ANSWERS))}")
    store = open_store(path / "review.sqlite")
    kept = len(store.since(json.loads((path / "manifest.json").read_text())["key"]))
    store.close()
    print(f"{kept} of {VERDICTS} verdicts in the log")
    assert kept == VERDICTS
    page.close()


# -- pictures of the page ---------------------------------------------------------------------------


@contextmanager
def reviewed(browser: Browser, audit: Path) -> Iterator[tuple[str, BrowserContext]]:
    """A copy of ``audit`` without verdicts, and a reviewer who is in."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copytree(audit, Path(folder) / "audit"))
        (copy / "review.sqlite").unlink(missing_ok=True)
        with serving(copy, "--reviewer", "Ada") as (address, _):
            yield entered(browser, address)


def screenshots(browser: Browser, audit: Path, out: Path) -> None:
    """Every view of ``audit`` after some verdicts: light, dark, and 400 pixels wide."""
    with reviewed(browser, audit) as (base, context):
        page = context.pages[0]
        _decide(page, 26)
        _looks(browser, context, base, FIRST, out)
        _decide(page, 94)
        page.goto(f"{base}/progress")
        page.locator("#sample[data-draw]").click()
        page.wait_for_selector("#item[data-painted]")
        _decide(page, SAMPLED)
        _looks(browser, context, base, LAST, out)


def _looks(
    browser: Browser, context: BrowserContext, base: str, views: tuple[tuple[str, str], ...], out: Path
) -> None:
    for name, width, scheme in LOOKS:
        shown = browser.new_context(
            viewport={"width": width, "height": 800},
            color_scheme=scheme,  # type: ignore[arg-type]
            storage_state=context.storage_state(),
        )
        _views(shown.new_page(), base, views, out, name)
        shown.close()


def cut(browser: Browser, audit: Path, x: str, y: str, out: Path) -> None:
    """The map along two columns of a table."""
    with reviewed(browser, audit) as (base, context):
        page = context.pages[0]
        page.goto(f"{base}/map?{urlencode({'x': x, 'y': y})}")
        page.wait_for_timeout(700)
        page.screenshot(path=out / "review-cut.png")


def _decide(page: Page, count: int) -> None:
    """As the model suggests, with a few other verdicts among them."""
    for i in range(count):
        before = page.get_attribute("#item", "data-id")
        suggested = "1" if page.locator(".claim b.hot").count() else "f"
        page.keyboard.press({4: "b", 9: "f", 15: "u", 20: "x"}.get(i, suggested))
        page.wait_for_function(MOVED, arg=before)
    page.wait_for_selector("#state[data-pending='0']", state="attached")


def _views(page: Page, base: str, views: tuple[tuple[str, str], ...], out: Path, suffix: str) -> None:
    for view, query in views:
        page.goto(f"{base}/{view}?{query}")
        page.wait_for_timeout(700)
        if view == "gallery":
            for key in ("ArrowDown", "ArrowDown", "ArrowDown", "Shift+ArrowRight", "Shift+ArrowRight"):
                page.keyboard.press(key)
            page.wait_for_timeout(200)
        page.screenshot(path=out / f"review-{view}{suffix}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--screenshots", type=Path, metavar="DIR")
    parser.add_argument("--audit", type=Path)
    parser.add_argument("--cut", nargs=2, metavar=("X", "Y"), help="the map along two columns alone")
    options = parser.parse_args()
    if (options.cut or options.screenshots) and not (options.audit and options.screenshots):
        parser.error("pictures take --screenshots DIR and --audit AUDIT")
    if options.screenshots:
        options.screenshots.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        if options.cut:
            cut(browser, options.audit, *options.cut, options.screenshots)
        elif options.screenshots:
            screenshots(browser, options.audit, options.screenshots)
        else:
            measure(browser, made_audit(Path(folder) / "audit", POINTS, FEATURES, pictures=True).path)
        browser.close()


if __name__ == "__main__":
    main()
