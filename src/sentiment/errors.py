"""The one kind of error that is the user's to mend."""

import reprlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

GREATEST_LENGTH = 1_000  # characters of a message
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 100
_SHORT.maxlevel = 2


class InputError(Exception):
    """Say in one line where something is wrong, what was found, what is allowed and how to mend it.

    It is one line of bounded length whatever it quotes: what does not print is escaped, and what is too long loses its
    middle. Everything else that is raised is a fault of this project and keeps its traceback.
    """

    def __init__(self, message: str) -> None:
        super().__init__(_shorten("".join(map(_printable, _shorten(message)))))


@contextmanager
def naming(path: Path, name: str) -> Iterator[None]:
    """Let an InputError that begins with the path of a copy begin with the name that the user gave the original."""
    try:
        yield
    except InputError as error:
        message = str(error)
        if not message.startswith(str(path)):
            raise
        raise InputError(name + message.removeprefix(str(path))) from error


def in_short(value: object) -> str:
    """Return a value as Python writes it, but for what is too long or too deep."""
    try:
        return _SHORT.repr(value)
    except ValueError:  # Python writes no whole number of more than 4,300 digits
        return "a number of thousands of digits"


def _shorten(text: str) -> str:
    """Return a text, or its beginning and its end."""
    half = GREATEST_LENGTH // 2 - 3
    return text if len(text) <= GREATEST_LENGTH else f"{text[:half]} ... {text[-half:]}"


def _printable(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode()
