from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiment.errors import MAX_MESSAGE_LENGTH, InputError, abbreviated, renaming_errors


@given(st.text() | st.builds(lambda part, times: part * times, st.text(min_size=1), st.integers(100, 10_000)))
def test_any_message_is_one_line_of_bounded_length(message: str) -> None:
    shown = str(InputError(message))
    assert shown.isprintable()
    assert len(shown) <= MAX_MESSAGE_LENGTH


def test_only_unprintable_characters_are_escaped() -> None:
    assert str(InputError("a.csv: é ü 'x'")) == "a.csv: é ü 'x'"
    assert str(InputError("a\nb\x1b[31m\ud800\u2028")) == r"a\nb\x1b[31m\ud800\u2028"


def test_a_long_message_keeps_its_beginning_and_end() -> None:
    shown = str(InputError(f"a.csv:2: got {'x' * 10_000}; fix it"))
    assert shown.startswith("a.csv:2: got xxx")
    assert shown.endswith("xxx; fix it")


def nested(depth: int) -> list[object]:
    value: list[object] = []
    for _ in range(depth):
        value = [value]
    return value


VALUES = {
    "number": 16**6000,
    "list": nested(100_000),
    "mapping": {"a": nested(9)},
    "text": "x" * 10_000,
    "lists": [["x"] * 99] * 99,
}


@pytest.mark.parametrize("name", VALUES)
def test_any_value_is_abbreviated(name: str) -> None:
    assert len(abbreviated(VALUES[name])) < 500


@pytest.mark.parametrize(
    ("message", "named"), [("data/vectors:1: is empty", "mine.txt:1: is empty"), ("a.csv: is empty", "a.csv: is empty")]
)
def test_a_message_about_a_copy_starts_with_the_name_of_the_original(message: str, named: str) -> None:
    with pytest.raises(InputError) as caught, renaming_errors(Path("data/vectors"), "mine.txt"):
        raise InputError(message)
    assert str(caught.value) == named
