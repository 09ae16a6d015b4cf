"""What is said beside the verdicts, in words; of events of before none."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("event", sa.Column("text", sa.Text()))
