"""Stable Diffusion's autoencoder and OpenCLIP's text encoder, as released, in the host's classes.

The host picks the sizes of these two by names and knows the published ones only; here they are read
from the tensors' shapes, so that a checkpoint of any size gives the host's own VAE and CLIP.
"""

from typing import Any

import comfy.sd
import comfy.text_encoders.sd2_clip
import comfy.utils
from torch import Tensor

#: A head of OpenCLIP's towers is so wide.
_HEAD = 64


def build_vae(state: dict[str, Tensor]) -> comfy.sd.VAE:
    """Return the host's VAE of an autoencoder in Stable Diffusion's first layout.

    Args:
        state: ``encoder.``, ``decoder.``, ``quant_conv.`` and ``post_quant_conv.``.

    Raises:
        ValueError: If a tensor that tells a size is missing.
    """
    widths: list[int] = []
    while (name := f"encoder.down.{len(widths)}.block.0.conv1.weight") in state:
        widths.append(state[name].shape[0])
    try:
        first, latent = state["encoder.conv_in.weight"], state["post_quant_conv.weight"]
        state["decoder.conv_out.weight"]
    except KeyError as error:
        raise ValueError(
            f"the autoencoder has no {error.args[0]!r}; use a file that holds it whole "
            "(first_stage_model.)"
        ) from None
    sizes = {
        "double_z": True,
        "z_channels": latent.shape[0],
        "resolution": 256,
        "in_channels": first.shape[1],
        "out_ch": first.shape[1],
        "ch": first.shape[0],
        "ch_mult": [width // first.shape[0] for width in widths],
        "num_res_blocks": sum(
            f"encoder.down.0.block.{block}.conv1.weight" in state for block in range(len(state))
        ),
        "attn_resolutions": [],
        "dropout": 0.0,
    }
    config = {"params": {"ddconfig": sizes, "embed_dim": latent.shape[1]}}
    vae = comfy.sd.VAE(sd=state, config=config)
    vae.latent_channels = latent.shape[1]
    vae.downscale_ratio = vae.upscale_ratio = 2 ** (len(widths) - 1)
    return vae


def build_text(state: dict[str, Tensor]) -> comfy.sd.CLIP:
    """Return the host's CLIP, type SD 2.1, of OpenCLIP's text tower.

    Args:
        state: In OpenCLIP's layout (``transformer.resblocks.``) or transformers'
            (``text_model.encoder.layers.``).

    Raises:
        ValueError: If it is neither.
    """
    if "transformer.resblocks.0.ln_1.weight" in state:
        state = comfy.utils.clip_text_transformers_convert(state, "", "")
    layers = 0
    while f"text_model.encoder.layers.{layers}.mlp.fc1.weight" in state:
        layers += 1
    if not layers:
        raise ValueError(
            f"the text encoder's first tensor is {next(iter(state), None)!r}, which is neither "
            "OpenCLIP's layout nor transformers'; use the text encoder of Stable Diffusion 2.1"
        )
    inner, width = state["text_model.encoder.layers.0.mlp.fc1.weight"].shape
    sizes = {
        "hidden_size": width,
        "intermediate_size": inner,
        "num_attention_heads": max(width // _HEAD, 1),
        # The last layer is not read, and transformers' files leave it out.
        "num_hidden_layers": max(layers, 24) if width == 1024 else layers,
        "vocab_size": state["text_model.embeddings.token_embedding.weight"].shape[0],
    }

    class Target:
        params: dict = {}  # noqa: RUF012  the host copies it
        clip = comfy.text_encoders.sd2_clip.SD2ClipModel
        tokenizer = comfy.text_encoders.sd2_clip.SD2Tokenizer

    count = sum(tensor.numel() for tensor in state.values())
    clip = comfy.sd.CLIP(Target, parameters=count, model_options={"clip_h_model_config": sizes})
    clip.load_sd(state)
    return clip


class NoText:
    """Where a CLIP is expected and the file brought none: says what to use, when it is used."""

    def __init__(self, sentence: str) -> None:
        """Keep the sentence."""
        self._sentence = sentence

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
