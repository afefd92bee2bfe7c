"""A tiny DreamVideo in the real format, every weight random: picture and words are both heard."""

from dataclasses import asdict, replace
from pathlib import Path

import torch

from tests.tiny import WORDS
from trip_core.checkpoint import save_checkpoint
from trip_core.nn.autoencoder import TinyAutoencoder
from trip_core.nn.text import TextConfig, TextEncoder
from trip_core.systems.dreamvideo import PRESETS, DreamVideo, DreamVideoConfig

TINY = replace(
    PRESETS["small"],
    unet=replace(
        PRESETS["small"].unet,
        block_out_channels=(16, 16),
        attention_head_dim=8,
        cross_attention_dim=16,
    ),
    stem_widths=(4, 4, 8, 8),
)


def tiny_dreamvideo(config: DreamVideoConfig = TINY) -> DreamVideo:
    """Return the network with random weights, the same every time."""
    model = DreamVideo(config)
    generator = torch.Generator().manual_seed(2)
    for parameter in model.parameters():
        parameter.data = 0.1 * torch.randn(parameter.shape, generator=generator)
    return model


def save_tiny_dreamvideo(path: Path) -> Path:
    """Write the network with an autoencoder and a text encoder around it."""
    modules = {
        "dreamvideo": tiny_dreamvideo(),
        "vae": TinyAutoencoder(),
        "text": TextEncoder(TextConfig(WORDS, width=16, num_layers=1, num_heads=2, max_tokens=8)),
    }
    generator = torch.Generator().manual_seed(3)
    for name in ("vae", "text"):
        for parameter in modules[name].parameters():
            parameter.data = 0.05 * torch.randn(parameter.shape, generator=generator)
    config = {
        "dreamvideo": TINY.to_dict(),
        "vae": asdict(modules["vae"].config),
        "text": asdict(modules["text"].config),
        "defaults": {"steps": 2, "guidance_scale": 1.0, "size": 32},
    }
    save_checkpoint(path, config, {name: part.state_dict() for name, part in modules.items()})
    return path
