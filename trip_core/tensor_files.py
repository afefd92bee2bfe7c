"""Safetensors files: read with care, written whole and reproducibly.

What a file is, is read from its bytes, never from its name. Nothing that could run code is ever
opened: pickles are refused. Layout: https://github.com/huggingface/safetensors#format
"""

import json
import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from .targets import check_writable, hidden_beside

#: The safetensors library's own limit for the header.
_MAX_HEADER = 100_000_000
#: Tables within tables; what is written here has five.
_MAX_DEPTH = 64
_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


@dataclass(frozen=True)
class Header:
    """What a safetensors file says of itself before any tensor is read.

    Attributes:
        metadata: Free text by key.
        tensors: Data type (safetensors' names) and shape by tensor name.
        size: Bytes of the file.
    """

    metadata: dict[str, str]
    tensors: dict[str, tuple[str, tuple[int, ...]]]
    size: int


def write_tensors(
    path: str | os.PathLike[str], tensors: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> None:
    """Write a safetensors file; it appears under its name only when it is complete.

    The same tensors and metadata give the same bytes (the safetensors library shuffles metadata,
    so the header is written here).

    Args:
        path: Target; an existing file is replaced, missing folders are made.
        tensors: Tensors by name.
        metadata: Free text by key.

    Raises:
        ValueError: If a tensor's data type has no place in the format.
        OSError: If the target cannot be written.
    """
    path = Path(path)
    check_writable(path)
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    offset = 0
    for name, tensor in sorted(tensors.items()):
        if tensor.dtype not in _DTYPES:
            raise ValueError(f"{name} is {tensor.dtype}, which a checkpoint cannot hold; cast it")
        end = offset + tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": _DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors start at a multiple of 8 bytes
    path.parent.mkdir(parents=True, exist_ok=True)
    hidden = hidden_beside(path)
    try:
        with open(hidden, "xb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for _, tensor in sorted(tensors.items()):
                flat = tensor.detach().to("cpu").contiguous().reshape(-1)
                file.write(flat.view(torch.uint8).numpy().data)
        os.replace(hidden, path)
    except OSError as error:
        raise OSError(f"{path} could not be written: {error.strerror or error}") from None
    finally:
        hidden.unlink(missing_ok=True)


def read_header(path: str | os.PathLike[str]) -> Header:
    """Read what a safetensors file holds, without its tensors.

    Raises:
        ValueError: If the file is missing, a pickle, truncated or no safetensors file at all.
    """
    path = Path(path)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise ValueError(f"{path} {what}; give a .safetensors file")
    size = path.stat().st_size
    with open(path, "rb") as file:
        start = file.read(8)
        length = int.from_bytes(start, "little")
        text = file.read(min(length, _MAX_HEADER)) if len(start) == 8 else b""
    if not text.startswith(b"{"):
        if start.startswith(b"PK\x03\x04") or start[:1] == b"\x80":
            raise ValueError(
                f"{path} is a pickle, which can run code when opened, so it is refused; convert "
                f"it once, which runs nothing: python -m trip_core convert {path} model.safetensors"
            )
        raise ValueError(f"{path} is not a safetensors file ({size} bytes); give a checkpoint")
    if len(text) < length:
        raise ValueError(
            f"{path} is truncated: it ends after {size} bytes, inside its header of {length}; "
            "copy or download it again"
        )
    try:
        entries: dict[str, Any] = parse_json(text)
        metadata = entries.pop("__metadata__", {})
        if not all(isinstance(value, str) for value in metadata.values()):
            raise TypeError("metadata are texts by name")
        tensors = {key: _entry(values) for key, values in entries.items()}
        end = 8 + length + max((e["data_offsets"][1] for e in entries.values()), default=0)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{path} has a damaged safetensors header; get it again") from None
    if size < end:
        raise ValueError(
            f"{path} is truncated: it has {size} of {end} bytes; copy or download it again"
        )
    return Header(metadata, tensors, size)


def parse_json(text: str | bytes) -> Any:
    """Return the values of a JSON text from a file that may be damaged or mean harm.

    Raises:
        ValueError: If it is not JSON, or nested so deeply that no later step could walk it.
    """
    too_deep = ValueError(f"nested more than {_MAX_DEPTH} deep")
    try:
        values = json.loads(text)
    except RecursionError:
        raise too_deep from None
    level = [values]
    for _ in range(_MAX_DEPTH + 1):
        level = [inner for outer in level for inner in _inside(outer)]
    if level:
        raise too_deep
    return values


def find_file(path: Path, is_wanted: Callable[[Header], bool], kind: str) -> Path | None:
    """Return the wanted safetensors file that a path is or, as a folder, holds; None without one.

    Args:
        path: A file or a folder.
        is_wanted: Says so of a header.
        kind: What it is a model of.

    Raises:
        ValueError: If a folder holds several, or a file cannot be read.
    """
    files = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
    found = [file for file in files if is_wanted(read_header(file))]
    if len(found) > 1:
        names = ", ".join(file.name for file in found)
        raise ValueError(f"{path} holds several {kind} models ({names}): name the file")
    return found[0] if found else None


def read_tensors(
    path: str | os.PathLike[str], prefixes: tuple[str, ...] = ("",)
) -> dict[str, Tensor]:
    """Read the tensors of any safetensors file whose names start with one of the prefixes.

    Returns:
        Tensors by name, on the CPU in their stored type.

    Raises:
        ValueError: If the file cannot be read.
    """
    header = read_header(path)
    try:
        with safe_open(str(path), framework="pt") as file:
            return {key: file.get_tensor(key) for key in header.tensors if key.startswith(prefixes)}
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged ({error}); copy or download it again") from None


def summary(tensors: Mapping[str, tuple[str, tuple[int, ...]]]) -> dict[str, Any]:
    """Count the tensors and parameters of a header's entries and list their types."""
    return {
        "tensors": len(tensors),
        "parameters": sum(math.prod(shape) for _, shape in tensors.values()),
        "dtypes": sorted({dtype for dtype, _ in tensors.values()}),
    }


def first_keys(header: Header) -> str:
    """Return the first three tensors with their shapes, for a sentence."""
    keys = [f"{key} {list(shape)}" for key, (_, shape) in list(header.tensors.items())[:3]]
    return ", ".join(keys) or "none at all"


def misfits(want: Mapping[str, tuple[int, ...]], have: Mapping[str, tuple[int, ...]]) -> str:
    """Return what is wrong with the shapes of tensors by name, for a sentence; "" if nothing is."""
    faults = [
        f"{key!r} is {list(have[key])} where {list(shape)} fits"
        for key, shape in want.items()
        if key in have and have[key] != shape
    ]
    faults += [f"{key!r} {list(want[key])} is missing" for key in want if key not in have]
    faults += [f"{key!r} {list(have[key])} is not known" for key in have if key not in want]
    more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
    return "; ".join(faults[:3]) + more


def _entry(values: Any) -> tuple[str, tuple[int, ...]]:
    """Return data type and shape of a header's entry whose values are all of the right types."""
    dtype, shape, (begin, end) = values["dtype"], values["shape"], values["data_offsets"]
    lengths = [*shape, begin, end]
    if not isinstance(dtype, str) or not all(type(n) is int and n >= 0 for n in lengths):
        raise TypeError("a tensor has a type's name, and lengths from 0")
    if end < begin:
        raise ValueError("a tensor ends where it begins or later")
    return dtype, tuple(shape)


def _inside(value: Any) -> Iterable[Any]:
    """Return what a JSON value holds, one level down."""
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
