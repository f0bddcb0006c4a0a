"""Export a model for those who score without PyTorch; not a pipeline stage, but a command for users of a model.

python -m stages.export --model classifier --output export

Writes a folder with all that scoring needs, which is numpy, onnxruntime and spacy:

    model.onnx         tokens and lengths in, probabilities out
    model.int8.onnx    the same with 8-bit weights, a quarter of the size
    linear.npz         the linear model, if the classifier has one
    vocabulary.json    the words, and the rules that split text into tokens
    score.py           a script of a page, to use or to copy from
    README.md          the model card
"""

import shutil
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from sentiment.errors import InputError
from stages.paths import CARD_NAME, PACKAGE
from stages.run import one_line_errors


def main(arguments: list[str]) -> None:
    """Write the folder."""
    parser = ArgumentParser(prog="python -m stages.export", description="Export a model.", allow_abbrev=False)
    parser.add_argument(
        "--model", type=Path, default=PACKAGE, metavar="FOLDER", help="the model's folder (%(default)s)"
    )
    parser.add_argument("--output", type=Path, default=Path("export"), metavar="FOLDER", help="to write (%(default)s)")
    options = parser.parse_args(arguments)
    model, output = options.model.resolve(), options.output.resolve()
    if model.is_relative_to(output) or output.is_relative_to(model):
        raise InputError(f"{options.output}: holds the model, or is in its folder; name another folder (--output)")
    export(options.model, options.output)
    for path in sorted(options.output.iterdir()):
        print(f"{path}: {path.stat().st_size:,} bytes")


def export(model: Path, output: Path) -> None:
    """Write the graph, its smaller version and the files that scoring with them needs."""
    import numpy as np

    from sentiment.export.graph import save_graphs
    from sentiment.linear.model import LINEAR, load_linear
    from sentiment.models.checkpoint import VOCABULARY_NAME, load_checkpoint
    from sentiment.storage.outputs import atomic_output

    script = Path(__file__).parent.parent / "src" / "sentiment" / "export" / "score.py"
    with atomic_output(output) as folder:
        folder.mkdir()
        network, others = load_checkpoint(model)
        config, adds = network.config, LINEAR in others
        save_graphs(network, adds, folder / "model.onnx", folder / "model.int8.onnx")
        if adds:
            linear = load_linear(model / LINEAR, config.vocabulary_size, config.classes)
            arrays: dict[str, Any] = {name: tensor.numpy() for name, tensor in linear.tensors().items()}
            np.savez(folder / "linear.npz", **arrays)
        shutil.copyfile(model / VOCABULARY_NAME, folder / VOCABULARY_NAME)
        shutil.copyfile(script, folder / "score.py")
        if (model / CARD_NAME).exists():  # a folder of training alone has no card
            shutil.copyfile(model / CARD_NAME, folder / CARD_NAME)


if __name__ == "__main__":
    with one_line_errors():
        main(sys.argv[1:])
