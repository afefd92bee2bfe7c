"""DynamiCrafter with the libraries' encoders around it: what the command line loads.

A folder: one DynamiCrafter ``.safetensors`` file, and, as Stable Diffusion 2.1 and OpenCLIP ViT-H
come in transformers' layout, ``tokenizer/``, ``text_encoder/`` and ``image_encoder/``. A file that
nobody pruned holds both encoders and needs ``tokenizer/`` alone. The autoencoder is in the
DynamiCrafter file; it becomes diffusers' class. Nothing is downloaded.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .clip_pixels import clip_pixels
from .diffusers_folder import FolderAutoencoder, FolderText
from .dynamicrafter_file import dynamicrafter_info, load_dynamicrafter
from .dynamicrafter_names import VAE
from .openclip import IMAGE, TEXT, has_image_tower, has_text_tower, image_tower, text_tower
from .pipeline_dynamicrafter import DynamiCrafterModel
from .tensor_files import read_header, read_tensors

_FOLDERS = ("tokenizer", "text_encoder", "image_encoder")
#: Theirs -> diffusers', anywhere in a name of the autoencoder.
_VAE_WORDS = {
    "nin_shortcut": "conv_shortcut",
    "norm_out": "conv_norm_out",
    "mid.block_1": "mid_block.resnets.0",
    "mid.block_2": "mid_block.resnets.1",
    "mid.attn_1.norm": "mid_block.attentions.0.group_norm",
    "mid.attn_1.q": "mid_block.attentions.0.to_q",
    "mid.attn_1.k": "mid_block.attentions.0.to_k",
    "mid.attn_1.v": "mid_block.attentions.0.to_v",
    "mid.attn_1.proj_out": "mid_block.attentions.0.to_out.0",
    "downsample.conv": "downsamplers.0.conv",
    "upsample.conv": "upsamplers.0.conv",
}


class FolderVision(nn.Module):
    """transformers' CLIP image tower behind ``DynamiCrafterModel.vision``."""

    def __init__(self, encoder: Any) -> None:
        """Wrap a loaded ``CLIPVisionModel``."""
        super().__init__()
        self.encoder = encoder

    def encode(self, images: Tensor) -> Tensor:
        """Return all tokens of the last layer, not normalised, of ``[B, 3, H, W]`` in 0..1."""
        parameter = next(self.encoder.parameters())
        pixels = clip_pixels(images, self.encoder.config.image_size)
        return self.encoder(pixels.to(parameter.device, parameter.dtype)).last_hidden_state


def load_dynamicrafter_folder(
    file: Path, device: torch.device | str, dtype: torch.dtype
) -> DynamiCrafterModel:
    """Load a DynamiCrafter file with the encoders in the folder beside it or in the file.

    Args:
        file: The DynamiCrafter file.
        device: Where all parts are put.
        dtype: Type of the network and the encoders; the autoencoder stays in float32.

    Raises:
        ValueError: If a part is missing or does not fit.
    """
    tokenizer, text, vision = _load_encoders(file)
    network = load_dynamicrafter(file).to(device, dtype)
    _check_widths(network.config, text.config.hidden_size, vision.config.hidden_size, file.parent)
    parts = {
        "vae": load_autoencoder(file).to(device, torch.float32),
        "text": FolderText(tokenizer, text).to(device, dtype),
        "vision": FolderVision(vision).to(device, dtype),
    }
    for part in parts.values():
        part.eval().requires_grad_(False)
    info = dynamicrafter_info(file)
    return DynamiCrafterModel(network, **parts, config=info["config"])  # type: ignore[arg-type]


