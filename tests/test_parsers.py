"""Parsers report any malformed input in one line: random bytes, changed valid inputs, and inputs that failed once.

`tests/regressions/<parser>/` has inputs that once failed; `python -m benchmarks.fuzz` searches for more.
"""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.parsers import PARSERS, parse, valid_inputs

pytestmark = pytest.mark.slow

REGRESSIONS = Path(__file__).parent / "regressions"
VALID = valid_inputs()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("parsers")


@st.composite
def changed(draw: st.DrawFn, inputs: list[bytes]) -> bytes:
    """Draw an input of which a few short parts are replaced, removed or doubled."""
    content = draw(st.sampled_from(inputs))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        stop = draw(st.integers(start, min(len(content), start + 40)))
        part = draw(st.binary(max_size=8) | st.just(content[start:stop] * 2))
        content = content[:start] + part + content[stop:]
    return content


@pytest.mark.parametrize("name", PARSERS)
def test_a_valid_input_is_accepted(folder: Path, name: str) -> None:
    for content in VALID[name]:
        PARSERS[name](content, folder)


@pytest.mark.parametrize("name", PARSERS)
@settings(deadline=None)
@given(data=st.data())
def test_random_bytes_are_accepted_or_refused_in_one_line(folder: Path, name: str, data: st.DataObject) -> None:
    parse(name, data.draw(st.binary(max_size=200) | st.text(max_size=100).map(str.encode)), folder)


@pytest.mark.parametrize("name", PARSERS)
@settings(deadline=None)
@given(data=st.data())
def test_a_changed_input_is_accepted_or_refused_in_one_line(folder: Path, name: str, data: st.DataObject) -> None:
    parse(name, data.draw(changed(VALID[name])), folder)


@pytest.mark.parametrize("path", sorted(REGRESSIONS.glob("*/*")), ids=lambda path: f"{path.parent.name}-{path.name}")
def test_an_input_that_failed_once_is_accepted_or_refused_in_one_line(folder: Path, path: Path) -> None:
    parse(path.parent.name, path.read_bytes(), folder)
