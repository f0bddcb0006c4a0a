"""What every script around here does with a user's mistake: say it in one line."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sentiment.errors import InputError
from stages.params import Params, read_params


def run(stage: Callable[[Params], None]) -> None:
    """Read the parameters and run a stage.

    Stages import the heavy parts of the library inside, after this has read the parameters: PyTorch takes seconds to
    import, and a misspelt key should not.
    """
    with one_line_errors():
        stage(read_params())


@contextmanager
def one_line_errors() -> Iterator[None]:
    """On a mistake of the user's, end with its one line on standard error and exit status 1."""
    try:
        yield
    except InputError as error:
        sys.exit(f"error: {error}")
    except FileNotFoundError as error:
        sys.exit(f"error: {error.filename}: is not there; run the stages before this one, as dvc repro does")
    except KeyboardInterrupt:
        print("stopped; the same command goes on, pretrain and train from the state they saved last", file=sys.stderr)
        sys.exit(130)  # what a shell reports for Ctrl-C
