from pathlib import Path

import pytest

from sentiment.errors import InputError
from sentiment.storage.outputs import atomic_output, link_or_copy, read_columns, read_json, write_csv, write_json


def test_an_output_appears_only_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "output"
    with atomic_output(path) as partial:
        partial.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"


def test_an_error_leaves_only_the_old_output(tmp_path: Path) -> None:
    path = tmp_path / "output"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError), atomic_output(path) as partial:
        partial.write_text("half\n\ud800", encoding="utf-8")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_replaces_a_folder_and_the_remains_of_a_killed_run(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    for name in ("first", "second"):
        (tmp_path / "folder.partial").mkdir()
        (tmp_path / "folder.partial" / "left-over").touch()
        with atomic_output(path) as partial:
            partial.mkdir()
            (partial / name).touch()
    assert [file.name for file in path.iterdir()] == ["second"]


def test_a_link_into_a_cache_is_replaced_and_its_target_unchanged(tmp_path: Path) -> None:
    cached, path = tmp_path / "cached", tmp_path / "output"
    cached.write_text("cached")
    path.symlink_to(cached)
    write_json(path, {"b": 1, "a": "é"})
    assert cached.read_text() == "cached"
    assert path.read_text(encoding="utf-8") == '{\n  "a": "é",\n  "b": 1\n}\n'


def test_json_refuses_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "metrics.json", {"loss": float("nan")})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "text", ['{"a": 1, "b": 2, "a": 1}', '{"a": {"c": 1, "c": 2}, "b": 2}', '{"a": [{"": 1, "": 1}]}']
)
def test_a_repeated_key_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "model.json").write_text(text)
    with pytest.raises(InputError, match=r"model\.json: is not a model: .*the key '.?' is given twice"):
        read_json(tmp_path / "model.json", "a model", {"a", "b"})


def test_a_repeated_column_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cases.csv").write_text("text,label,label\n1,2,3\n")
    with pytest.raises(ValueError, match="the column 'label' is named twice"):
        read_columns(tmp_path / "cases.csv")


def test_csv_has_a_header_and_a_row_for_each_entry(tmp_path: Path) -> None:
    write_csv(tmp_path / "table.csv", {"id": ["a,b", "c"], "share": [0.5, 1.0]})
    assert (tmp_path / "table.csv").read_text() == 'id,share\n"a,b",0.5\nc,1.0\n'


def test_a_linked_file_outlives_its_source(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_text("bytes")
    link_or_copy(source, tmp_path / "there" / "copy")
    source.unlink()
    assert (tmp_path / "there" / "copy").read_text() == "bytes"
