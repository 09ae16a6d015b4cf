"""The database's versions and the way from each to the next, by Alembic."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from swaypoint.errors import InputError, require

if TYPE_CHECKING:
    import sqlalchemy as sa

VERSION_TABLE = "swaypoint_version"  # not Alembic's own name: a team's database may hold other tables
_ALONE = threading.Lock()  # Alembic keeps its context in a module's globals


def upgrade(connection: sa.Connection, name: str) -> None:
    """Bring the tables to the newest version, in the caller's transaction, which lets in one writer only.

    Args:
        name: of the database, for messages.

    Raises:
        InputError: a newer swaypoint made the tables.
        MissingExtra: alembic is not installed.
    """
    command = require("alembic.command", "review")
    config = require("alembic.config", "review").Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    script = require("alembic.script", "review").ScriptDirectory.from_config(config)
    context = require("alembic.migration", "review").MigrationContext
    current = context.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_revision()
    newest = script.get_current_head()
    if current == newest:
        return
    if current is not None and current not in {revision.revision for revision in script.walk_revisions()}:
        raise InputError(
            f"{name} has version {current}, of a newer swaypoint; this one knows {newest}."
            " Update with: pip install -U swaypoint"
        )
    with _ALONE:
        command.upgrade(config, "head")
