"""What every stage does around its own work: read the parameters, and say a user's mistake in one line."""

import sys
from collections.abc import Callable

from sentiment.errors import InputError
from stages.params import Params, read_params


def run(stage: Callable[[Params], None]) -> None:
    """Run a stage; on a mistake of the user's, end with its one line on standard error and exit status 1.

    Stages import the heavy parts of the library inside, after this has read the parameters: PyTorch takes seconds to
    import, and a misspelt key should not.
    """
    try:
        stage(read_params())
    except InputError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)  # what a shell reports for Ctrl-C
