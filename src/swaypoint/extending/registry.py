"""One mechanism for everything that has a name: losses, solvers, scores, readers, findings, exporters."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from swaypoint.errors import InputError, shortened

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """Things of one kind by name: our own, and those of installed packages.

    A package joins by an entry point of ``group``, whose name is the thing's::

        [project.entry-points."swaypoint.scores"]
        brightness = "my_package.scores:brightness"

    It is imported when it is asked for, not before.

    Args:
        kind: what one of them is, for messages: ``"score"``.
        group: of the entry points: ``"swaypoint.scores"``.
        expected: the class of the things.
        home: the module whose import registers our own.

    Raises:
        InputError: another package's thing cannot be imported, or is none of ``expected``.
    """

    def __init__(self, kind: str, group: str, expected: type[T], home: str) -> None:
        self.kind, self.group = kind, group
        self._expected, self._home = expected, home
        self._own: dict[str, T] = {}
        self._others: dict[str, EntryPoint] | None = None

    def register(self, name: str, thing: T) -> T:
        """Enter ``thing`` under ``name``, and return it.

        Raises:
            ValueError: the name is taken.
        """
        if name in self._own:
            raise ValueError(f"there already is a {self.kind} {name!r}")
        self._own[name] = thing
        return thing

    def named(self, name: str) -> T:
        """The one of that name.

        Raises:
            InputError: there is none; the message lists those there are.
        """
        if name not in self:
            raise InputError(f"there is no {self.kind} {name!r}; expected {', '.join(sorted(self))}")
        return self[name]

    def __getitem__(self, name: str) -> T:
        others = self._installed()
        if name not in self._own and name in others:
            self._own[name] = self._loaded(others[name])
        return self._own[name]

    def __contains__(self, name: object) -> bool:
        return name in self._installed() or name in self._own  # without importing another's

    def __iter__(self) -> Iterator[str]:
        others = self._installed()
        yield from [*self._own, *(name for name in others if name not in self._own)]

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _installed(self) -> dict[str, EntryPoint]:
        importlib.import_module(self._home)
        if self._others is None:
            self._others = {point.name: point for point in entry_points(group=self.group)}
        return self._others

    def _loaded(self, point: EntryPoint) -> T:
        where = f"the {self.kind} {point.name!r} of {point.dist.name if point.dist else point.value}"
        try:
            thing = point.load()
        except Exception as error:  # another's code: whatever it raises
            raise InputError(
                f"{where} cannot be imported: {shortened(str(error))}; mend or uninstall it"
            ) from error
        if not isinstance(thing, self._expected):
            raise InputError(
                f"{where} is a {type(thing).__name__}; expected a swaypoint {self._expected.__name__}"
            )
        return thing
