"""DynamiCrafter's tensors: our names -> those of the released files.

The layout is that of the code that trained it (lvdm), whole or pruned: ``model.diffusion_model.``
(the UNet), ``image_proj_model.`` (the query transformer), ``first_stage_model.`` (Stable
Diffusion's autoencoder), ``cond_stage_model.`` and ``embedder.`` (OpenCLIP's text and image towers;
absent from pruned files) and buffers of the noise schedule.
"""

import re

from .nn.unet3d import VideoUNetConfig
from .systems.dynamicrafter import DynamiCrafter

UNET, RESAMPLER, VAE = "model.diffusion_model.", "image_proj_model.", "first_stage_model."
TEXT, VISION = "cond_stage_model.model.", "embedder.model."

#: Ours -> theirs, inside a convolutional block, and outside of all blocks.
_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_OUTSIDE = {
    "unet.conv_in.": "input_blocks.0.0.",
    "unet.time_embedding.linear_1.": "time_embed.0.",
    "unet.time_embedding.linear_2.": "time_embed.2.",
    "unet.transformer_in.": "init_attn.0.",
    "unet.conv_norm_out.": "out.0.",
    "unet.conv_out.": "out.2.",
}
#: Ours -> place in a block of theirs, on the way down and up.
_PLACES = {"resnets": 0, "temp_convs": 0, "attentions": 1, "temp_attentions": 2}


def released_names(network: DynamiCrafter, pace_name: str = "fps_embedding") -> dict[str, str]:
    """Return the released name of each tensor of a network; no two share one.

    Args:
        network: A DynamiCrafter.
        pace_name: What the file calls the embedding of the pace.
    """
    unet = network.config.unet
    return {key: _released_name(key, unet, pace_name) for key in network.state_dict()}


def _released_name(key: str, config: VideoUNetConfig, pace_name: str) -> str:
    if key.startswith("resampler."):
        return RESAMPLER + key.removeprefix("resampler.")
    if key.startswith("fps_embedding."):
        linear, _, kind = key.removeprefix("fps_embedding.linear_").partition(".")
        return f"{UNET}{pace_name}.{2 * int(linear) - 2}.{kind}"
    for ours, theirs in _OUTSIDE.items():
        if key.startswith(ours):
            return UNET + theirs + key.removeprefix(ours)
    return _released_block_name(key, config)


def _released_block_name(key: str, config: VideoUNetConfig) -> str:
    match = re.fullmatch(r"unet\.(down|mid|up)_blocks?\.(?:(\d+)\.)?(\w+)\.(\d+)\.(.+)", key)
    assert match is not None, key
    way, level, part, index, rest = match[1], int(match[2] or 0), match[3], int(match[4]), match[5]
    if part == "resnets":
        layer, _, kind = rest.partition(".")
        rest = f"{_RESNET[layer]}.{kind}"
    elif part == "temp_convs":
        rest = f"temopral_conv.{rest}"  # sic
    if way == "mid":  # block, attention, temporal attention, block
        return f"{UNET}middle_block.{_PLACES[part] + 3 * index}.{rest}"
    # A level is `stages` blocks long: on the way down its last one is strided.
    stages, blocks = (
        config.layers_per_block + 1,
        "input_blocks" if way == "down" else "output_blocks",
    )
    start = level * stages + (way == "down")  # the stem is a block too
    if part == "downsamplers":
        return f"{UNET}{blocks}.{start + stages - 1}.0.op.{rest.removeprefix('conv.')}"
    if part == "upsamplers":
        place = 3 if config.up_block_types[level].startswith("CrossAttn") else 1
        return f"{UNET}{blocks}.{start + stages - 1}.{place}.{rest}"
    return f"{UNET}{blocks}.{start + index}.{_PLACES[part]}.{rest}"
