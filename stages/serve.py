"""Serve a model over HTTP; not a pipeline stage, but a command for users of a model.

python -m stages.serve --model classifier --host 127.0.0.1 --port 8000

    POST /score      {"text": "A film to forget."} or {"texts": ["...", "..."]}
    GET /healthz     whether the server is up
    GET /            a page on which to type a text
"""

import contextlib
import errno
import socket
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import TYPE_CHECKING

from sentiment.errors import InputError
from stages.paths import BEHAVIOUR, PACKAGE
from stages.run import one_line_errors

if TYPE_CHECKING:
    from sentiment.scoring.scorer import Scorer
    from sentiment.serving.app import Example

EXAMPLES = 5
CONNECTIONS = 256


def main(arguments: list[str]) -> None:
    """Serve until interrupted."""
    parser = ArgumentParser(prog="python -m stages.serve", description="Serve a model.", allow_abbrev=False)
    add = parser.add_argument
    add("--model", type=Path, default=PACKAGE, metavar="FOLDER", help="the model's folder (%(default)s)")
    add("--host", default="127.0.0.1", metavar="ADDRESS", help="the address to listen on (%(default)s: this machine)")
    add("--port", type=int, default=8000, metavar="NUMBER", help="the port to listen on, 0 for any (%(default)s)")
    options = parser.parse_args(arguments)
    if not 0 <= options.port < 1 << 16:
        raise InputError(f"--port must be between 0 and 65535; got {options.port}")
    check_address(options.host, options.port)
    import torch
    import uvicorn

    from sentiment.runtime.device import tune_memory
    from sentiment.scoring.scorer import Scorer
    from sentiment.serving.app import create_app

    tune_memory()
    torch.set_num_threads(1)  # a second one would wait for a core that requests keep busy
    scorer = Scorer(options.model)
    scorer.load()  # first, since its errors say most about a folder that is no model
    app = create_app(scorer, failing_examples(scorer, BEHAVIOUR))
    config = uvicorn.Config(
        app,
        host=options.host,
        port=options.port,
        access_log=False,
        limit_concurrency=CONNECTIONS,
        log_level="info",
        server_header=False,
        timeout_graceful_shutdown=5,
    )
    with contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(config).run()


def check_address(host: str, port: int) -> None:
    """Raise InputError if nobody can listen there: uvicorn would name neither the port nor the option."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:  # an unknown name, another machine's address, a port in use
        cause = "is in use; name another (--port)" if error.errno == errno.EADDRINUSE else f"cannot be had: {error}"
        raise InputError(f"port {port} of {host} {cause}") from error


def failing_examples(scorer: "Scorer", path: Path) -> "list[Example]":
    """Return a few of the written test cases that the model gets wrong; none without the file or with other labels."""
    import pyarrow as pa

    from sentiment.evaluation.behaviour import read_cases
    from sentiment.serving.app import Example

    if not path.exists():
        return []
    cases = read_cases(path, scorer.labels)
    found = scorer(pa.record_batch({"text": pa.array(cases.texts, pa.string())}))["label"].to_pylist()
    labels = [scorer.labels[label] for label in cases.labels]
    wrong = [
        Example(text, label) for text, label, said in zip(cases.texts, labels, found, strict=True) if said != label
    ]
    return wrong[:: max(1, len(wrong) // EXAMPLES)][:EXAMPLES]


if __name__ == "__main__":
    with one_line_errors():
        main(sys.argv[1:])
