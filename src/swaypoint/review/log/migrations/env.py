"""Run by Alembic: migrates in the connection and the transaction of :func:`..migrations.upgrade`."""

from alembic import context

from swaypoint.review.log.migrations import VERSION_TABLE

if hasattr(context, "config"):  # else it is only imported, as by a search for doctests
    context.configure(connection=context.config.attributes["connection"], version_table=VERSION_TABLE)
    with context.begin_transaction():
        context.run_migrations()
