"""Run every check on CUDA, or pack the reviews for it.

    python -m benchmarks.cuda pack --prepared data/prepared --output data/imdb.safetensors.gz
    python -m benchmarks.cuda [--device cuda] [--seconds 560] [--data data/imdb.safetensors.gz] [--output FOLDER]

The results stand in one JSON file named after the device, which is replaced after each finding. Reviews are generated
where no data are given. With `--device cpu` the same runs on small models and few reviews, to see that it runs. It
needs torch, numpy, safetensors and PyYAML.
"""

import argparse
from pathlib import Path

from benchmarks.cuda.pack import pack
from benchmarks.cuda.run import PARTS, run_parts

RESULTS = Path(__file__).resolve().parent / "results"


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--seconds", type=float, default=560.0, help="in all")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="to run; by default all")
    parser.add_argument("--data", type=Path, help="written by pack")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the results")
    packing = parser.add_subparsers(dest="command", metavar="pack").add_parser("pack", help="pack the prepared reviews")
    packing.add_argument("--prepared", type=Path, default=Path("data/prepared"))
    packing.add_argument("--output", dest="packed", type=Path, default=Path("data/imdb.safetensors.gz"))
    arguments = parser.parse_args()

    if arguments.command == "pack":
        print(f"{arguments.packed}: {pack(arguments.prepared, arguments.packed):,} bytes")
    else:
        print(run_parts(arguments.parts, arguments.device, arguments.seconds, arguments.data, arguments.output))


if __name__ == "__main__":
    main()
