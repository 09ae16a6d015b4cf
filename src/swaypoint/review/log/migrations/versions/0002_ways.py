"""By which way a point came before its reviewer; of events of before not known."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("event", sa.Column("way", sa.Text()))
