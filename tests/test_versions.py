"""What pyproject.toml declares is what `python -m tests.versions` runs."""

from __future__ import annotations

import sys

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from tests import versions


def test_every_version_that_may_install_it_is_declared_and_no_other():
    allowed = SpecifierSet(versions.declared()["requires-python"])
    found = [f"3.{minor}" for minor in range(30) if f"3.{minor}.5" in allowed]
    assert versions.versions(versions.declared()) == found


def test_every_dependency_has_a_lowest_release_within_its_bounds():
    for requirement in versions.declared()["dependencies"]:
        name, _, version = versions.lowest(requirement).partition("==")
        assert Requirement(requirement).name == name
        assert version in Requirement(requirement).specifier


def test_the_python_that_runs_this_is_found_and_a_liar_is_not(tmp_path, monkeypatch):
    own = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert versions.find(own)
    liar = tmp_path / "python3.99"
    liar.write_text("#!/bin/sh\necho 3.11\n")
    liar.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert versions.find("3.99") is None


def test_the_jobs_are_the_found_versions_and_the_lowest_bounds(monkeypatch):
    monkeypatch.setattr(versions, "find", lambda v: None if v == "3.12" else f"/usr/bin/python{v}")
    chosen, missing = versions.jobs(versions.declared(), [], others=False)
    assert [job.name for job in chosen] == ["3.11", "3.13", "lowest, 3.11"]
    assert missing == ["3.12"]
    assert all("==" in text for text in chosen[-1].requirements[: -len(versions.TOOLS)])
    assert [j.name for j in versions.jobs(versions.declared(), ["3.13"], False)[0]] == ["3.13"]
