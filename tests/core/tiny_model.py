"""A whole model of the real classes at the smallest sizes, as tests of files and commands need."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trip_core.checkpoint import save_checkpoint
from trip_core.nn.autoencoder import TinyAutoencoder
from trip_core.nn.motion import MotionConfig, MotionNetwork
from trip_core.nn.motion_field import MOTION_PARAMETERS
from trip_core.nn.text import TextConfig, TextEncoder
from trip_core.systems.trip import PRESETS, TRIP

#: What displaces something: weather and light would need samples.
MOVES = [name for name in MOTION_PARAMETERS if name not in ("snow", "rain", "flicker")]


def tiny_model() -> tuple[dict[str, Any], dict[str, nn.Module]]:
    """Return (config, modules by part) of a model with random weights, the same every time."""
    small = PRESETS["small"]
    unet = replace(
        small.unet, block_out_channels=(16, 16), attention_head_dim=8, cross_attention_dim=16
    )
    fusion = replace(small.fusion_config, width=16, num_heads=2)
    modules: dict[str, nn.Module] = {
        "trip": TRIP(replace(small, unet=unet, fusion_config=fusion)),
        "vae": TinyAutoencoder(),
        "text": TextEncoder(TextConfig(("pan", "left"), width=16, num_heads=2, num_layers=1)),
        "motion": MotionNetwork(MotionConfig((8, 16, 16, 16), 8, 1, 16, 32)),
    }
    generator = torch.Generator().manual_seed(0)
    for module in modules.values():
        for parameter in module.parameters():
            parameter.data.copy_(0.05 * torch.randn(parameter.shape, generator=generator))
    configs = {part: getattr(module, "config") for part, module in modules.items()}  # noqa: B009
    config = {part: asdict(values) for part, values in configs.items()}
    defaults = {"steps": 2, "guidance_scale": 1.0, "size": 32, "understood": MOVES}
    return {**config, "defaults": defaults}, modules


def save_tiny_model(path: Path) -> None:
    """Write the tiny model."""
    config, modules = tiny_model()
    save_checkpoint(path, config, {part: module.state_dict() for part, module in modules.items()})
