"""Tag the last commit as the next version of the model, if its test accuracy beats that of the last version.

    python -m experiments.promote v1.0.0
    python -m experiments.promote minor --remote origin

The rule: the lower end of the new accuracy's 95 % interval must be above the last version's accuracy, on the same
corpus. `--force` tags without this comparison.
"""

import argparse
import hashlib
import json
import subprocess
from typing import Any, NamedTuple

from gto.versions import SemVer

from experiments.pull_request import flatten, recorded_md5
from sentiment.errors import InputError
from stages.params import parse_yaml
from stages.paths import CORPUS, METRICS, PACKAGE
from stages.run import one_line_errors

ARTIFACT = PACKAGE.name  # in dvc.yaml, the name of the artifact is that of its folder
LOCK = "dvc.lock"
TEST = METRICS["test"][0].as_posix()
BUMPS = ("major", "minor", "patch")


class Results(NamedTuple):
    """The test results of a commit, and the corpus they belong to."""

    accuracy: float
    low: float  # ends of the accuracy's 95 % interval
    high: float
    corpus: str  # download.corpus
    corpus_md5: str | None

    def __str__(self) -> str:
        return f"{self.accuracy:.2%} ({self.low:.2%} to {self.high:.2%})"


def promote(version: str, force: bool = False, remote: str | None = None) -> str:
    """Tag the last commit with a version, such as v1.2.0, or with the next major, minor or patch version.

    Pushes the tag to a git remote if one is given. Returns the tag. Raises InputError if the results are not committed,
    the tag exists, or, without `force`, the results do not beat those of the last version.
    """
    check_committed()
    last = last_version()
    tag = f"{ARTIFACT}@{next_version(version, last)}"
    if git("tag", "--list", tag):
        raise InputError(f"{tag}: exists; choose another version")
    new = read_results("HEAD")
    if last and not force:
        check_better(new, read_results(f"{ARTIFACT}@{last}"), f"{ARTIFACT}@{last}")
    git("tag", "--annotate", tag, "--message", f"Test accuracy {new}")
    if remote:
        try:
            git("push", "--quiet", remote, f"refs/tags/{tag}")
        except InputError:
            git("tag", "--delete", tag)  # so that the same command can be run again
            raise
    print(f"{tag}: test accuracy {new}")
    return tag


def check_committed() -> None:
    """Raise InputError if results or parameters are not committed, or are not those of dvc.lock."""
    changed = git("status", "--porcelain", "--", LOCK, "metrics", "params.yaml").splitlines()
    if changed:
        names = ", ".join(line[3:] for line in changed)
        raise InputError(f"a version is a commit; commit these files first, or restore them: {names}")
    md5 = hashlib.md5(show("HEAD", TEST), usedforsecurity=False).hexdigest()
    stages = read_stages("HEAD")
    if md5 != recorded_md5(stages, "evaluate", TEST):
        raise InputError(f"{TEST}: differs from the file recorded in {LOCK}; run dvc repro and commit both")
    params = flatten(parse_yaml(show("HEAD", "params.yaml").decode()))
    for stage in stages.values():
        for key, value in flatten(stage.get("params", {}).get("params.yaml", {})).items():
            if params.get(key) != value:
                raise InputError(f"params.yaml: {key} is not what {LOCK} records; run dvc repro and commit both")


def last_version() -> str | None:
    """Return the highest version that has a tag, apart from those that GTO has marked as withdrawn."""
    names = {tag.removeprefix(f"{ARTIFACT}@") for tag in git("tag", "--list", f"{ARTIFACT}@v*").split()}
    versions = [SemVer(name) for name in names if SemVer.is_valid(name) and f"{name}!" not in names]
    return max(versions).version if versions else None


def next_version(version: str, last: str | None) -> str:
    """Return the version to tag; `version` is a version or one of BUMPS."""
    if SemVer.is_valid(version):
        return version
    if version not in BUMPS:
        raise InputError(f"the version must be like v1.2.0, or one of {', '.join(BUMPS)}; got {version!r}")
    if last is None:
        raise InputError(f"{version}: there is no version to count from; name the first, such as v1.0.0")
    bumped: str = SemVer(last).bump(**{f"bump_{version}": True}).version
    return bumped


def read_results(revision: str) -> Results:
    """Read the results of a commit from git."""
    metrics = json.loads(show(revision, TEST))
    stages = read_stages(revision)
    return Results(
        metrics["accuracy"],
        metrics["accuracy_low"],
        metrics["accuracy_high"],
        stages["download_corpus"]["params"]["params.yaml"]["download.corpus"],
        recorded_md5(stages, "download_corpus", CORPUS.as_posix()),
    )


def read_stages(revision: str) -> dict[str, Any]:
    """Read what dvc.lock records of each stage in a commit."""
    stages: dict[str, Any] = parse_yaml(show(revision, LOCK).decode())["stages"]
    return stages


def check_better(new: Results, old: Results, old_tag: str) -> None:
    """Raise InputError if results do not beat those of an older version, or cannot be compared with them."""
    if new.corpus != old.corpus:
        raise InputError(
            f"{TEST}: is of the corpus {new.corpus}, {old_tag} of {old.corpus}, so that their accuracies cannot be "
            "compared; use --force to tag without a comparison"
        )
    if new.corpus_md5 != old.corpus_md5:
        raise InputError(
            f"{CORPUS}: differs from that of {old_tag}, so that their accuracies cannot be compared; "
            "use --force to tag without a comparison"
        )
    if not new.low > old.accuracy:
        raise InputError(
            f"{TEST}: accuracy {new} does not beat {old_tag}, {old}: its interval must begin above "
            f"{old.accuracy:.2%}, or use --force"
        )


def show(revision: str, path: str) -> bytes:
    """Return a file of a commit."""
    return run_git("show", f"{revision}:{path}")


def git(*arguments: str) -> str:
    """Return the output of a git command as text."""
    return run_git(*arguments).decode()


def run_git(*arguments: str) -> bytes:
    """Return the output of a git command; raise InputError with git's message if the command fails."""
    result = subprocess.run(["git", *arguments], capture_output=True)
    if result.returncode:
        raise InputError(f"git {arguments[0]}: {' '.join(result.stderr.decode(errors='replace').split())}")
    return result.stdout


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m experiments.promote", description=promote.__doc__)
    parser.add_argument("version", help="such as v1.2.0, or the part of the last version to raise: major, minor, patch")
    parser.add_argument("--force", action="store_true", help="tag without a comparison with the last version")
    parser.add_argument("--remote", help="git remote to push the tag to; without it nothing is pushed")
    arguments = parser.parse_args()
    with one_line_errors():
        promote(arguments.version, arguments.force, arguments.remote)
