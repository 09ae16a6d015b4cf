"""Commands that start at once: their modules are imported, and their options inspected, when one runs.

Typer by itself inspects every command at every start, coerces by pydantic before anything can be refused, and
prints help and errors by rich: 0.3 s, 0.2 s and 0.2 s in which a person waits for one sentence.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import typer.main
from typer.core import TyperCommand, TyperGroup

from swaypoint.data.names import check_there
from swaypoint.errors import not_an_audit

_Called = TypeVar("_Called", bound=Callable[..., Any])

FAMILIES = ("audit", "labels", "report", "review", "reviewed", "log", "study")
"""The modules of this package that hold commands, each a :class:`Family` named ``family``."""


def check_audit(folder: str) -> None:
    """Refuse a folder without an audit, before anything is imported to read it.

    Raises:
        InputError: ``folder`` is none.
    """
    if not (Path(folder) / "manifest.json").is_file():
        raise not_an_audit(folder)


_CHECKS: dict[str, Callable[[str], None]] = {"data": check_there, "folder": check_audit}
"""What is refused by the name of an argument alone."""


class Command(TyperCommand):
    """A command whose help has a section a panel."""

    def look(self, args: list[str], parent: Any) -> None:
        """What needs no value coerced: help, and the refusal of what is no option, missing or not there."""
        context = self.context_class(self, info_name=self.name, parent=parent)
        given = self.make_parser(context).parse_args(args=list(args))[0]
        if given.get("help"):
            typer.echo(self.get_help(context))
            context.exit()
        for param in self.params:
            if param.param_type_name == "argument" and param.required and given.get(param.name or "") is None:
                context.fail(f"Missing argument '{param.metavar or param.name}'.")
        for name, check in _CHECKS.items():
            if given.get(name):
                check(given[name])

    def format_options(self, ctx: Any, formatter: Any) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                kind = "Arguments" if param.param_type_name == "argument" else "Options"
                sections.setdefault(getattr(param, "rich_help_panel", None) or kind, []).append(record)
        for section, records in sections.items():
            with formatter.section(section):
                formatter.write_dl(records)


class Family(typer.Typer):
    """A module's commands; with ``name``, behind that word."""

    def __init__(self, name: str | None = None, **options: Any) -> None:
        super().__init__(name=name, rich_markup_mode=None, add_completion=False, **options)

    def command(self, name: str | None = None, **options: Any) -> Callable[[_Called], _Called]:
        return super().command(name, cls=Command, **options)

    def helps(self) -> dict[str, str]:
        """The first paragraph of the help of each command, or of all behind their word."""
        if isinstance(self.info.name, str):
            return {self.info.name: str(self.info.help)}
        told = {info.name or info.callback.__name__: info.callback for info in self.registered_commands}  # type: ignore[union-attr]
        return {name: " ".join((call.__doc__ or "").split("\n\n")[0].split()) for name, call in told.items()}


class Commands(TyperGroup):
    """The commands of all families."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._families: dict[str, Family] = {}
        for module in FAMILIES:
            family: Family = importlib.import_module(f"swaypoint.cli.{module}").family
            self._families |= dict.fromkeys(family.helps(), family)

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self._families)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in self.commands and cmd_name in self._families:
            built = typer.main.get_command(self._families[cmd_name])
            named = isinstance(self._families[cmd_name].info.name, str)
            found = {cmd_name: built} if named or not isinstance(built, TyperGroup) else built.commands
            self.commands = {**self.commands, **found}
        return self.commands.get(cmd_name)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and not args[0].startswith("-") and not ctx.resilient_parsing:  # a shell completes
            command = self.resolve_command(ctx, args)[1]
            if isinstance(command, Command):
                command.look(args[1:], ctx)
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        for name in self._families if self.get_command(ctx, args[0]) is None else ():
            self.get_command(ctx, name)  # all of them can be what was meant
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, family.helps()[name]) for name, family in self._families.items()])
