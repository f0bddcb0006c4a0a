from pathlib import Path

import pytest
import torch
import yaml

from sentiment.errors import InputError
from sentiment.runtime.resume import SavedState
from stages import resume
from stages.params import read_params
from stages.resume import digest_of_inputs
from tests.clone import ROOT

GROUPS = {"model": {"weight": torch.arange(6.0).view(2, 3).T, "steps": torch.tensor(3)}, "random": {}}


def test_a_saved_state_is_loaded_until_it_is_deleted(tmp_path: Path) -> None:
    saved = SavedState(tmp_path / "folder" / "some.state")
    assert saved.load() == {}
    saved.save(GROUPS)
    loaded = saved.load()
    assert loaded.keys() == {"model"}  # a group of nothing leaves no trace
    assert all(torch.equal(loaded["model"][name], tensor) for name, tensor in GROUPS["model"].items())
    saved.delete()
    assert saved.load() == {}


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_non_finite_state_does_not_replace_a_good_one(tmp_path: Path, bad: float) -> None:
    saved = SavedState(tmp_path / "some.state")
    saved.save(GROUPS)
    before = saved.path.read_bytes()
    with pytest.raises(InputError, match=r"training diverged: averaged/weight is no longer finite"):
        saved.save({**GROUPS, "averaged": {"weight": torch.tensor([1.0, bad])}})
    assert saved.path.read_bytes() == before


@pytest.mark.parametrize("place", [0, 40, -1])
def test_a_flipped_bit_is_detected(tmp_path: Path, place: int) -> None:
    saved = SavedState(tmp_path / "some.state")
    saved.save(GROUPS)
    content = bytearray(saved.path.read_bytes())
    content[place] ^= 1
    for wrong in (content, content[:place], b"", b"\x80\x04."):
        saved.path.write_bytes(wrong)
        with pytest.raises(InputError, match=r"some\.state: is damaged; delete it and run the command again"):
            saved.load()


def test_a_state_belongs_to_the_packages_and_the_hardware_that_saved_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    (tmp_path / "code.py").touch()
    pipeline = {"deps": ["code.py"], "params": ["train.seed", {"versions.yaml": ["numpy"]}]}
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"train": pipeline}}))
    monkeypatch.chdir(tmp_path)
    params = read_params()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    def digest() -> str:
        assert digest_of_inputs("train", params) == digest_of_inputs("train", params)
        return digest_of_inputs("train", params)

    digests = [digest()]
    (tmp_path / "code.py").write_text("pass\n")
    digests.append(digest())
    monkeypatch.setattr(resume, "version", lambda name: f"another {name}")
    digests.append(digest())
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    digests.append(digest())
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "of tomorrow")
    digests.append(digest())
    names = ["NVIDIA H100", "NVIDIA A100"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: names[number])
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 1)  # a build for CUDA looks for a GPU
    digests.append(digest())
    names[0] = "NVIDIA H200"
    digests.append(digest())
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 99999)
    digests.append(digest())
    assert len(set(digests)) == len(digests)
