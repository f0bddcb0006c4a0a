"""Error class for mistakes that the user can fix."""

import reprlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MAX_MESSAGE_LENGTH = 1_000  # characters of a message
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 100
_SHORT.maxlevel = 2


class InputError(Exception):
    """User error whose message says where the mistake is, what was found, what is allowed and how to fix it.

    The message is always one line of bounded length: unprintable characters are escaped, and the middle of a message
    of more than MAX_MESSAGE_LENGTH characters is cut out. Any other exception is a bug of this project and keeps its
    traceback.
    """

    def __init__(self, message: str) -> None:
        super().__init__(_shorten("".join(map(_printable, _shorten(message)))))


@contextmanager
def renaming_errors(path: Path, name: str) -> Iterator[None]:
    """Replace the path of a copy at the start of an InputError by the name that the user gave the original."""
    try:
        yield
    except InputError as error:
        message = str(error)
        if not message.startswith(str(path)):
            raise
        raise InputError(name + message.removeprefix(str(path))) from error


def abbreviated(value: object) -> str:
    """Return the `repr` of a value, abbreviated where it is too long or too deeply nested."""
    try:
        return _SHORT.repr(value)
    except ValueError:  # Python refuses to convert an int of more than 4,300 digits to a string
        return "a number of thousands of digits"


def _shorten(text: str) -> str:
    """Cut the middle out of a text of more than MAX_MESSAGE_LENGTH characters."""
    half = MAX_MESSAGE_LENGTH // 2 - 3
    return text if len(text) <= MAX_MESSAGE_LENGTH else f"{text[:half]} ... {text[-half:]}"


def _printable(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode()
