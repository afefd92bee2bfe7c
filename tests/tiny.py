"""Tiny checkpoints in the real formats: random weights, but a motion that pans and ripples."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from trip_core.checkpoint import save_checkpoint
from trip_core.dynamicrafter_names import TEXT, UNET
from trip_core.nn.autoencoder import AutoencoderConfig, TinyAutoencoder
from trip_core.nn.motion import MotionConfig, MotionNetwork
from trip_core.nn.motion_field import MOTION_PARAMETERS
from trip_core.nn.text import TextConfig, TextEncoder
from trip_core.nn.unet3d import VideoUNetConfig
from trip_core.schedule import dynamic_rescale
from trip_core.systems.trip import PRESETS, TRIP

FIXTURES = Path(__file__).parent / "fixtures"
#: A video UNet with every kind of block.
TINY_UNET = VideoUNetConfig(
    down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
    up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
    block_out_channels=(8, 16),
    layers_per_block=1,
    cross_attention_dim=12,
    attention_head_dim=4,
    norm_num_groups=4,
)
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


def save_dynamicrafter(
    path: Path, epsilon: bool = False, text: bool = False, half: bool = False
) -> Path:
    """Write a miniature DynamiCrafter in the released layout.

    The weights are those that the fixture's official numbers were made with. ``epsilon`` leaves out
    the buffer of the signal scale and names the pace as the 256 model does: the file is then one.
    ``text`` adds a text tower; ``half`` stores float16, as the pruned files that people have.
    """
    with safe_open(FIXTURES / "dynamicrafter.safetensors", framework="pt") as file:
        shapes = json.loads(file.metadata()["checkpoint"])
    tensors = drawn(shapes, 820)
    tensors[f"{UNET}out.2.weight"] *= 0.5
    if epsilon:
        tensors = {k.replace("fps_embedding", "framestride_embed"): t for k, t in tensors.items()}
    else:
        tensors["scale_arr"] = dynamic_rescale(0.7, 1400).float()
    if text:
        tensors |= {TEXT + key: t.half() for key, t in drawn(_text_shapes(64, 3), 5).items()}
    if half:
        tensors = {key: t.half() for key, t in tensors.items()}
    save_file(tensors, path, metadata={"format": "pt"})
    return path


def drawn(shapes, seed):
    """Draw weights of these shapes, tensor after tensor in the order of their names."""
    generator, tensors = torch.Generator().manual_seed(seed), {}
    for name, shape in sorted(shapes.items()):
        noise = torch.randn(shape, generator=generator)
        if len(shape) == 1:
            tensors[name] = 1 + 0.1 * noise if name.endswith("weight") else 0.1 * noise
        else:
            tensors[name] = noise / torch.Size(shape[1:]).numel() ** 0.5
    return tensors


def _text_shapes(width, layers):
    """Shapes of OpenCLIP's text tower."""
    shapes = {
        "token_embedding.weight": [49408, width],
        "positional_embedding": [77, width],
        "text_projection": [width, width],
        "ln_final.weight": [width],
        "ln_final.bias": [width],
    }
    for layer in range(layers):
        block = f"transformer.resblocks.{layer}."
        for norm in ("ln_1", "ln_2"):
            shapes |= {f"{block}{norm}.weight": [width], f"{block}{norm}.bias": [width]}
        for name, rows, columns in (
            ("attn.in_proj_", 3 * width, width),
            ("attn.out_proj.", width, width),
            ("mlp.c_fc.", 4 * width, width),
            ("mlp.c_proj.", width, 4 * width),
        ):
            shapes |= {f"{block}{name}weight": [rows, columns], f"{block}{name}bias": [rows]}
    return shapes
