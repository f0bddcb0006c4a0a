"""A full disk: each stage says so in one line, leaves nothing half-written, and ends well once there is room."""

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
    """A clone on a disk of its own, in memory, in which all stages have run."""
    disk = tmp_path_factory.mktemp("disk")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={MEBIBYTES}m", "tmpfs", str(disk)], check=False)
    if mounted.returncode and "NO_SKIPS" not in os.environ:
        pytest.skip("only root may mount a disk")
    assert mounted.returncode == 0
    try:
        clone = Clone(disk)
        clone.set_parameters(*SETTINGS)
        clone.run_stages(*STAGES)
        yield clone
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(disk: Path, free: int) -> Path:
    """Leave so many bytes of a disk free."""
    filler = disk / "filler"
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(disk).free - free)
    return filler


# At the first write, and for the stages that write most in the middle of one.
@pytest.mark.parametrize(("stage", "free"), [*((stage, 0) for stage in STAGES), ("prepare", 8192), ("train", 65536)])
def test_a_full_disk_is_named_and_costs_nothing(clone: Clone, stage: str, free: int) -> None:
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


def test_a_download_that_fills_the_disk_goes_on_once_there_is_room(clone: Clone, tmp_path: Path) -> None:
    content = bytes(range(256)) * 8192
    (tmp_path / "source").write_bytes(content)
    url, checksum, store = (tmp_path / "source").as_uri(), hashlib.sha256(content).hexdigest(), clone.folder / "store"
    filler = fill(clone.folder, 1 << 20)
    try:
        with pytest.raises(InputError, match=r"part: the disk is full; the file has 2,097,152 bytes; what arrived is"):
            fetch(url, checksum, store, max_bytes=len(content))
    finally:
        filler.unlink()
    assert 0 < (store / f"{checksum}.part").stat().st_size < len(content)
    assert fetch(url, checksum, store, max_bytes=len(content)).read_bytes() == content
    shutil.rmtree(store)
