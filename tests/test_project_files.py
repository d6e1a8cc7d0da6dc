"""Files that GitHub and others read are as their schemas say, and agree with the package."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import resnext_backbones

ROOT = Path(__file__).parents[1]
FORMS = ROOT / ".github" / "ISSUE_TEMPLATE"
RELEASE = ROOT / ".github" / "workflows" / "release.yml"

SCHEMAS = {
    "github-workflows": sorted(RELEASE.parent.glob("*.yml")),
    "github-issue-forms": sorted(set(FORMS.glob("*.yml")) - {FORMS / "config.yml"}),
    "github-issue-config": [FORMS / "config.yml"],
    "citation-file-format": [ROOT / "CITATION.cff"],
}

pytestmark = pytest.mark.skipif(
    not RELEASE.is_file(), reason="what GitHub reads is not in a source distribution"
)


@pytest.mark.parametrize("schema", SCHEMAS)
def test_they_are_valid(schema: str) -> None:
    pytest.importorskip("check_jsonschema", reason="check-jsonschema is not installed")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}"]
    done = subprocess.run(
        [*command, "--force-filetype", "yaml", *SCHEMAS[schema]],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert SCHEMAS[schema]


def test_the_citation_is_of_this_version_and_of_the_paper() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["version"] == resnext_backbones.__version__
    assert cited["authors"] == [{"name": "the resnext_backbones authors"}]
    paper = cited["preferred-citation"]
    names = [author["family-names"] for author in paper["authors"]]
    assert names == ["Xie", "Girshick", "Dollár", "Tu", "He"]


def test_the_changelog_begins_with_this_version() -> None:
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert headings[0] == resnext_backbones.__version__


def test_only_the_job_that_publishes_has_an_identity() -> None:
    workflow = yaml.safe_load(RELEASE.read_text(encoding="utf-8"))
    jobs = workflow["jobs"]
    assert workflow[True] == {"push": {"tags": ["v*"]}}  # `on` is a truth value of YAML
    assert workflow["permissions"] == {"contents": "read"}
    assert {n: j.get("permissions") for n, j in jobs.items() if "permissions" in j} == {
        "publish": {"id-token": "write"}
    }
    assert jobs["publish"]["environment"]["name"] == "pypi"
    assert [jobs[name].get("needs") for name in ("build", "test", "publish")] == [
        None,
        "build",
        "test",
    ]
    assert jobs["publish"]["steps"][-1]["uses"].startswith("pypa/gh-action-pypi-publish@")


def test_the_tag_is_compared_with_the_version() -> None:
    steps = yaml.safe_load(RELEASE.read_text(encoding="utf-8"))["jobs"]["build"]["steps"]
    (command,) = (step["run"] for step in steps if step.get("name") == "The tag is the version")
    for tag, status in ((f"v{resnext_backbones.__version__}", 0), ("v9.9.9", 1), ("v", 1)):
        env = {"GITHUB_REF_NAME": tag, "PATH": "/usr/bin:/bin"}
        done = subprocess.run(["bash", "-ec", command], cwd=ROOT, env=env, check=False)
        assert done.returncode == status, tag


@pytest.mark.parametrize("name", ["bug", "wrong_result"])
def test_who_reports_is_asked_for_the_doctors_page(name: str) -> None:
    form = yaml.safe_load((FORMS / f"{name}.yml").read_text(encoding="utf-8"))
    fields = {field["id"]: field for field in form["body"]}
    assert "resnext doctor" in fields["doctor"]["attributes"]["label"]
    assert fields["doctor"]["validations"]["required"]
    assert fields["command"]["validations"]["required"]


@pytest.mark.parametrize("path", SCHEMAS["github-workflows"], ids=lambda path: path.stem)
def test_nothing_that_a_workflow_runs_changes_without_a_commit_here(path: Path) -> None:
    jobs = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"].values()
    used = [step["uses"] for job in jobs for step in job["steps"] if "uses" in step]
    assert used
    assert all(re.search(r"@[0-9a-f]{40}$", action) for action in used), used
