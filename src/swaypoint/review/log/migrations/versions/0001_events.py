"""The log: one table, to which rows are only added."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

# A replacing INSERT deletes without the DELETE trigger; the one on INSERT does not let it come that far.
_SQLITE = (
    "CREATE TRIGGER event_no_update BEFORE UPDATE ON event"
    " BEGIN SELECT RAISE(ABORT, 'event is append-only'); END",
    "CREATE TRIGGER event_no_delete BEFORE DELETE ON event"
    " BEGIN SELECT RAISE(ABORT, 'event is append-only'); END",
    "CREATE TRIGGER event_no_replace BEFORE INSERT ON event"
    " WHEN EXISTS (SELECT 1 FROM event WHERE seq = NEW.seq OR id = NEW.id)"
    " BEGIN SELECT RAISE(ABORT, 'event is append-only'); END",
)
_POSTGRESQL = (
    "CREATE FUNCTION event_append_only() RETURNS trigger LANGUAGE plpgsql"
    " AS $$ BEGIN RAISE EXCEPTION 'event is append-only'; END $$",
    "CREATE TRIGGER event_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON event"
    " FOR EACH STATEMENT EXECUTE FUNCTION event_append_only()",
)


def upgrade() -> None:
    op.create_table(
        "event",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("item", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("verdict", sa.Text()),
        sa.Column("label", sa.Text()),
        sa.Column("note", sa.Text()),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("undoes", sa.Text()),
        sa.Column("resolves", sa.Boolean(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.Column("before_verdict", sa.Text()),
        sa.Column("before_label", sa.Text()),
        sa.Column("before_note", sa.Text()),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="event_seq"),
    )
    op.create_index("event_id", "event", ["id"], unique=True)
    op.create_index("event_run", "event", ["run", "seq"])
    op.create_index("event_before", "event", ["run", "actor", "item", "seq"])
    for statement in {"sqlite": _SQLITE, "postgresql": _POSTGRESQL}[op.get_bind().dialect.name]:
        op.execute(statement)
