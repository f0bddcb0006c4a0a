from pathlib import Path

import torch

from sentiment.storage.tensors import save_tensors


def test_others_may_read_tensors_as_they_may_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "new").touch()
    save_tensors(tmp_path / "tensors", {"a": torch.ones(2)})
    assert (tmp_path / "tensors").stat().st_mode == (tmp_path / "new").stat().st_mode
