"""Keys that seal logs, and how far each log was: kept for the user, outside of the audits' folders.

A chain of digests can be made anew by whoever can write the log. A seal is a digest that takes a key
(HMAC-SHA256), so that they cannot; and what was seen of a log before tells that its end was cut off.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_OWN = "own.key"


@dataclass(frozen=True)
class Keys:
    """Those in a folder: ``own.key``, which seals, and others' ``*.key``, by which their seals are known.

    Attributes:
        folder: where they are, and files of anchors.
        own: name of the one that seals.
        secrets: by name, which is a digest of the key.
    """

    folder: Path
    own: str
    secrets: Mapping[str, bytes]

    def seal(self, digest: str) -> str:
        """``NAME:HMAC`` in hex: who made the event with this digest had the key."""
        return f"{self.own}:{_seal(self.secrets[self.own], digest)}"

    def right(self, seal: str, digest: str) -> bool | None:
        """Whether it is one of that digest; None: by a key that is not here."""
        name, _, found = seal.partition(":")
        if name not in self.secrets:
            return None
        return hmac.compare_digest(found.encode(), _seal(self.secrets[name], digest).encode())

    def anchors(self, log: str) -> Path:
        """The file of how far the log of that name was, see :mod:`~swaypoint.review.log.anchors`."""
        return self.folder / f"{hashlib.sha256(log.encode()).hexdigest()[:32]}.anchors"


def _seal(secret: bytes, digest: str) -> str:
    return hmac.digest(secret, digest.encode(), "sha256").hex()


def _named(secret: bytes) -> str:
    return hmac.digest(secret, b"name of this key", "sha256").hex()[:16]


def user_keys() -> Keys | None:
    """Of this user, in :func:`key_folder`; made if there are none. None: there is no place for them."""
    folder = key_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        own = kept(folder / _OWN)
        others = [file.read_bytes() for file in sorted(folder.glob("*.key")) if file.name != _OWN]
    except OSError:
        return None
    return Keys(folder, _named(own), {_named(secret): secret for secret in (*others, own)})


def kept(file: Path) -> bytes:
    """The key in ``file``, 32 bytes and made where there is none, whole also where two make it at once.

    Raises:
        OSError: it can neither be read nor made.
    """
    try:
        return file.read_bytes()
    except FileNotFoundError:
        pass
    made = file.with_name(f".{secrets.token_hex(8)}")
    with os.fdopen(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
        opened.write(secrets.token_bytes(32))
    try:
        os.link(made, file)
    except FileExistsError:
        pass
    except OSError:  # a file system without links
        os.replace(made, file)
    made.unlink(missing_ok=True)
    return file.read_bytes()


def key_folder() -> Path:
    """``SWAYPOINT_KEYS``, else ``swaypoint/keys`` in the user's folder of settings: ``XDG_CONFIG_HOME`` or
    ``~/.config``, on macOS ``~/Library/Application Support``, on Windows ``APPDATA``."""
    if own := os.environ.get("SWAYPOINT_KEYS"):
        return Path(own)
    home = Path(os.path.expanduser("~"))
    usual = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    by_system = {
        "darwin": home / "Library" / "Application Support",
        "win32": Path(os.environ.get("APPDATA") or home / "AppData" / "Roaming"),
    }
    return by_system.get(sys.platform, usual) / "swaypoint" / "keys"
