"""The workflows of GitHub and GitLab: least permissions, pinned actions, and shell blocks that work."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from experiments.pull_request import MARK
from tests.clone import ROOT, Clone

FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TEXTS = {path.stem: path.read_text(encoding="utf-8") for path in FILES}
WORKFLOWS: dict[str, dict[str, Any]] = {name: yaml.safe_load(text) for name, text in TEXTS.items()}
STEPS = [(name, step) for name, flow in WORKFLOWS.items() for job in flow["jobs"].values() for step in job["steps"]]
GITLAB: dict[str, Any] = yaml.safe_load((ROOT / ".gitlab-ci.yml").read_text(encoding="utf-8"))
BLOCKS = {
    **{f"{name}: {step.get('name', step['run'])}": step["run"] for name, step in STEPS if "run" in step},
    **{f"gitlab: {name}": "\n".join(job["script"]) for name, job in GITLAB.items() if "script" in job},
}
# The jobs that may write, and what.
MAY_WRITE = {
    ("report", "publish"): {"contents": "write", "pull-requests": "write"},
    ("release", "publish"): {"contents": "write"},
}
# Stands in for GitHub's command: lists a comment if there is one, and keeps what is written.
GH = """#!/bin/bash
echo "$*" >> asked
[[ "$*" != *--paginate* ]] || cat ids
"""

# The same for GitLab's interface.
CURL = """#!/bin/bash
echo "$*" >> asked
[[ "$*" != *per_page* ]] || cat notes
"""


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_may_only_read_and_ends_in_time(name: str) -> None:
    assert WORKFLOWS[name]["permissions"] == {"contents": "read"}
    for job_name, job in WORKFLOWS[name]["jobs"].items():
        assert job["timeout-minutes"] <= 90
        assert job.get("permissions", {}) == MAY_WRITE.get((name, job_name), {})


def test_the_report_of_a_fork_is_not_published() -> None:
    publish = WORKFLOWS["report"]["jobs"]["publish"]
    assert publish["if"] == "github.event.pull_request.head.repo.full_name == github.repository"


@pytest.mark.parametrize(("name", "job"), MAY_WRITE)
def test_a_job_that_may_write_runs_no_code_of_the_repository(name: str, job: str) -> None:
    publish = WORKFLOWS[name]["jobs"][job]
    assert [step["uses"].partition("@")[0] for step in publish["steps"] if "uses" in step] == [
        "actions/download-artifact"
    ]
    assert not re.search(r"python|make|\.venv", "".join(step.get("run", "") for step in publish["steps"]))


@pytest.mark.parametrize("name", TEXTS)
def test_actions_are_pinned_by_commit_with_their_version_beside(name: str) -> None:
    used = re.findall(r"uses: (.+)", TEXTS[name])
    assert used
    assert all(re.fullmatch(r"actions/[\w/-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+", action) for action in used)
    assert "pull_request_target" not in TEXTS[name]


def test_the_only_secret_is_that_of_the_remote_in_the_step_that_pulls() -> None:
    with_secrets = {step["name"]: step.get("env", {}) for _, step in STEPS if "secrets" in str(step)}
    secret = {"DVC_CONFIG_LOCAL": "${{ secrets.DVC_CONFIG_LOCAL }}"}
    assert with_secrets == {
        "Restore what the remote has, if there is one": secret,
        "Pull the model, or make it again if there is no remote": secret,
    }
    assert sum(text.count("secrets.") for text in TEXTS.values()) == len(with_secrets)


def test_the_comment_is_found_by_the_mark_that_the_script_writes() -> None:
    assert f"mark='{MARK}'" in BLOCKS["report: Write the comment, or update it"]
    assert f"mark='{MARK}'" in BLOCKS["gitlab: note"]


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
    """Run a step of GitHub's workflows in a folder."""
    (step,) = [step for _, step in STEPS if step.get("name") == name]
    run_block(folder, step["run"], NUMBER="7", **variables)


def run_block(folder: Path, block: str, **variables: str) -> None:
    """Run a shell block in a folder, whose programs come first."""
    path = f"{folder}{os.pathsep}{variables.pop('PATH', os.environ['PATH'])}"
    environment = {**os.environ, "PATH": path, **variables}
    subprocess.run(["bash", "-e", "-o", "pipefail", "-c", block], cwd=folder, env=environment, check=True)


def write_gh(folder: Path) -> None:
    """Write what stands in for GitHub's command."""
    (folder / "gh").write_text(GH)
    (folder / "gh").chmod(0o755)