def load_autoencoder(file: Path) -> FolderAutoencoder:
    """Return the autoencoder of a DynamiCrafter file as diffusers' class, float32.

    Raises:
        ValueError: If it is not in the file or not Stable Diffusion's.
    """
    from diffusers import AutoencoderKL

    tensors = read_tensors(file, (VAE,))
    if f"{VAE}decoder.conv_out.weight" not in tensors:
        raise ValueError(f"{file} holds no autoencoder ({VAE}); use a file that does")
    widths = []
    while (name := f"{VAE}encoder.down.{len(widths)}.block.0.conv1.weight") in tensors:
        widths.append(tensors[name].shape[0])
    block = re.compile(rf"{VAE}encoder\.down\.0\.block\.\d+\.conv1\.bias")
    layers = sum(block.fullmatch(key) is not None for key in tensors)
    with torch.device("meta"):
        vae = AutoencoderKL(  # diffusers writes tuple[str] where it takes any number of blocks
            down_block_types=("DownEncoderBlock2D",) * len(widths),  # type: ignore[arg-type]
            up_block_types=("UpDecoderBlock2D",) * len(widths),  # type: ignore[arg-type]
            block_out_channels=tuple(widths),
            layers_per_block=layers,
            latent_channels=tensors[f"{VAE}post_quant_conv.weight"].shape[0],
            scaling_factor=0.18215,
        )
    want = vae.state_dict()
    state = {diffusers_name(key.removeprefix(VAE), len(widths)): t for key, t in tensors.items()}
    strange = sorted(want.keys() ^ state.keys()) or sorted(
        key for key, t in state.items() if t.numel() != want[key].numel()
    )
    if strange:
        raise ValueError(
            f"the autoencoder in {file} is not Stable Diffusion's: {strange[0]!r} is missing, not "
            "known or of another shape"
        )
    state = {key: t.float().reshape(want[key].shape) for key, t in state.items()}
    vae.load_state_dict(state, assign=True)
    return FolderAutoencoder(vae.eval().requires_grad_(False))


def diffusers_name(name: str, levels: int) -> str:
    """Return diffusers' name of a tensor of the autoencoder, from Stable Diffusion's first one."""
    for theirs, ours in _VAE_WORDS.items():
        name = re.sub(rf"\b{re.escape(theirs)}\b", ours, name)
    name = re.sub(r"\bdown\.(\d+)\.", r"down_blocks.\1.", name)
    name = re.sub(r"\bup\.(\d+)\.", lambda m: f"up_blocks.{levels - 1 - int(m[1])}.", name)
    return re.sub(r"\bblock\.(\d+)\.", r"resnets.\1.", name)


def _load_encoders(file: Path) -> tuple[Any, Any, Any]:
    """Return tokenizer, text and image encoder: what lies beside the file before what is in it."""
    from transformers import CLIPTextModel, CLIPTokenizer, CLIPVisionModel
    from transformers.utils import logging

    folder, names = file.parent, read_header(file).tensors
    inside = {"text_encoder": has_text_tower(names), "image_encoder": has_image_tower(names)}
    beside = {name: (folder / name).is_dir() for name in _FOLDERS}
    missing = [name for name in _FOLDERS if not beside[name] and not inside.get(name)]
    if missing:
        raise ValueError(
            f"DynamiCrafter needs {', '.join(f'{name}/' for name in missing)} beside {file}, in "
            "transformers' layout: tokenizer and text_encoder of Stable Diffusion 2.1, "
            "image_encoder of CLIP-ViT-H-14-laion2B-s32B-b79K"
        )
    options: dict[str, Any] = {"local_files_only": True}
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # they would be the only ones outside a terminal
    try:
        tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", **options)
        options["use_safetensors"] = True
        if beside["text_encoder"]:
            text = CLIPTextModel.from_pretrained(folder / "text_encoder", **options)
        else:
            text = text_tower(read_tensors(file, (TEXT,)))
        if beside["image_encoder"]:
            vision = CLIPVisionModel.from_pretrained(folder / "image_encoder", **options)
        else:
            vision = image_tower(read_tensors(file, (IMAGE,)))
    except OSError as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"an encoder in {folder} cannot be loaded: {reason}") from None
    finally:
        if bars:
            logging.enable_progress_bar()
    return tokenizer, text, vision


def _check_widths(config: Any, text: int, vision: int, folder: Path) -> None:
    want: Mapping[str, tuple[int, int]] = {
        "text_encoder": (text, config.unet.cross_attention_dim),
        "image_encoder": (vision, config.resampler.in_dim),
    }
    for name, (has, needs) in want.items():
        if has != needs:
            raise ValueError(
                f"{folder}/{name} makes tokens {has} wide and DynamiCrafter reads {needs}; use "
                "the encoders of Stable Diffusion 2.1 and CLIP-ViT-H-14-laion2B-s32B-b79K"
            )
