"""What strangers meet first: the wheel, the workflow, the versions, and no address that nobody gave."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import swaypoint

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ")
PUBLICATION = tomllib.loads((ROOT / "publication.toml").read_text(encoding="utf-8"))
CORE = ["torch", "numpy", "pyarrow", "fsspec", "safetensors", "typer", "rich"]
ORACLES = ["scikit-learn", "pytest", "hypothesis", "statsmodels"]


def document(name: str):
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def test_the_wheel_has_every_file_of_the_package_and_is_typed(tmp_path):
    pytest.importorskip("hatchling", reason="needs hatchling, which builds the wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("swaypoint/")}
    source = ROOT / "src"
    files = [path for path in source.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    expected = {path.relative_to(source).as_posix() for path in files}
    assert "swaypoint/py.typed" in packed
    assert packed == {name for name in expected if name.startswith("swaypoint/")}


def test_the_workflows_call_targets_that_there_are():
    (phony,) = re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.M)
    jobs = [
        job
        for name in ("ci", "release")
        for job in document(f".github/workflows/{name}.yml")["jobs"].values()
        if "steps" in job
    ]
    commands = [step.get("run", "") for job in jobs for step in job["steps"]]
    called = {
        word for run in commands if run.startswith("make ") for word in run.split()[1:] if "=" not in word
    }
    called = {word for word in called if word.isidentifier() or "-" in word}
    assert called == {"lint", "test", "test-core", "notebooks", "docs", "dist", "alone", "sbom"}
    assert called <= set(phony.split())


def test_the_matrix_has_three_systems_and_both_ends_of_the_versions():
    matrix = document(".github/workflows/ci.yml")["jobs"]["core"]["strategy"]["matrix"]
    assert matrix["os"] == ["ubuntu-latest", "macos-latest", "windows-latest"]
    found = {case["versions"]: case for case in matrix["include"]}
    assert set(found) == set(matrix["versions"]) == {"lowest", "newest"}
    assert (ROOT / found["lowest"]["constraints"]).is_file()
    assert found["newest"]["constraints"] == ""
    assert PROJECT["requires-python"] == f">={found['lowest']['python']}"


def test_every_extra_of_users_is_installed_alone():
    matrix = document(".github/workflows/ci.yml")["jobs"]["extras"]["strategy"]["matrix"]
    assert {*matrix["extra"], "dev", "docs"} == {*PROJECT["optional-dependencies"], "core"}
    script = ast.parse((ROOT / "packaging/alone.py").read_text(encoding="utf-8"))
    runs = [
        node.name.removesuffix("_")
        for node in script.body
        if isinstance(node, ast.FunctionDef) and any(ast.unparse(d) == "extra" for d in node.decorator_list)
    ]
    assert sorted(runs) == sorted(matrix["extra"])


def test_the_conda_recipe_is_of_this_project():
    recipe = document("packaging/conda/recipe.yaml")
    assert set(recipe) == {
        *("schema_version", "context", "package", "source", "build", "requirements", "tests", "about")
    }
    called = {"torch": "pytorch"}
    wanted = [line.partition(">=") for line in PROJECT["dependencies"]]
    assert recipe["requirements"]["run"] == [
        "python >=${{ python_min }}",
        *(f"{called.get(name, name)} >={least}" for name, _, least in wanted),
    ]
    assert recipe["build"]["python"]["entry_points"] == [
        f"{name} = {where}" for name, where in PROJECT["scripts"].items()
    ]
    assert recipe["about"]["summary"] == PROJECT["description"]
    assert recipe["about"]["license"] == PROJECT["license"]
    assert (ROOT / "packaging/conda" / recipe["source"]["path"]).resolve() == ROOT
    assert (ROOT / recipe["about"]["license_file"]).is_file()


def test_only_publishing_may_write_and_only_after_all_checks():
    release = document(".github/workflows/release.yml")
    assert (
        release["permissions"] == document(".github/workflows/ci.yml")["permissions"] == {"contents": "read"}
    )
    jobs = release["jobs"]
    allowed = {name: job["permissions"] for name, job in jobs.items() if "permissions" in job}
    assert allowed == {
        "publish": {"id-token": "write", "attestations": "write"},
        "announce": {"contents": "write"},
    }
    assert jobs["publish"]["needs"] == ["tests", "build", "check"]
    assert jobs["publish"]["environment"] == "release"
    assert jobs["announce"]["needs"] == "publish"
    assert jobs["tests"]["uses"] == "./.github/workflows/ci.yml"
    assert "secrets." not in (ROOT / ".github/workflows/release.yml").read_text(encoding="utf-8")


def test_what_is_published_is_built_where_nothing_else_is_installed():
    build, check = (document(".github/workflows/release.yml")["jobs"][name] for name in ("build", "check"))
    assert [step["run"] for step in build["steps"] if "make" in step.get("run", "")] == ["make dist"]
    assert "env" not in build
    uploaded = [step["with"]["path"] for step in check["steps"] if "upload" in step.get("uses", "")]
    assert uploaded == ["build/swaypoint.cdx.json"]


@pytest.mark.parametrize("name", ["ci", "release"])
def test_actions_are_pinned_by_commit_and_leave_no_token(name):
    text = (ROOT / f".github/workflows/{name}.yml").read_text(encoding="utf-8")
    used = re.findall(r"uses: (.*)$", text, re.M)
    assert len(used) > 5
    pinned = re.compile(r"\S+/\S+@[0-9a-f]{40} # v\d+\.\d+\.\d+|\./\.github/workflows/ci\.yml")
    assert [action for action in used if not pinned.fullmatch(action)] == []
    for job in document(f".github/workflows/{name}.yml")["jobs"].values():
        for step in job.get("steps", []):
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False


def test_the_tools_that_build_are_pinned():
    (recipe,) = re.findall(r"^dist:\n((?:\t.*\n)+)", MAKEFILE, re.M)
    assert "pip install -q -c constraints.txt build twine" in recipe
    assert "--dependency-constraints-txt constraints.txt" in recipe
    pinned = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    for name in ("build", "twine", "hatchling", "cyclonedx-bom"):
        assert re.search(rf"^{name}==", pinned, re.M), name


def test_the_image_is_of_files_that_are_sent_to_it():
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.M)
    sent = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    files = {name for line in copied for name in line.split()}
    assert files == {line.removeprefix("!") for line in sent if line.startswith("!")}
    assert all((ROOT / name).exists() for name in files)


def test_the_lowest_versions_are_those_of_the_project():
    extras = PROJECT["optional-dependencies"]
    wanted = PROJECT["dependencies"] + [*extras["sklearn"], *extras["dev"]]
    bounds = dict(found.groups() for line in wanted if (found := re.fullmatch(r"([\w-]+)>=([\d.]+)", line)))
    lines = (ROOT / "constraints-lowest.txt").read_text(encoding="utf-8").splitlines()
    lowest = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    assert len(PROJECT["dependencies"]) == len(CORE)
    assert lowest == {name: bounds[name] for name in CORE + ORACLES}


def test_the_cores_tests_need_the_core_alone():
    allowed = {
        *CORE,
        *ORACLES,
        "sklearn",
        "scipy",
        "pandas",
        "swaypoint",
        "cases",
        "oracles",
        *sys.stdlib_module_names,
    }
    names = re.search(r"^CORE = (.*)$", MAKEFILE, re.M)[1].split()
    other = []
    for name in names:
        for node in ast.parse((ROOT / "tests" / f"test_{name}.py").read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                imported = (
                    [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module]
                )
                other += [(name, module) for module in imported if module.partition(".")[0] not in allowed]
    assert other == []


def test_pre_commit_runs_the_tools_of_make_lint():
    (hooks,) = [repo["hooks"] for repo in document(".pre-commit-config.yaml")["repos"]]
    entries = [hook["entry"].removeprefix(".venv/bin/").replace(" --force-exclude", "") for hook in hooks]
    (lint,) = re.findall(r"^lint: setup\n((?:\t.*\n)+)", MAKEFILE, re.M)
    assert sorted(entries) == sorted(
        line.removeprefix("\t$(BIN)/").removesuffix(" .") for line in lint.splitlines()
    )


def test_one_version_everywhere():
    assert PROJECT["version"] == swaypoint.__version__ == document("CITATION.cff")["version"]
    assert document("packaging/conda/recipe.yaml")["context"]["version"] == PROJECT["version"]
    heading = re.search(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert heading[1] == f"{PROJECT['version']} ({document('CITATION.cff')['date-released']})"


STRANGERS = ["*.md", "CITATION.cff", "pyproject.toml", "Makefile", ".github/**/*.*", "packaging/**/*.*"]
OTHERS = {
    "www.contributor-covenant.org",
    "download.pytorch.org",
    "pytorch.org",
    "schemas.openxmlformats.org",
    "127.0.0.1",
}


def test_no_address_is_invented():
    """Those of others are listed; ours stand in publication.toml, and where that says after publication."""
    own = {value for value in PUBLICATION.values() if value}
    for path in (path for pattern in STRANGERS for path in ROOT.glob(pattern)):
        text = path.read_text(encoding="utf-8")
        for address in own:
            text = text.replace(address, "")
        assert set(re.findall(r"https?://([\w.-]+)", text)) <= OTHERS, path.name
        assert re.findall(r"[\w.+-]+@[\w-]+\.\w+", text) == [], path.name


def test_the_one_place_to_fill_in():
    assert set(PUBLICATION) == {"repository", "security", "conduct"}
    for key, name in (("security", "SECURITY.md"), ("conduct", "CODE_OF_CONDUCT.md")):
        assert f"`{key}` in [publication.toml](publication.toml)" in (ROOT / name).read_text(encoding="utf-8")
    assert PROJECT.get("urls", {}).get("Repository", "") == PUBLICATION["repository"]
    assert document("CITATION.cff").get("repository-code", "") == PUBLICATION["repository"]
