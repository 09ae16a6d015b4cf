"""The review's application over an audit, without a server, and a browser's requests to it."""

from __future__ import annotations

import json
from pathlib import Path
from uuid import uuid4

from markupsafe import Markup
from starlette.testclient import TestClient

from swaypoint.folder.audit_folder import AuditFolder
from swaypoint.review.items import Items
from swaypoint.review.log.sessions import Sessions
from swaypoint.review.log.store import open_store
from swaypoint.review.page.answers import Door
from swaypoint.review.page.app import create_app
from swaypoint.review.page.desk import Desk
from swaypoint.review.page.security import CSRF_HEADER, LOOPBACK, Gate

HOST = "127.0.0.1:8000"
BASE = f"http://{HOST}"


class Page:
    """One browser: its cookie and the token of its writes."""

    def __init__(self, site: Site, reviewer: str = "ada", *, owner: bool = False) -> None:
        self.client = TestClient(site.app, base_url=BASE, follow_redirects=False)
        self.client.get("/open", params={"token": site.gate.invite(reviewer, owner=owner)})
        (cookie,) = self.client.cookies.jar
        self.csrf = site.gate.csrf(site.gate.session(cookie.value, HOST))

    def get(self, path: str, **values):
        return self.client.get(path, **values)

    def json(self, path: str, status: int = 200):
        answer = self.client.get(path)
        assert answer.status_code == status, answer.text
        return answer.json()

    def post(self, path: str, body, **headers):
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.client.post(path, content=content, headers={CSRF_HEADER: self.csrf, **headers})

    def act(self, do: str, **values):
        """The result of one action."""
        answer = self.post("/actions", {"actions": [{"id": str(uuid4()), "do": do, **values}]})
        assert answer.status_code == 200, answer.text
        return answer.json()["results"][0]

    def decide(self, item: str, verdict: str = "correct", **values):
        return self.act("decide", item=item, verdict=verdict, **values)


class Site:
    """The application over an audit, with a store of its own."""

    def __init__(
        self, path: Path, *, blind: bool = False, password: str | None = None, guidelines: str = ""
    ) -> None:
        self.items, self.store = Items(AuditFolder(path)), open_store(path / "review.sqlite")
        sessions = Sessions(self.store, self.items.run)
        self.gate = Gate(b"s" * 32, run=self.items.run, sessions=sessions, password=password)
        self.desk = Desk(self.items, self.store, blind=blind)
        self.app = create_app(self.desk, Door(self.gate, LOOPBACK), Markup(guidelines))

    def page(self, reviewer: str = "ada", *, owner: bool = False) -> Page:
        return Page(self, reviewer, owner=owner)

    def stranger(self) -> TestClient:
        return TestClient(self.app, base_url=BASE, follow_redirects=False)

    def log(self):
        self.store.verify()
        return self.store.since(self.items.run)
