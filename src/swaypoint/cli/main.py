"""The command line: ``swaypoint`` and its commands."""

from __future__ import annotations

from typing import Annotated

import typer

from swaypoint import __version__
from swaypoint.cli.commands import Commands
from swaypoint.cli.terminal import fail
from swaypoint.errors import InputError, MissingExtra

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Find the training points that sway a model: mislabeled, on the boundary, under-represented.",
    epilog="Start with:  swaypoint audit DATA  —  then open DATA-audit/report.html",
)


def main() -> None:
    """The ``swaypoint`` command: errors of the user are one line and exit code 1."""
    try:
        app()
    except (InputError, MissingExtra) as error:
        fail(str(error), 1)
    except OSError as error:
        fail(f"{error.filename or 'input/output'}: {error.strerror or error}", 1)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"swaypoint {__version__}")
        raise typer.Exit


@app.callback()
def swaypoint(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Find the training points that sway a model: mislabeled, on the boundary, under-represented."""
