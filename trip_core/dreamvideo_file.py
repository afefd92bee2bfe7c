"""DreamVideo checkpoints: found by their config, loaded with what is around them.

A file of this project with a part ``dreamvideo``. The model that ``train`` packs brings its
autoencoder and text encoder; one whose UNet began as ModelScopeT2V's or ZeroScope's may lie without
them in such a folder (diffusers' layout): ``vae/``, ``text_encoder/`` and ``tokenizer/`` beside the
file are then used.
"""

from pathlib import Path
from typing import Any

import torch

from .checkpoint import (
    CONFIG_KEY,
    describe,
    load_modules,
    part_config,
    read_config,
)
from .nn.autoencoder import AutoencoderConfig, TinyAutoencoder
from .nn.text import TextConfig, TextEncoder
from .pipeline import SamplingDefaults
from .pipeline_dreamvideo import DreamVideoModel
from .systems.dreamvideo import PRESETS, DreamVideo, DreamVideoConfig
from .tensor_files import Header, find_file, parse_json

_PART = "dreamvideo"
_AROUND = ("vae", "text")


def find_dreamvideo(path: Path) -> Path | None:
    """Return the DreamVideo file of a path; see :func:`trip_core.tensor_files.find_file`."""
    return find_file(path, _is_dreamvideo, "DreamVideo")


def load_dreamvideo(
    path: Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> DreamVideoModel:
    """Load a DreamVideo file, and what it lacks from the folder beside it.

    Args:
        path: The file.
        device: Where all parts are put.
        dtype: Type of the system's weights; the small parts around it stay in float32.

    Raises:
        ValueError: If the file is no whole DreamVideo, or its encoders are nowhere.
    """
    config = read_config(path)
    defaults = part_config(SamplingDefaults, {"defaults": {}, **config}, "defaults", path)
    kinds: dict[str, Any] = {
        _PART: lambda: DreamVideo(DreamVideoConfig.from_dict(config[_PART])),
        "vae": lambda: TinyAutoencoder(part_config(AutoencoderConfig, config, "vae", path)),
        "text": lambda: TextEncoder(part_config(TextConfig, config, "text", path)),
    }
    own = {name: make for name, make in kinds.items() if name in config}
    parts: dict[str, Any] = load_modules(path, own, device, {_PART: dtype})
    if not set(_AROUND) & set(own):
        from .diffusers_folder import load_encoders

        try:
            parts["vae"], parts["text"] = load_encoders(path.parent, device, dtype)
        except ValueError as error:
            raise ValueError(
                f"{path} brings no autoencoder and text encoder, and there are none in its folder "
                f"({error}); put it into a ModelScopeT2V folder, or pack it with them"
            ) from None
    missing = [name for name in _AROUND if name not in parts]
    if missing:
        raise ValueError(
            f"{path} is no whole model: the parts {', '.join(missing)} are missing; pack it with "
            "all of its parts"
        )
    return DreamVideoModel(parts[_PART], parts["vae"], parts["text"], config, defaults)


def dreamvideo_info(path: Path) -> dict[str, Any]:
    """Describe a DreamVideo file without loading it; see ``models.info``."""
    facts = describe(path)
    config = DreamVideoConfig.from_dict(facts["config"][_PART])
    named = [name for name, preset in PRESETS.items() if preset == config]
    return {
        **facts,
        "kind": "DreamVideo checkpoint",
        "system": "DreamVideo",
        "variant": (named or ["custom sizes"])[0],
        "prediction_type": config.prediction_type,
        "missing": [name for name in _AROUND if name not in facts["parts"]],
    }


def _is_dreamvideo(header: Header) -> bool:
    text = header.metadata.get(CONFIG_KEY, "{}")
    try:
        config = parse_json(text)
    except ValueError:
        return False  # whoever loads it says what is wrong
    return isinstance(config, dict) and _PART in config
