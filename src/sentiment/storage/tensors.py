"""Read and write named tensors as safetensors files, never as pickles."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from sentiment.errors import InputError
from sentiment.storage.outputs import atomic_output


def save_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write named tensors to a safetensors file without metadata."""
    with atomic_output(path) as partial:
        partial.touch()
        mode = partial.stat().st_mode  # that of any new file, where safetensors leaves one for the owner alone
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial)
        partial.chmod(mode)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read all tensors of a safetensors file, whatever their names and dtypes.

    Raises FileNotFoundError if there is no file, and InputError if the file is not in safetensors format.
    """
    path.stat()  # FileNotFoundError from here names the missing file; the error of safetensors does not
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        is_pickle = path.is_file() and _looks_pickled(path)
        reason = "it is a pickle, which may contain code and is not opened" if is_pickle else error
        raise InputError(f"{path}: is not a readable safetensors file: {reason}") from error


def _looks_pickled(path: Path) -> bool:
    """Tell whether a file that is not safetensors starts like the output of `torch.save` or `pickle.dump`."""
    with path.open("rb") as file:
        start = file.read(4)
    # A pickle starts with 0x80 and its protocol number. A safetensors file starts with the length of its header, which
    # can be 0x80 too, but is followed by zeros.
    return start == b"PK\x03\x04" or (start[:1] == b"\x80" and start[2:3] != b"\0")


def load_tensors(path: Path, dtypes: dict[str, torch.dtype]) -> dict[str, Tensor]:
    """Read a tensor file; raise InputError unless its names and dtypes are exactly those of `dtypes`."""
    tensors = read_tensors(path)
    check_dtypes(path, tensors, dtypes)
    return tensors


def check_dtypes(path: Path, tensors: dict[str, Tensor], dtypes: dict[str, torch.dtype]) -> None:
    """Raise InputError unless the names and dtypes of the tensors read from a file are exactly those of `dtypes`."""
    found = {name: tensor.dtype for name, tensor in tensors.items()}
    if found != dtypes:
        raise InputError(f"{path}: must hold the tensors {dtypes}; found {found}")
