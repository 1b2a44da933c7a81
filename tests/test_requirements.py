"""The locked versions are such as requirements.txt asks for, each with its hashes."""

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
BUILDS = {"requirements.lock": "tensorflow-cpu", "requirements-cuda.lock": "tensorflow"}


def wanted() -> list[Requirement]:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    return [Requirement(line.partition("#")[0]) for line in lines if line.partition("#")[0].strip()]


@pytest.mark.parametrize("name", BUILDS)
def test_locked_versions_are_wanted_ones_with_hashes(name):
    entries = re.split(r"\n(?=\S)", re.sub(r"^#.*\n", "", (ROOT / name).read_text(), flags=re.MULTILINE).strip())
    locked: dict[str, list[str]] = {}
    for entry in entries:
        found = re.match(r"([\w.-]+)(?:\[[\w-]+\])?==([^\s;]+)", entry)
        assert found, entry
        assert "--hash=sha256:" in entry, entry
        locked.setdefault(found[1], []).append(found[2])
    for requirement in wanted():
        versions = locked[BUILDS[name] if requirement.name == "tensorflow" else requirement.name]
        assert all(version in requirement.specifier for version in versions), requirement
