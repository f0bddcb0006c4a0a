"""Stages on a full disk: a one-line error, no partial outputs, and success once there is space."""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sentiment.download.fetch import fetch
from sentiment.errors import InputError
from stages.run import one_line_errors
from tests.clone import STAGES, Clone

pytestmark = pytest.mark.slow

SETTINGS = ["download.sample.reviews=200", "model.hidden_size=8", "train.epochs=2", "pretrain.enabled=true"]
MEBIBYTES = 100


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    """Return a clone on a separate disk, in memory, in which all stages have run."""
    disk = tmp_path_factory.mktemp("disk")
    sudo = [] if os.geteuid() == 0 else ["sudo", "--non-interactive"]
    options = f"size={MEBIBYTES}m,uid={os.geteuid()},mode=700"
    mount = [*sudo, "mount", "-t", "tmpfs", "-o", options, "tmpfs", str(disk)]
    is_mounted = shutil.which(mount[0]) is not None and subprocess.run(mount).returncode == 0
    if not is_mounted and "NO_SKIPS" not in os.environ:
        pytest.skip("mounting a disk needs root, or sudo without a password")
    assert is_mounted
    try:
        clone = Clone(disk)
        clone.set_parameters(*SETTINGS)
        clone.run_stages(*STAGES)
        yield clone
    finally:
        subprocess.run([*sudo, "umount", "--lazy", str(disk)], check=True)


def fill(disk: Path, free: int) -> Path:
    """Fill a disk until only `free` bytes are left, and return the file that fills it."""
    filler = disk / "filler"
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(disk).free - free)
    return filler


# With 0 bytes free a stage fails at its first write; the others fail in the middle of one.
@pytest.mark.parametrize(("stage", "free"), [*((stage, 0) for stage in STAGES), ("prepare", 8192), ("train", 65536)])
def test_a_full_disk_is_reported_and_changes_no_output(clone: Clone, stage: str, free: int) -> None:
    before = clone.digests()
    filler = fill(clone.folder, free)
    try:
        with pytest.raises(SystemExit, match=r"^error: .*the disk is full"), one_line_errors():
            clone.run_stages(stage)
    finally:
        filler.unlink()
    assert clone.digests() == before
    assert not list(clone.folder.rglob("*.partial"))
    clone.run_stages(stage)
    assert clone.digests() == before


def test_a_download_that_filled_the_disk_resumes_once_there_is_space(clone: Clone, tmp_path: Path) -> None:
    content = bytes(range(256)) * 8192
    (tmp_path / "source").write_bytes(content)
    url, checksum, store = (tmp_path / "source").as_uri(), hashlib.sha256(content).hexdigest(), clone.folder / "store"
    filler = fill(clone.folder, 1 << 20)
    try:
        with pytest.raises(InputError, match=r"part: the disk is full; the file has 2,097,152 bytes; the partial"):
            fetch(url, checksum, store, max_bytes=len(content))
    finally:
        filler.unlink()
    assert 0 < (store / f"{checksum}.part").stat().st_size < len(content)
    assert fetch(url, checksum, store, max_bytes=len(content)).read_bytes() == content
    shutil.rmtree(store)
