"""The licence of every dependency, and of theirs, from the metadata of what is installed."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PERMISSIVE = re.compile(r"\b(MIT|BSD|0BSD|Apache|ISC|PSF|Python Software Foundation|HPND|Unlicense)\b")
# Each weighed by itself: copyleft of single files or of the library, used unchanged as a package. The
# last has MIT's text as its file LICENSE, and no metadata.
OTHERS = {
    "certifi": "MPL",
    "hypothesis": "MPL",
    "pathspec": "MPL",
    "tqdm": "MPL",
    "psycopg": "LGPL",
    "psycopg-binary": "LGPL",
    "axe-playwright-python": "",
}
# The CUDA builds of torch bring libraries of the maker of the GPU, under its terms.
OF_A_GPU = ("nvidia-", "cuda-")


def licence(name: str) -> str:
    told = metadata.metadata(name)
    named = [line.rpartition(" :: ")[2] for line in told.get_all("Classifier", []) if "License ::" in line]
    return told.get("License-Expression") or "; ".join(named) or (told.get("License") or "").split("\n")[0]


def installed() -> dict[str, str]:
    """Licences by name: of what pyproject.toml names, of what that needs, and so on."""
    extras = PROJECT["optional-dependencies"].values()
    waiting = [Requirement(line) for lines in (PROJECT["dependencies"], *extras) for line in lines]
    found = {"swaypoint": PROJECT["license"]}
    while waiting:
        of = waiting.pop()
        name = canonicalize_name(of.name)
        if name in found:
            continue
        try:
            found[name] = licence(name)
        except metadata.PackageNotFoundError:
            continue  # an extra that is not installed here
        for line in metadata.requires(name) or []:
            needed = Requirement(line)
            contexts = of.extras or {""}
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in contexts):
                waiting.append(needed)
    return found


def test_every_licence_is_permissive_or_was_weighed():
    found = installed()
    assert len(found) > 20
    doubtful = {
        name: named
        for name, named in found.items()
        if not PERMISSIVE.search(named) and not name.startswith(OF_A_GPU)
    }
    assert {name: named for name, named in doubtful.items() if OTHERS.get(name, "none") not in named} == {}


def test_no_version_of_cleanlab_under_the_agpl_is_let_in():
    (cleanlab,) = [
        Requirement(line) for line in PROJECT["optional-dependencies"]["study"] if line.startswith("cleanlab")
    ]
    assert "2.7.1" not in cleanlab.specifier
    assert "2.8" in cleanlab.specifier
