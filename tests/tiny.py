"""A tiny checkpoint in the real format: random weights, but a motion that pans and ripples."""

from dataclasses import asdict, replace
from pathlib import Path

import torch

from trip_core.checkpoint import save_checkpoint
from trip_core.nn.autoencoder import AutoencoderConfig, TinyAutoencoder
from trip_core.nn.motion import MotionConfig, MotionNetwork
from trip_core.nn.motion_field import MOTION_PARAMETERS
from trip_core.nn.text import TextConfig, TextEncoder
from trip_core.systems.trip import PRESETS, TRIP

WORDS = ("the", "camera", "pans", "left", "right", "gentle", "waves", "slowly", "moves", "water")


def save_tiny(path: Path, motion: bool = True, seed: int = 0) -> Path:
    """Write a tiny checkpoint; without ``motion`` it is the paper's TRIP at that size."""
    preset = PRESETS["small" if motion else "small_paper"]
    unet = replace(preset.unet, block_out_channels=(16, 32), cross_attention_dim=32)
    fusion = replace(preset.fusion_config, width=32)
    trip_config = replace(preset, unet=unet, fusion_config=fusion)
    text_config = TextConfig(WORDS, width=32, num_layers=1, num_heads=2, max_tokens=8)
    motion_config = MotionConfig(
        channels=(16, 16, 32, 32), fine_channels=8, attention_layers=1, text_width=32, size=64
    )
    with torch.random.fork_rng():
        torch.random.manual_seed(seed)
        parts = {
            "trip": TRIP(trip_config),
            "text": TextEncoder(text_config),
            "vae": TinyAutoencoder(AutoencoderConfig()),
        }
        if motion:
            parts["motion"] = MotionNetwork(motion_config)
            names = list(MOTION_PARAMETERS)
            with torch.no_grad():
                parts["motion"].head[-1].bias[names.index("pan")] = 1.0
                parts["motion"].head[-1].bias[names.index("ripple")] = 1.0
        pictures = torch.rand(4, 3, 8, 8) * 2 - 1
    pictures = torch.nn.functional.interpolate(pictures, (64, 64), mode="bicubic").clamp(-1, 1)
    parts["vae"].initialise_from_patches(pictures)
    config = {
        "trip": trip_config.to_dict(),
        "text": asdict(text_config),
        "vae": asdict(AutoencoderConfig()),
        "defaults": {"steps": 4, "guidance_scale": 1.0, "size": 64},
    }
    if motion:
        config["motion"] = asdict(motion_config)
    save_checkpoint(path, config, {name: part.state_dict() for name, part in parts.items()})
    return path
