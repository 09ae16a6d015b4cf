"""The seal of an event, by a key that is not in the database; of events of before none."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("event", sa.Column("seal", sa.Text()))
