"""Checkpoints: safetensors only, one file with its config in the metadata, or a diffusers folder.

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
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn

from .tables import from_table
from .tensor_files import (
    Header,
    first_keys,
    parse_json,
    read_header,
    read_tensors,
    summary,
    write_tensors,
)

if TYPE_CHECKING:
    from .pipeline import Model

#: The metadata key that makes a safetensors file one of ours.
CONFIG_KEY = "trip_config"
#: The model that ships.
EMBEDDED = Path(__file__).parent / "embedded" / "trip-small.safetensors"

Config = TypeVar("Config")


# Files


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
    faults = [
        f"{key!r} is {list(have[key])} but the config says {list(shape)}"
        for key, shape in want.items()
        if key in have and have[key] != shape
    ]
    faults += [f"{key!r} {list(want[key])} is missing" for key in want if key not in have]
    faults += [f"{key!r} {list(have[key])} is not known" for key in have if key not in want]
    if faults:
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise ValueError(
            f"{name} does not fit its config: {'; '.join(faults[:3])}{more}; "
            "use the checkpoint with the config it was saved with"
        )
    module.load_state_dict(dict(state))


# Whole models


def load_model(
    path: str | os.PathLike[str] | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> "Model":
    """Load a model ready for ``pipeline.animate``.

    Args:
        path: A checkpoint file, a folder in diffusers' layout, or None for the model that ships.
        device: Where all parts are put.
        dtype: Type of the system's weights; the small parts around it stay in float32.

    Returns:
        The model in eval mode; gradients are off.

    Raises:
        ValueError: If the path is not a model that can be loaded; one sentence that names why.
    """
    if path is None:
        path = EMBEDDED
        if not path.is_file():
            raise ValueError(
                f"the model that ships is missing ({path}); reinstall, or give one with --model"
            )
    if Path(path).is_dir():
        from .diffusers_folder import load_folder

        return load_folder(Path(path), device, dtype)
    return _load_file(Path(path), device, dtype)


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


def trip_info(path: Path) -> dict[str, Any]:
    """Describe a TRIP file or folder without loading it; see ``models.info``."""
    from .systems.trip import TRIPConfig

    if path.is_dir():
        from .diffusers_folder import folder_info

        return folder_info(path)
    facts = describe(path)
    has, config = facts["parts"], facts["config"]
    trip = None if "trip" not in config else TRIPConfig.from_dict(config["trip"])
    needed = ("trip", "vae", "text", *(("motion",) if trip is not None and trip.motion else ()))
    return {
        **facts,
        "kind": "TRIP checkpoint",
        "variant": None if trip is None else trip.variant,
        "prediction_type": None if trip is None else trip.prediction_type,
        "missing": [part for part in needed if part not in has],
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


def _load_file(path: Path, device: torch.device | str, dtype: torch.dtype) -> "Model":
    from .nn.autoencoder import AutoencoderConfig, TinyAutoencoder
    from .nn.motion import MotionConfig, MotionNetwork
    from .nn.text import TextConfig, TextEncoder
    from .pipeline import Model, SamplingDefaults
    from .systems.trip import TRIP, TRIPConfig

    config = read_config(path)
    kinds: dict[str, Callable[[], nn.Module]] = {
        "trip": lambda: TRIP(TRIPConfig.from_dict(config["trip"])),
        "vae": lambda: TinyAutoencoder(part_config(AutoencoderConfig, config, "vae", path)),
        "text": lambda: TextEncoder(part_config(TextConfig, config, "text", path)),
        "motion": lambda: MotionNetwork(part_config(MotionConfig, config, "motion", path)),
    }
    missing = [name for name in ("trip", "vae", "text") if not isinstance(config.get(name), dict)]
    if missing:
        raise ValueError(
            f"{path} is no whole model: the parts {', '.join(missing)} are missing; a model has "
            f"the parts {', '.join(kinds)} (motion may be absent)"
        )
    known = {name: make for name, make in kinds.items() if name in config}
    parts: dict[str, Any] = load_modules(path, known, device, {"trip": dtype})
    return Model(
        trip=parts["trip"],
        vae=parts["vae"],
        text=parts["text"],
        motion=parts.get("motion"),
        config=config,
        defaults=part_config(SamplingDefaults, {"defaults": {}, **config}, "defaults", path),
    )


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
