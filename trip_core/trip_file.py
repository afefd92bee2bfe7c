"""TRIP models: the one that ships, checkpoint files and folders in diffusers' layout."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .checkpoint import describe, load_modules, part_config, read_config
from .diffusers_folder import folder_info, load_folder
from .nn.autoencoder import AutoencoderConfig, TinyAutoencoder
from .nn.motion import MotionConfig, MotionNetwork
from .nn.text import TextConfig, TextEncoder
from .pipeline import Model, SamplingDefaults
from .systems.trip import TRIP, TRIPConfig

#: The model that ships.
EMBEDDED = Path(__file__).parent / "embedded" / "trip-small.safetensors"


def load_model(
    path: str | os.PathLike[str] | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Model:
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
        return load_folder(Path(path), device, dtype)
    return _load_file(Path(path), device, dtype)


def trip_info(path: Path) -> dict[str, Any]:
    """Describe a TRIP file or folder without loading it; see ``models.info``."""
    if path.is_dir():
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


def _load_file(path: Path, device: torch.device | str, dtype: torch.dtype) -> Model:
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