def test_the_pictures_of_the_last_run_replace_those_before(tmp_path: Path) -> None:
    address = tmp_path / "forge.git"
    subprocess.run(["git", "init", "-q", "--bare", str(address)], check=True)
    for number, run in enumerate(("100", "101", "101")):
        folder = tmp_path / str(number)
        (folder / "found" / "comparison").mkdir(parents=True)
        (folder / "found" / "comparison" / "curves.png").write_text(run)
        write_gh(folder)
        run_step(folder, "Publish the pictures", ADDRESS=str(address), GITHUB_RUN_ID=run)
    command = ["git", "-C", str(address), "ls-tree", "-r", "--name-only", "comparison"]
    assert subprocess.check_output(command, text=True) == "7/101/curves.png\n"


@pytest.mark.parametrize("number", ["", "55"])
def test_the_comment_is_written_once_and_then_updated(tmp_path: Path, number: str) -> None:
    (tmp_path / "found" / "comparison").mkdir(parents=True)
    (tmp_path / "found" / "comparison" / "comment.md").write_text(f"{MARK}\n\nText.\n")
    (tmp_path / "ids").write_text(number)
    write_gh(tmp_path)
    run_step(tmp_path, "Write the comment, or update it", GITHUB_REPOSITORY="me/it")
    listed, written = (tmp_path / "asked").read_text().splitlines()
    assert f'startswith("{MARK}")' in listed
    method, place = (
        ("--method PATCH ", "repos/me/it/issues/comments/55") if number else ("", "repos/me/it/issues/7/comments")
    )
    assert written == f"api --silent {method}{place} -F body=@found/comparison/comment.md"


@pytest.mark.parametrize("number", [None, 55])
def test_the_note_on_gitlab_is_written_once_and_then_updated(tmp_path: Path, number: int | None) -> None:
    (tmp_path / "comparison").mkdir()
    (tmp_path / "comparison" / "comment.md").write_text(f"{MARK}\n\nText.\n")
    notes = [{"id": 9, "body": "Looks good."}, *([{"id": number, "body": f"{MARK}\n\nOld."}] if number else [])]
    (tmp_path / "notes").write_text(json.dumps(notes))
    (tmp_path / "curl").write_text(CURL)
    (tmp_path / "curl").chmod(0o755)
    variables = {"CI_API_V4_URL": "https://forge/api", "CI_PROJECT_ID": "3", "CI_MERGE_REQUEST_IID": "7"}
    run_block(tmp_path, GITLAB["note"]["script"][-1], REPORT_TOKEN="secret", **variables)
    written = (tmp_path / "asked").read_text().splitlines()[-1]
    method, place = ("--request PUT ", "/55") if number else ("", "")
    assert written == (
        f"--fail --silent --header PRIVATE-TOKEN: secret --output /dev/null {method}"
        f"--data-urlencode body@comparison/comment.md https://forge/api/projects/3/merge_requests/7/notes{place}"
    )


@pytest.mark.slow
@pytest.mark.parametrize("has_remote", [True, False])
def test_a_tag_becomes_a_release(small_run: Clone, tmp_path: Path, has_remote: bool) -> None:
    (tmp_path / "clone").mkdir()
    clone = small_run.copy_to(tmp_path / "clone")
    (clone.folder / ".venv").symlink_to(sys.prefix)
    if has_remote:
        clone.dvc("remote", "add", "--default", "storage", str(tmp_path / "storage"))
        clone.dvc("push", "package", "report")
        for gone in (".dvc/cache", "classifier", "data"):
            shutil.rmtree(clone.folder / gone)
    variables = {name: clone.environment()[name] for name in ("PATH", "DVC_NO_ANALYTICS", "DVC_SITE_CACHE_DIR")}
    run_step(clone.folder, "Pull the model, or make it again if there is no remote", DVC_CONFIG_LOCAL="", **variables)
    run_step(clone.folder, "Export and pack", **variables)
    release = clone.folder / "release"
    names = ["classifier-onnx.zip", "classifier.zip", "model-card.md", "report.html"]
    assert sorted(path.name for path in release.iterdir()) == names
    shutil.unpack_archive(release / "classifier.zip", tmp_path / "unpacked")
    model = str(tmp_path / "unpacked" / "classifier")
    scored = clone.run(sys.executable, "-m", "stages.predict", "--model", model, "--text", "Dull.")
    assert scored.endswith("Dull.\n")

    write_gh(clone.folder)
    run_step(clone.folder, "Make the release", GITHUB_REF_NAME="classifier@v1.0.0")
    assert (clone.folder / "asked").read_text() == (
        "release delete classifier@v1.0.0 --yes\n"
        "release create classifier@v1.0.0 --verify-tag --notes-file release/model-card.md "
        + " ".join(f"release/{name}" for name in names)
        + "\n"
    )
