"""What git does with the repository's files, whatever a user has configured."""

import subprocess
from pathlib import Path

import pytest

from tests.clone import ROOT, Clone

pytestmark = pytest.mark.slow

CRLF = (b"a\r\nb\n", b"a\nb\n", b"a\rb", b"\xff\n\x00\n")


def test_a_clone_has_the_same_bytes_whatever_git_does_with_line_ends(tmp_path: Path) -> None:
    (tmp_path / "clone").mkdir()
    clone = Clone(tmp_path / "clone")
    (clone.folder / ".gitattributes").write_bytes((ROOT / ".gitattributes").read_bytes())
    for number, content in enumerate(CRLF):
        for end in ("csv", "tsv", "json", "py", "bin"):
            (clone.folder / f"{number}.{end}").write_bytes(content)
    clone.run("git", "add", ".")
    clone.run("git", "commit", "-q", "-m", "With line ends of all kinds")
    names = clone.run("git", "ls-files").splitlines()
    for setting in (["core.autocrlf=true"], ["core.autocrlf=input"], ["core.eol=crlf", "core.autocrlf=false"]):
        other = tmp_path / setting[0]
        options = [word for choice in setting for word in ("-c", choice)]
        clone.run("git", "clone", "-q", *options, str(clone.folder), str(other))
        assert not [name for name in names if (other / name).read_bytes() != (clone.folder / name).read_bytes()]
        assert not subprocess.check_output(["git", "status", "--porcelain"], cwd=other)


IGNORED = (
    "data",
    "baseline",
    "pretrained",
    "network",
    "held_out",
    "model",
    "curves",
    "evaluation",
    "downloads",
    "resume",
    ".venv",
    "dvc_plots",
    "check",
    "site",
)


@pytest.mark.parametrize("kind", ["folder", "link"])
def test_what_is_made_here_is_ignored_also_where_it_is_a_link(tmp_path: Path, kind: str) -> None:
    (tmp_path / "clone").mkdir()
    clone = Clone(tmp_path / "clone")
    for name in (*IGNORED, "metrics/pushed"):
        target = tmp_path / "large" / name if kind == "link" else clone.folder / name
        target.mkdir(parents=True)
        (target / "file").touch()
        if kind == "link":
            (clone.folder / name).parent.mkdir(exist_ok=True)
            (clone.folder / name).symlink_to(target)
    assert clone.run("git", "status", "--porcelain") == ""
