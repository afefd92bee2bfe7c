"""Stable Diffusion's autoencoder and OpenCLIP's text encoder, as released, in the host's classes.

The host picks the sizes of these two by names and knows the published ones only; here they are read
from the tensors' shapes, so that a checkpoint of any size gives the host's own VAE and CLIP.
"""

import re
from collections.abc import Mapping
from typing import Any

import comfy.ldm.models.autoencoder
import comfy.sd
import comfy.text_encoders.sd2_clip
import comfy.utils
import torch
from torch import Tensor

#: A head of OpenCLIP's towers is so wide.
_HEAD = 64
#: The parts' names for people.
_VAE, _TEXT = "autoencoder", "text encoder"


def build_vae(state: dict[str, Tensor]) -> comfy.sd.VAE:
    """Return the host's VAE of an autoencoder in Stable Diffusion's first layout.

    Args:
        state: ``encoder.``, ``decoder.``, ``quant_conv.`` and ``post_quant_conv.``.

    Raises:
        ValueError: If a tensor is missing or does not fit; one sentence.
    """
    levels = _count(r"encoder\.down\.(\d+)\.", state)
    firsts = [f"encoder.down.{level}.block.0.conv1.weight" for level in range(levels)]
    widths = [_shape(_VAE, state, name)[0] for name in firsts]
    base, colours, *_ = _shape(_VAE, state, "encoder.conv_in.weight")
    inner, latent, *_ = _shape(_VAE, state, "post_quant_conv.weight")
    sizes = {
        "double_z": True,
        "z_channels": inner,
        "resolution": 256,
        "in_channels": colours,
        "out_ch": colours,
        "ch": base,
        "ch_mult": [width // base for width in widths],
        "num_res_blocks": _count(r"encoder\.down\.0\.block\.(\d+)\.", state),
        "attn_resolutions": [],
        "dropout": 0.0,
    }
    config = {"params": {"ddconfig": sizes, "embed_dim": latent}}
    with torch.device("meta"):
        empty = comfy.ldm.models.autoencoder.AutoencoderKL(**config["params"])
    _check(_VAE, empty.state_dict(), state)
    vae = comfy.sd.VAE(sd=state, config=config)
    vae.latent_channels = latent
    vae.downscale_ratio = vae.upscale_ratio = 2 ** (len(widths) - 1)
    return vae


def build_text(state: dict[str, Tensor]) -> comfy.sd.CLIP:
    """Return the host's CLIP, type SD 2.1, of OpenCLIP's text tower.

    Args:
        state: In OpenCLIP's layout (``transformer.resblocks.``) or transformers'
            (``text_model.encoder.layers.``).

    Raises:
        ValueError: If it is neither, or a tensor is missing or does not fit; one sentence.
    """
    if _count(r"transformer\.resblocks\.(\d+)\.", state):
        state = comfy.utils.clip_text_transformers_convert(state, "", "")
    layers = _count(r"text_model\.encoder\.layers\.(\d+)\.", state)
    if not layers:
        raise ValueError(
            f"the text encoder's first tensor is {next(iter(state), None)!r}, which is neither "
            "OpenCLIP's layout nor transformers'; use the text encoder of Stable Diffusion 2.1"
        )
    inner, width = _shape(_TEXT, state, "text_model.encoder.layers.0.mlp.fc1.weight", axes=2)
    sizes = {
        "hidden_size": width,
        "intermediate_size": inner,
        "num_attention_heads": max(width // _HEAD, 1),
        # The last layer is not read, and transformers' files leave it out.
        "num_hidden_layers": max(layers, 24) if width == 1024 else layers,
    }

    class Target:
        params: dict = {}  # noqa: RUF012  the host copies it
        clip = comfy.text_encoders.sd2_clip.SD2ClipModel
        tokenizer = comfy.text_encoders.sd2_clip.SD2Tokenizer

    count = sum(tensor.numel() for tensor in state.values())
    clip = comfy.sd.CLIP(Target, parameters=count, model_options={"clip_h_model_config": sizes})
    _check(_TEXT, _read_by(clip, state), state)
    clip.load_sd(state)
    return clip


def _read_by(clip: comfy.sd.CLIP, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the CLIP's tensors that must come from a file.

    Not so the projection and, where it is missing whole, the last layer: neither is read.
    """
    model = clip.cond_stage_model
    model = getattr(model, model.clip).transformer
    last = f"text_model.encoder.layers.{model.num_layers - 1}."
    whole = any(key.startswith(last) for key in state)
    spare = ("text_projection.",) if whole else ("text_projection.", last)
    return {
        key: tensor
        for key, tensor in model.state_dict().items()
        if key in state or not key.startswith(spare)
    }


def _count(pattern: str, names: Mapping[str, Any]) -> int:
    """Return how many there are of what the names number: one more than the highest number."""
    found = (re.match(pattern, name) for name in names)
    return 1 + max((int(match[1]) for match in found if match), default=-1)


def _shape(part: str, state: Mapping[str, Tensor], name: str, axes: int = 4) -> tuple[int, ...]:
    """Return the shape of a tensor that tells a size."""
    found = state.get(name)
    if found is None or found.ndim != axes or not found.numel():
        have = "missing" if found is None else list(found.shape)
        raise ValueError(f"its {part}'s {name!r} is {have}; use a file that holds the {part} whole")
    return tuple(found.shape)


def _check(part: str, want: Mapping[str, Tensor], have: Mapping[str, Tensor]) -> None:
    """Raise a ValueError that names the first tensors that do not fit."""
    faults = [f"{key!r} {list(t.shape)} is missing" for key, t in want.items() if key not in have]
    parts = ("encoder.", "decoder.")  # of an autoencoder; what lies beside them is not read
    faults += [f"{key!r} is not known" for key in have if key.startswith(parts) and key not in want]
    faults += [
        f"{key!r} is {list(have[key].shape)} where {list(t.shape)} fits"
        for key, t in want.items()
        if key in have and have[key].shape != t.shape
    ]
    if faults:
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise ValueError(
            f"its {part}'s tensors do not fit: {'; '.join(faults[:3])}{more}; get the file again"
        )


class NoText:
    """Where a CLIP is expected and the file brought none: says what to use, when it is used."""

    def __init__(self, sentence: str) -> None:
        """Keep the sentence."""
        self._sentence = sentence
        self.cond_stage_model = torch.nn.Module()  # LoRA loaders look for layers in it: none

    def tokenize(self, *_: Any, **__: Any) -> None:
        """Raise the sentence, a ValueError."""
        raise ValueError(self._sentence)

    def clone(self) -> "NoText":
        """Return the same; LoRA loaders and CLIP Set Last Layer ask for it."""
        return self

    def clip_layer(self, _: int) -> None:
        """There are none."""

    def add_patches(self, *_: Any) -> list:
        """Take no patches; return those that were applied."""
        return []
