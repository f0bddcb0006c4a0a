"""The workflows of GitHub and GitLab: least permissions, pinned actions, and shell blocks that work."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from experiments.pull_request import MARK
from tests.clone import ROOT

FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TEXTS = {path.stem: path.read_text(encoding="utf-8") for path in FILES}
WORKFLOWS: dict[str, dict[str, Any]] = {name: yaml.safe_load(text) for name, text in TEXTS.items()}
STEPS = [(name, step) for name, flow in WORKFLOWS.items() for job in flow["jobs"].values() for step in job["steps"]]
GITLAB: dict[str, Any] = yaml.safe_load((ROOT / ".gitlab-ci.yml").read_text(encoding="utf-8"))
BLOCKS = {
    **{f"{name}: {step.get('name', step['run'])}": step["run"] for name, step in STEPS if "run" in step},
    **{f"gitlab: {name}": "\n".join(job["script"]) for name, job in GITLAB.items() if "script" in job},
}
# Stands in for GitHub's command: lists a comment if there is one, and keeps what is written.
GH = """#!/bin/bash
echo "$*" >> asked
[[ "$*" != *--paginate* ]] || cat ids
"""


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_may_only_read_and_ends_in_time(name: str) -> None:
    assert WORKFLOWS[name]["permissions"] == {"contents": "read"}
    for job_name, job in WORKFLOWS[name]["jobs"].items():
        assert job["timeout-minutes"] <= 90
        assert job.get("permissions", {}) == (
            {"contents": "write", "pull-requests": "write"} if job_name == "publish" else {}
        )


def test_the_job_that_may_write_runs_no_code_of_the_pull_request_and_is_left_out_for_a_fork() -> None:
    publish = WORKFLOWS["report"]["jobs"]["publish"]
    assert publish["if"] == "github.event.pull_request.head.repo.full_name == github.repository"
    assert [step["uses"].partition("@")[0] for step in publish["steps"] if "uses" in step] == [
        "actions/download-artifact"
    ]
    assert not re.search(r"python|make|\.venv", "".join(step.get("run", "") for step in publish["steps"]))


@pytest.mark.parametrize("name", TEXTS)
def test_actions_are_pinned_by_commit_with_their_version_beside(name: str) -> None:
    used = re.findall(r"uses: (.+)", TEXTS[name])
    assert used
    assert all(re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+", action) for action in used)
    assert "pull_request_target" not in TEXTS[name]
    assert "secrets." not in TEXTS[name]


@pytest.mark.parametrize("name", BLOCKS)
def test_a_shell_block_is_valid_and_names_what_exists(name: str) -> None:
    block = BLOCKS[name]
    assert "${{" not in block, "an expression in a script is an injection"
    subprocess.run(["bash", "-n"], input=block, text=True, check=True)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make ([\w.-]+)(?: |$)", block, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for module in re.findall(r"python -m (experiments[\w.]*)", block):
        assert (ROOT / f"{module.replace('.', '/')}.py").exists()


def test_every_python_that_the_pins_support_is_checked() -> None:
    (name,) = [name for name in WORKFLOWS if "matrix" in TEXTS[name]]
    versions = WORKFLOWS[name]["jobs"]["check"]["strategy"]["matrix"]["python"]
    assert versions == GITLAB["check"]["parallel"]["matrix"][0]["PYTHON_VERSION"] == ["3.11", "3.12", "3.13", "3.14"]


def run_step(folder: Path, name: str, **variables: str) -> None:
    """Run a step of the job that publishes, in a folder."""
    (step,) = [step for step in WORKFLOWS["report"]["jobs"]["publish"]["steps"] if step.get("name") == name]
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", step["run"]],
        cwd=folder,
        env={**os.environ, "PATH": path, "NUMBER": "7", **variables},
        check=True,
    )


def test_the_pictures_of_the_last_run_replace_those_before(tmp_path: Path) -> None:
    address = tmp_path / "forge.git"
    subprocess.run(["git", "init", "-q", "--bare", str(address)], check=True)
    for run in ("100", "101"):
        folder = tmp_path / run
        (folder / "found" / "comparison").mkdir(parents=True)
        (folder / "found" / "comparison" / "curves.png").write_text(run)
        run_step(folder, "Publish the pictures", ADDRESS=str(address), GITHUB_RUN_ID=run)
    command = ["git", "-C", str(address), "ls-tree", "-r", "--name-only", "comparison"]
    assert subprocess.check_output(command, text=True) == "7/101/curves.png\n"


@pytest.mark.parametrize("number", ["", "55"])
def test_the_comment_is_written_once_and_then_updated(tmp_path: Path, number: str) -> None:
    (tmp_path / "found" / "comparison").mkdir(parents=True)
    (tmp_path / "found" / "comparison" / "comment.md").write_text(f"{MARK}\n\nText.\n")
    (tmp_path / "ids").write_text(number)
    (tmp_path / "gh").write_text(GH)
    (tmp_path / "gh").chmod(0o755)
    run_step(tmp_path, "Write the comment, or update it", GITHUB_REPOSITORY="me/it")
    listed, written = (tmp_path / "asked").read_text().splitlines()
    assert f'startswith("{MARK}")' in listed
    method, place = (
        ("--method PATCH ", "repos/me/it/issues/comments/55") if number else ("", "repos/me/it/issues/7/comments")
    )
    assert written == f"api --silent {method}{place} -F body=@found/comparison/comment.md"
