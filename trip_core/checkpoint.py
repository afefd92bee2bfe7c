"""Checkpoints: safetensors only, one file with its config in the metadata.

A file holds the parts of a model under key prefixes, ``trip.`` (the system: ``trip.unet.``,
``trip.fusion.``), ``motion.``, ``text.``, ``vae.``, and a JSON config per part under
``trip_config`` in its metadata, where ``defaults`` (``pipeline.SamplingDefaults``) and ``card``
(the model's figures) may stand beside them. What a file is, is read from its bytes, keys and
metadata, never from its name. Nothing that could run code is ever opened: pickles are refused.
"""

import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from .tables import from_table
from .tensor_files import (
    Header,
    first_keys,
    misfits,
    parse_json,
    read_header,
    read_tensors,
    summary,
    write_tensors,
)

#: The metadata key that makes a safetensors file one of ours.
CONFIG_KEY = "trip_config"

Config = TypeVar("Config")


def save_checkpoint(
    path: str | os.PathLike[str], config: dict[str, Any], parts: Mapping[str, Mapping[str, Tensor]]
) -> None:
    """Write a checkpoint; the file appears under its name only when it is complete.

    The same config and tensors give the same bytes.

    Args:
        path: Target; an existing file is replaced.
        config: JSON-able, one entry per part.
        parts: State dicts by part name.

    Raises:
        ValueError: If a tensor's data type has no place in the format.
        OSError: If the target cannot be written.
    """
    tensors = {f"{part}.{key}": t for part, state in parts.items() for key, t in state.items()}
    metadata = {"format": "pt", CONFIG_KEY: json.dumps(config, sort_keys=True)}
    write_tensors(path, tensors, metadata)


def read_config(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the config of a checkpoint file.

    Raises:
        ValueError: If the file is not one of our checkpoints; names what it holds instead.
    """
    header = read_header(path)
    if CONFIG_KEY not in header.metadata:
        raise ValueError(
            f"{path} is a safetensors file but not a TRIP checkpoint ({_kind(header)}): "
            f"no {CONFIG_KEY} in its metadata, first keys {first_keys(header)}; give a TRIP or "
            "DreamVideo file made by `train`, a DynamiCrafter file or a ModelScopeT2V folder"
        )
    try:
        config = parse_json(header.metadata[CONFIG_KEY])
    except ValueError as error:
        raise ValueError(f"{path} has a damaged {CONFIG_KEY} ({error}); get it again") from None
    if not isinstance(config, dict):
        raise ValueError(f"{path} has a {CONFIG_KEY} that is no table; get it again")
    return config


def load_parts(path: str | os.PathLike[str], names: Iterable[str]) -> dict[str, dict[str, Tensor]]:
    """Read the state dicts of some parts of a checkpoint file.

    Args:
        path: A checkpoint file.
        names: Parts to read, e.g. ``("trip", "vae")``.

    Returns:
        State dicts by part, tensors on the CPU in their stored type.

    Raises:
        ValueError: If the file cannot be read or has no tensor of a part.
    """
    parts: dict[str, dict[str, Tensor]] = {name: {} for name in names}
    for key, tensor in read_tensors(path, tuple(f"{name}." for name in parts)).items():
        part, _, name = key.partition(".")
        parts[part][name] = tensor
    for part, state in parts.items():
        if not state:
            raise ValueError(
                f"{path} has no part {part!r}: first keys {first_keys(read_header(path))}; "
                "give a checkpoint that holds it"
            )
    return parts


def fill_module(module: nn.Module, state: Mapping[str, Tensor], name: str) -> None:
    """Load a state dict whose keys and shapes must be exactly the module's.

    Raises:
        ValueError: Naming the first missing, foreign and misshapen tensors.
    """
    want = {key: tuple(tensor.shape) for key, tensor in module.state_dict().items()}
    have = {key: tuple(tensor.shape) for key, tensor in state.items()}
    if faults := misfits(want, have):
        raise ValueError(
            f"{name} does not fit its config: {faults}; "
            "give the config, or in training the stage's options, that it was saved with"
        )
    module.load_state_dict(dict(state))


def load_modules(
    path: Path,
    kinds: Mapping[str, Callable[[], nn.Module]],
    device: torch.device | str,
    dtypes: Mapping[str, torch.dtype],
) -> dict[str, nn.Module]:
    """Build parts of a checkpoint file and fill them with its weights.

    Args:
        path: The file.
        kinds: What builds each part, by its name.
        device: Where they are put.
        dtypes: Types of the weights, by part; float32 for others.

    Returns:
        The parts, in eval mode, without gradients.

    Raises:
        ValueError: If the file has other parts, or weights do not fit.
    """
    foreign = sorted({k.partition(".")[0] for k in read_header(path).tensors} - set(kinds))
    if foreign:
        raise ValueError(
            f"{path} has the parts {foreign}, which are not this model's or have no config; it "
            f"reads {', '.join(kinds)}"
        )
    parts: dict[str, nn.Module] = {}
    for name, state in load_parts(path, kinds).items():
        part = _built(kinds[name], name, path)
        fill_module(part, state, f"part {name!r} of {path}")
        part.to(device, dtypes.get(name, torch.float32))
        parts[name] = part.eval().requires_grad_(False)
    return parts


def _built(make: Callable[[], nn.Module], name: str, path: Path) -> nn.Module:
    try:
        return make()
    except (TypeError, RuntimeError, ArithmeticError) as error:
        raise ValueError(
            f"no network can be built from the config of part {name!r} of {path} ({error}); "
            "get the file again"
        ) from error


def describe(path: Path) -> dict[str, Any]:
    """Return what any checkpoint file of ours tells: path, bytes, parts, config, card.

    Raises:
        ValueError: As ``read_config``.
    """
    header = read_header(path)
    config = read_config(path)
    card = config.pop("card", None)
    grouped: dict[str, dict[str, tuple[str, tuple[int, ...]]]] = {}
    for key, entry in header.tensors.items():
        grouped.setdefault(key.partition(".")[0], {})[key] = entry
    return {
        "path": str(path),
        "bytes": header.size,
        "parts": {part: summary(tensors) for part, tensors in sorted(grouped.items())},
        "config": config,
        **({} if card is None else {"card": card}),
    }


def part_config(kind: type[Config], config: Mapping[str, Any], part: str, path: Path) -> Config:
    """Return the config of a part of a file, ``config[part]``, as a dataclass.

    Raises:
        ValueError: If a key is unknown or a value of the wrong type or out of range.
    """
    try:
        return from_table(kind, config[part], f"{CONFIG_KEY}.{part}")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _kind(header: Header) -> str:
    """Say what a foreign file looks like from its keys."""
    keys = header.tensors
    if any(key.startswith("image_proj_model.") for key in keys):
        return "DynamiCrafter's keys"
    if any(".temp_convs." in key for key in keys):
        return "a ModelScopeT2V UNet without its autoencoder and text encoder"
    if any(key.startswith(("model.diffusion_model.", "first_stage_model.")) for key in keys):
        return "an original Stable Diffusion layout"
    if any("lora" in key for key in keys):
        return "LoRA weights"
    return f"{len(keys)} unknown tensors"
