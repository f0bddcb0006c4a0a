"""A copy of the repository in which tests run the pipeline as a user does."""

import hashlib
import importlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import chdir
from pathlib import Path

from stages.params import read_params

ROOT = Path(__file__).resolve().parent.parent
COPIED = (
    *("src", "stages", "examples", "experiments"),
    *("dvc.yaml", "params.yaml", "versions.yaml", ".dvcignore", ".gitignore"),
)
SMALL = ["train.epochs=1", "model.hidden_size=8", "download.sample.reviews=200"]
FASTER = "train.learning_rate=2e-3"
RESUMED = [  # small too, but with every part that can resume
    *("download.sample.reviews=300", "model.hidden_size=16", "train.epochs=4", "train.refit=true", "train.virtual=0.5"),
    *("pretrain.enabled=true", "pretrain.streams=8", "pretrain.window=8"),
]
STAGES = (
    "download_corpus download_vectors prepare vectors pretrain baseline train calibrate evaluate report package".split()
)
OUTPUTS = (
    "data baseline pretrained network held_out model curves evaluation classifier metrics".split()
)  # and report.html


def allow_interrupts() -> None:
    """Let SIGINT end the process that this runs in, even where a shell has its jobs in the background ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Clone:
    """A copy of the repository with its own git history and its own DVC cache."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / ".dvc").mkdir()
        for name in (*COPIED, ".dvc/config", ".dvc/plots", ".dvc/.gitignore"):
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, folder / name)
        self.run("git", "init", "-q")
        self.run("git", "config", "user.name", "Test")
        self.run("git", "config", "user.email", "test@example.org")
        self.run("git", "add", ".")
        self.run("git", "commit", "-q", "-m", "Start")

    @classmethod
    def at(cls, folder: Path) -> "Clone":
        """Return the clone that a folder already holds."""
        clone = cls.__new__(cls)
        clone.folder = folder
        return clone

    def copy_to(self, folder: Path) -> "Clone":
        """Copy the clone with its history, its outputs and its cache, from which DVC restores what ran before."""
        shutil.copytree(self.folder, folder, symlinks=True, dirs_exist_ok=True)
        return Clone.at(folder)

    def run(self, *command: str, status: int | None = 0) -> str:
        """Run a command that ends with a status; None: any but 0."""
        result = subprocess.run(command, cwd=self.folder, env=self.environment(), capture_output=True, text=True)
        assert result.returncode == status or (status is None and result.returncode), result.stdout + result.stderr
        return result.stdout + result.stderr

    def environment(self) -> dict[str, str]:
        """Return the variables that commands run with."""
        return {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "DVC_NO_ANALYTICS": "1",
            "DVC_SITE_CACHE_DIR": str(self.folder / ".dvc" / "tmp" / "site"),  # DVC's own is below /var/tmp
        }

    def dvc(self, *arguments: str, status: int | None = 0) -> str:
        return self.run(sys.executable, "-m", "dvc", *arguments, status=status)

    def experiment(self, *changes: str) -> list[str]:
        """Run the pipeline with changed parameters and return the stages that ran."""
        settings = [argument for change in changes for argument in ("-S", change)]
        return re.findall(r"Running stage '(\w+)'", self.dvc("exp", "run", *settings))

    def set_parameters(self, *changes: str) -> None:
        """Change params.yaml as `dvc exp run -S` does."""
        from dvc.utils.hydra import apply_overrides

        apply_overrides(self.folder / "params.yaml", list(changes))

    def stale_stages(self) -> set[str]:
        """Return the stages that DVC would run, apart from those that only follow another stage."""
        return set(re.findall(r"^(\w+):$", self.dvc("status"), re.MULTILINE))

    def run_stages(self, *stages: str) -> None:
        """Run stages in this process: without DVC, and without the seconds that importing PyTorch takes each time.

        The instruction sets of `train.portable` are not set, so that outputs differ in some bits from those of DVC.
        """
        with chdir(self.folder):
            for stage in stages:
                getattr(importlib.import_module(f"stages.{stage}"), stage)(read_params())

    def forget(self, stage: str) -> None:
        """Remove the records by which DVC restores the outputs of a stage instead of running it."""
        for record in [path for path in (self.folder / ".dvc" / "cache" / "runs").rglob("*") if path.is_file()]:
            if f"python -m stages.{stage}\n" in record.read_text(encoding="utf-8"):
                shutil.rmtree(record.parent)

    def metrics(self, name: str) -> dict[str, float]:
        figures: dict[str, float] = json.loads((self.folder / "metrics" / f"{name}.json").read_text())
        return figures

    def digests(self) -> dict[str, str]:
        """Return the sha256 of every output and metric."""
        outputs = [path for top in OUTPUTS for path in sorted((self.folder / top).rglob("*")) if path.is_file()]
        outputs += self.folder.glob("report.html")
        return {str(path.relative_to(self.folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in outputs}
