from pathlib import Path

import pytest
import torch

from sentiment.errors import InputError
from sentiment.resume import Saved

GROUPS = {"model": {"weight": torch.arange(6.0).view(2, 3).T, "steps": torch.tensor(3)}, "random": {}}


def test_what_was_saved_is_loaded_until_it_is_forgotten(tmp_path: Path) -> None:
    saved = Saved(tmp_path / "folder" / "some.state")
    assert saved.load() == {}
    saved.save(GROUPS)
    loaded = saved.load()
    assert loaded.keys() == {"model"}  # a group of nothing leaves no trace
    assert all(torch.equal(loaded["model"][name], tensor) for name, tensor in GROUPS["model"].items())
    saved.forget()
    assert saved.load() == {}


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_state_that_is_not_finite_does_not_take_the_place_of_a_good_one(tmp_path: Path, bad: float) -> None:
    saved = Saved(tmp_path / "some.state")
    saved.save(GROUPS)
    before = saved.path.read_bytes()
    with pytest.raises(InputError, match=r"training has diverged: averaged/weight is no longer finite"):
        saved.save({**GROUPS, "averaged": {"weight": torch.tensor([1.0, bad])}})
    assert saved.path.read_bytes() == before


@pytest.mark.parametrize("place", [0, 40, -1])
def test_one_wrong_bit_is_noticed(tmp_path: Path, place: int) -> None:
    saved = Saved(tmp_path / "some.state")
    saved.save(GROUPS)
    content = bytearray(saved.path.read_bytes())
    content[place] ^= 1
    for wrong in (content, content[:place], b"", b"\x80\x04."):
        saved.path.write_bytes(wrong)
        with pytest.raises(InputError, match=r"some\.state: is damaged; delete it, and the same command begins"):
            saved.load()
