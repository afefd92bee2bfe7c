"""``python -m trip_core convert``: a pickled checkpoint becomes a safetensors file, once.

Released checkpoints such as DynamiCrafter's ``model.ckpt`` are pickles. Pickles can run code, so
nothing else here opens one. This command does, with PyTorch's weights-only reader, which builds
tensors and plain containers and refuses everything else.
"""

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .tensor_files import write_tensors

#: Before this version the weights-only reader could be tricked (CVE-2025-32434).
_SAFE_TORCH = (2, 6)
#: Where training code keeps the tensors: Lightning, DeepSpeed, diffusers.
_HOLDERS = ("state_dict", "module", "model")
#: What DeepSpeed puts before every name.
_DEEPSPEED = "_forward_module."
_DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}

_EXAMPLES = """\
examples:
  python -m trip_core convert model.ckpt dynamicrafter_512.safetensors
      the tensors as they are
  python -m trip_core convert model.ckpt dynamicrafter_512.safetensors --dtype float16
      half the size; what most people use
"""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the command's options to its parser."""
    command.epilog = _EXAMPLES
    command.set_defaults(run=_run)
    command.add_argument("source", help="a pickled checkpoint: .ckpt, .pth, .pt, .bin")
    command.add_argument("target", help="the .safetensors file to write (replaced if it exists)")
    command.add_argument("--dtype", choices=_DTYPES, help="number type; without it as it is")


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    dtype: torch.dtype | None = None,
) -> dict[str, int]:
    """Write a pickled checkpoint's tensors as a safetensors file, under their own names.

    Args:
        source: The pickle; it is mapped, not read into memory.
        target: The safetensors file; it appears when it is complete.
        dtype: Type of the floating-point tensors; None is as they are.

    Returns:
        ``tensors`` and ``parameters``: how many were written.

    Raises:
        ValueError: If the source is no pickle of tensors, or would run code.
        OSError: If the target cannot be written.
    """
    if Path(target).suffix != ".safetensors":
        raise ValueError(f"the target must end in .safetensors; got {target}")
    tensors = _tensors(_read(source), source)
    if dtype is not None:
        # The schedule's buffers say which variant a file is: they keep their type.
        tensors = {
            name: tensor.to(dtype) if tensor.is_floating_point() and "." in name else tensor
            for name, tensor in tensors.items()
        }
    write_tensors(target, tensors, {"format": "pt"})
    return {"tensors": len(tensors), "parameters": sum(t.numel() for t in tensors.values())}


def _read(source: str | os.PathLike[str]) -> Any:
    version = tuple(int(part) for part in torch.__version__.split(".")[:2])
    if version < _SAFE_TORCH:
        raise ValueError(
            f"PyTorch {torch.__version__} cannot read a pickle safely; use 2.6 or newer"
        )
    if not Path(source).is_file():
        raise ValueError(f"{source} is not a file; give a .ckpt, .pth, .pt or .bin")
    with open(source, "rb") as file:
        start = file.read(9)
    if start[8:9] == b"{":
        raise ValueError(f"{source} is a safetensors file already; use it as it is")
    try:
        # Old files are not archives and cannot be mapped.
        return torch.load(  # noqa: TID251 - the one place, weights only
            source, map_location="cpu", weights_only=True, mmap=start.startswith(b"PK\x03\x04")
        )
    except Exception as error:  # noqa: BLE001 - the reader raises many kinds for a bad file
        # Its own words advise to switch the safe reading off.
        raise ValueError(
            f"{source} is damaged or holds more than tensors, and nothing in it was run "
            f"({type(error).__name__}); get the released checkpoint"
        ) from None


def _tensors(found: Any, source: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Return the tensors of a state dict, wherever training code put it."""
    for holder in _HOLDERS:
        if isinstance(found, Mapping) and isinstance(found.get(holder), Mapping):
            found = found[holder]
    tensors: dict[str, Tensor] = {}
    for name, value in found.items() if isinstance(found, Mapping) else ():
        if isinstance(name, str) and isinstance(value, Tensor):
            tensors[name.removeprefix(_DEEPSPEED)] = value
    if not tensors:
        raise ValueError(f"{source} holds no tensors by name; give a model's checkpoint")
    return tensors


def _run(options: argparse.Namespace) -> int:
    dtype = None if options.dtype is None else _DTYPES[options.dtype]
    made = convert(options.source, options.target, dtype)
    sys.stdout.write(
        f"{options.target}: {made['tensors']} tensors, {made['parameters'] / 1e6:.2f} M numbers\n"
    )
    return 0
