"""The house stays in order: rooms, floors, sizes, and the picture of them. Rules as in CONTRIBUTING.md."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from benchmarks.house import drawn, house

import swaypoint

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "swaypoint"
FILES = sorted(SOURCE.rglob("*.py"))
LONGEST_FILE, LONGEST_FUNCTION = 450, 60
REASON = re.compile(r"# long: \S")


@pytest.fixture(scope="module")
def built():
    return house(ROOT)


def test_every_module_stands_in_the_contract(built):
    assert built.outside_the_contract == []
    assert {name for floor in built.layers for name in floor} - set(built.rooms) <= {"sklearn"}


def test_no_import_runs_up(built):
    assert built.running_up == []


def test_the_rooms_are_few_and_the_floors_too(built):
    assert len(built.rooms) <= 15
    assert max(built.floors.values()) <= 10


def test_nothing_is_loose_at_the_top():
    loose = {path.stem for path in SOURCE.glob("*.py")}
    assert loose - {"sklearn"} == {"__init__", "api", "errors"}


def test_no_room_shadows_a_public_attribute(built):
    """Importing such a submodule would put it in the attribute's place."""
    assert set(built.rooms) & set(swaypoint.__all__) == set()


def test_every_folder_of_modules_is_a_package_and_says_what_it_is():
    """What is no package is not seen by the contracts. Alembic reads ``versions`` by path."""
    folders = {path.parent for path in FILES if path.parent.name != "versions"}
    inits = {folder: folder / "__init__.py" for folder in folders}
    texts = {folder: init.read_text(encoding="utf-8") for folder, init in inits.items() if init.exists()}
    speaking = [folder for folder, text in texts.items() if ast.get_docstring(ast.parse(text))]
    assert _relative(folders - set(speaking)) == []


def _relative(paths: Iterable[Path]) -> list[str]:
    return sorted(path.relative_to(SOURCE).as_posix() for path in paths)


def test_no_file_is_long():
    lines = {path: path.read_text(encoding="utf-8").count("\n") for path in FILES}
    assert _relative([path for path, count in lines.items() if count > LONGEST_FILE]) == []


def long_functions(source: str) -> Iterator[str]:
    """Those without ``# long: the reason`` on the line of the ``def`` or right above it."""
    lines = source.split("\n")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            beside = lines[max(0, first - 2) : node.body[0].lineno - 1]
            if node.end_lineno - node.lineno >= LONGEST_FUNCTION and not any(map(REASON.search, beside)):
                yield node.name


def test_no_function_is_long_without_a_reason():
    found = {
        f"{name} in {_relative([path])[0]}"
        for path in FILES
        for name in long_functions(path.read_text("utf-8"))
    }
    assert sorted(found) == []


@pytest.mark.parametrize(
    ("before", "lines", "found"),
    [
        ("", 60, []),
        ("", 61, ["f"]),
        ("# long: one case a line", 61, []),
        ("# long: one case a line\n@cache", 61, []),
        ("# long:", 61, ["f"]),
        ("# long ago", 61, ["f"]),
    ],
)
def test_what_a_long_function_is(before, lines, found):
    assert list(long_functions("\n".join([before, "def f():", *["    pass"] * (lines - 1)]))) == found


def test_no_test_imports_another():
    """What two need lies in cases.py or another module that is no test."""
    found = []
    for path in Path(__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or "", *(alias.name for alias in node.names)]
            elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
                ("importorskip", "import_module")
            ):
                names = [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
            if any(str(name).startswith("test_") for name in names):
                found.append(f"{path.name}:{node.lineno}")
    assert found == []


def test_the_picture_shows_the_rooms_as_they_are(built):
    """Made by ``make house``. How thick an arrow is may lag behind."""
    picture = (ROOT / "docs" / "house.svg").read_text(encoding="utf-8")
    thickness = re.compile(r'stroke-width="[0-9.]+" marker-end')
    assert thickness.sub("", picture) == thickness.sub("", drawn(built)), "out of date: make house"


# -- the numbers, of a house whose plan is known -----------------------------------------------------

ROOMS = {
    "__init__.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from swaypoint.top import run\n",
    "top.py": '"""The top. More."""\nfrom swaypoint.middle import part\n',
    "middle/__init__.py": '"""The <middle>."""\nimport swaypoint\n',
    "middle/part.py": "def late():\n    from swaypoint import bottom\n",
    "bottom.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from swaypoint.top import run\n",
    "left.py": "import swaypoint.right\n",
    "right.py": "import swaypoint.left\nimport swaypoint.bottom\n",
}
CONTRACT = """
[[tool.importlinter.contracts]]
type = "layers"
layers = ["swaypoint.bottom", "swaypoint.middle : swaypoint.top", "swaypoint.left"]
"""


@pytest.fixture
def plan(tmp_path) -> Path:
    for name, text in ROOMS.items():
        path = tmp_path / "src" / "swaypoint" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "pyproject.toml").write_text(CONTRACT)
    return tmp_path


def test_the_command_counts_another_checkout(plan):
    command = [sys.executable, "-m", "benchmarks.house", "--source", plan, "--draw", plan / "house.svg"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "rooms at the top: 5 " in said
    assert "floors: 3\n" in said
    assert "modules outside the contract: 1 of 7\n    swaypoint.right\n" in said
    assert "layers of the contract: 3\n" in said
    up = re.findall(r"    (\S+) -> (\S+)", said)
    assert up == [
        ("swaypoint.bottom", "swaypoint.top"),  # for the type checker alone
        ("swaypoint.left", "swaypoint.right"),  # a circle
        ("swaypoint.middle", "swaypoint"),  # the door leads to the top
        ("swaypoint.middle.part", "swaypoint.bottom"),  # the contract turns them about
        ("swaypoint.right", "swaypoint.left"),
    ]
    assert f"imports that run up: {len(up)}\n" in said
    picture = (plan / "house.svg").read_text()
    assert ">The &lt;middle&gt;.<" in picture
    assert ">The top.<" in picture


def test_floors_and_arrows_of_another_checkout(plan):
    found = house(plan)
    assert found.floors == {"bottom": 1, "middle": 2, "left": 2, "right": 2, "top": 3}
    assert ("top", "middle") in found.arrows
    assert house(ROOT).rooms != found.rooms  # what is imported here is not in the way
