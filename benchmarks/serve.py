"""Load a server with requests, and send it malformed bodies.

    python -m benchmarks.serve --model classifier [--corpus data/corpus.parquet] [--seconds 20] [--bodies 10000]

Starts `stages.serve` on loopback, lets a number of clients post one text at a time, and prints requests a second with
the median and the 99th percentile of an answer's time. The clients share the machine's cores with the server. Then it
posts bodies of random bytes and changed JSON, and prints how many got which status; the exit status is 1 if any of them
is 500 or more.
"""

import argparse
import random
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import requests

import stages  # noqa: F401, puts the library on the path
from sentiment.corpora.reviews import read_corpus
from stages.paths import CORPUS, PACKAGE

VALID = [b'{"text": "A good film.", "words": true}', b'{"texts": ["A good film.", null, "bad"]}']


@contextmanager
def serving(model: Path) -> Iterator[str]:
    """Run a server; yield its address."""
    command = [sys.executable, "-m", "stages.serve", "--model", str(model), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603
        assert process.stderr is not None
        try:
            found = next(filter(None, (re.search(r"running on (http://\S+)", line) for line in process.stderr)), None)
            if found is None:
                raise SystemExit("the server did not start")
            yield found[1]
        finally:
            process.terminate()


def load(address: str, texts: list[str], clients: int, seconds: float) -> None:
    """Post texts from several clients at once; print a row."""
    times: list[float] = []
    statuses: Counter[int] = Counter()
    end = time.monotonic() + seconds

    def post(number: int) -> None:
        draw = random.Random(number)  # noqa: S311
        with requests.Session() as session:
            while (start := time.monotonic()) < end:
                answer = session.post(f"{address}/score", json={"text": draw.choice(texts)}, timeout=60)
                times.append(time.monotonic() - start)
                statuses[answer.status_code] += 1

    threads = [threading.Thread(target=post, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    median, late = np.percentile(times, [50, 99]) * 1000
    print(f"{clients:7} {len(times) / seconds:18.1f} {median:10.0f} {late:8.0f}  {dict(statuses)}", flush=True)


def attack(address: str, bodies: int) -> bool:
    """Post malformed bodies; print the statuses, and return whether all of them are below 500."""
    draw = random.Random(0)  # noqa: S311
    statuses: Counter[int] = Counter()
    with requests.Session() as session:
        for _ in range(bodies):
            body = bytearray(draw.choice(VALID) if draw.random() < 0.8 else draw.randbytes(draw.randrange(200)))
            for _ in range(draw.randrange(1, 5)):
                place = draw.randrange(len(body) + 1)
                body[place : place + draw.randrange(4)] = draw.randbytes(draw.randrange(4))
            headers = {"Content-Type": draw.choice(["application/json"] * 9 + ["text/plain"])}
            statuses[session.post(f"{address}/score", data=bytes(body), headers=headers, timeout=60).status_code] += 1
    print(f"{bodies:,} malformed bodies: {dict(sorted(statuses.items()))}")
    return max(statuses) < 500


def main() -> None:
    """Print a row for each number of clients, and the statuses."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=PACKAGE)
    parser.add_argument("--corpus", type=Path, default=CORPUS)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--bodies", type=int, default=10_000)
    arguments = parser.parse_args()
    corpus = read_corpus(arguments.corpus, ["split", "text"])
    texts = [text for text, split in zip(corpus["text"], corpus["split"], strict=True) if split == "test"][:5_000]
    with serving(arguments.model) as address:
        print(f"{'clients':>7} {'requests a second':>18} {'median, ms':>10} {'99 %, ms':>8}  statuses")
        for clients in (1, 8, 32):
            load(address, texts, clients, arguments.seconds)
        sys.exit(0 if attack(address, arguments.bodies) else 1)


if __name__ == "__main__":
    main()
