"""DynamiCrafter's released files: which variant a file is, and its weights in our network.

Sizes and variant are read from names (see ``dynamicrafter_names``), shapes and one buffer, so that
nobody has to say what a file is; only the 512 model for two stills cannot be told from the 512
model.
"""

import os
from collections.abc import Container, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from .dynamicrafter_names import RESAMPLER, TEXT, UNET, VAE, VISION, released_names
from .nn.resampler import ResamplerConfig
from .nn.unet3d import VideoUNetConfig
from .systems.dynamicrafter import PRESETS, DynamiCrafter, DynamiCrafterConfig
from .tensor_files import Header, find_file, misfits, read_header, read_tensors, summary

#: Parts of a whole checkpoint, and what a pruned one may lack.
_PARTS = {
    "unet": UNET,
    "query transformer": RESAMPLER,
    "autoencoder": VAE,
    "text encoder": TEXT,
    "image encoder": VISION,
}
#: Ends with the factor on the latents at the noisiest timestep; absent from the 256 model.
_SCALE = "scale_arr"
#: Where it ends in the released files; types of 8 and 16 bits keep it to a few percent.
_BASES = (PRESETS["512"].rescale_base, PRESETS["1024"].rescale_base)
_PACE_NAMES = ("fps_embedding", "framestride_embed")

Shapes = Mapping[str, tuple[int, ...]]


def is_dynamicrafter(names: Container[str]) -> bool:
    """Say whether tensors of these names are a DynamiCrafter."""
    return f"{RESAMPLER}latents" in names and f"{UNET}init_attn.0.proj_in.weight" in names


def find_dynamicrafter(path: Path) -> Path | None:
    """Return the DynamiCrafter file of a path; see :func:`trip_core.tensor_files.find_file`."""
    return find_file(path, lambda header: is_dynamicrafter(header.tensors), "DynamiCrafter")


def detect(shapes: Shapes, rescale_base: float | None) -> tuple[str, DynamiCrafterConfig]:
    """Return a checkpoint's variant, one of ``PRESETS``, and its config.

    Args:
        shapes: Shapes by name, as released.
        rescale_base: Last value of the buffer ``scale_arr``, None if there is none; within 5 % of a
            released model's it is taken for that.

    Raises:
        ValueError: If what tells a size or the variant is missing or of another shape.
    """
    # The 256 model alone weighs the image's share, calls the pace a frame stride and predicts
    # epsilon; the others predict v, with zero terminal signal, and differ in their signal scale.
    learned = any(key.endswith(".attn2.alpha") for key in shapes)
    if learned or _pace_name(shapes) == "framestride_embed":
        name = "256"
    elif rescale_base is None:
        raise ValueError(
            f"{_SCALE} is missing, which tells the 512 model from the 1024; use a file that has it"
        )
    else:
        name = "512" if rescale_base > 0.5 else "1024"
    unet, resampler = _unet_config(shapes), _resampler_config(shapes)
    # Heads are not in the shapes of the query transformer: the released ones are the UNet's.
    inner, head_dim = resampler.num_heads, unet.attention_head_dim
    resampler = replace(resampler, num_heads=max(inner // head_dim, 1), head_dim=head_dim)
    return name, replace(
        PRESETS[name],
        unet=unet,
        resampler=resampler,
        learned_image_scale=learned,
        rescale_base=1.0 if rescale_base is None else _released_base(rescale_base),
    )


def load_dynamicrafter(
    path: str | os.PathLike[str], config: DynamiCrafterConfig | None = None
) -> DynamiCrafter:
    """Load the network of a DynamiCrafter file, weights in their stored type, on the CPU.

    Args:
        path: A safetensors file in the released layout.
        config: Overrides what the file says of itself (the 512 model for two stills).

    Raises:
        ValueError: If the file cannot be read or is not a whole DynamiCrafter.
    """
    _, _, model, names = _fit(path, config)
    tensors = read_tensors(path, (UNET, RESAMPLER))
    state = {
        key: tensors.pop(names[key]).reshape(tensor.shape)
        for key, tensor in model.state_dict().items()
    }
    model.load_state_dict(state, assign=True)
    return model.eval().requires_grad_(False)


def dynamicrafter_info(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Describe a DynamiCrafter file without loading it; like ``models.info``.

    Raises:
        ValueError: If it is damaged or not a whole DynamiCrafter.
    """
    header, variant, model, _ = _fit(path)
    config = model.config
    parts = {
        name: {key: entry for key, entry in header.tensors.items() if key.startswith(prefix)}
        for name, prefix in _PARTS.items()
    }
    return {
        "path": str(Path(path)),
        "kind": f"DynamiCrafter {variant}" + " (or 512_interp)" * (variant == "512"),
        "variant": variant + " (or 512_interp)" * (variant == "512"),
        "prediction_type": config.prediction_type,
        "bytes": header.size,
        "parts": {name: summary(entries) for name, entries in parts.items() if entries},
        "missing": [name for name, entries in parts.items() if not entries],
        "config": {
            "prediction_type": config.prediction_type,
            "zero_terminal_snr": config.schedule.zero_terminal_snr,
            "rescale_base": config.rescale_base,
            "pace": config.pace,
            "size": list(config.size),
            "num_frames": config.resampler.num_frames,
        },
    }


def _fit(
    path: str | os.PathLike[str], config: DynamiCrafterConfig | None = None
) -> tuple[Header, str, DynamiCrafter, dict[str, str]]:
    """Return header, variant, the network that fits it and the released names of its tensors.

    No weight is read; the network is on the meta device.

    Raises:
        ValueError: If the file cannot be read or is not a whole DynamiCrafter.
    """
    header = read_header(path)
    shapes = {key: shape for key, (_, shape) in header.tensors.items()}
    if not is_dynamicrafter(shapes):
        raise ValueError(f"{path} holds no DynamiCrafter; `info` says what it is")
    try:
        variant, config = ("", config) if config else detect(shapes, _rescale_base(path, shapes))
        with torch.device("meta"):
            model = DynamiCrafter(config)
        names = released_names(model, _pace_name(shapes))
        _check_shapes(model, names, shapes)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return header, variant, model, names


def _rescale_base(path: str | os.PathLike[str], shapes: Shapes) -> float | None:
    """Return the last value of the signal scale, as stored; None without one."""
    if _SCALE not in shapes:
        return None
    _shape(shapes, _SCALE, 1)
    scale = read_tensors(path, (_SCALE,))[_SCALE].float()
    if not scale.isfinite().all():
        raise ValueError(f"{_SCALE} holds numbers that are not finite; get the file again")
    return float(scale[-1])


def _released_base(value: float) -> float:
    """Return the released base within 5 % of a value, else the value, rounded."""
    nearest = min(_BASES, key=lambda base: abs(base - value))
    return nearest if abs(nearest - value) <= 0.05 * nearest else round(value, 3)


def _pace_name(shapes: Shapes) -> str:
    """Return what the file calls the embedding of the pace."""
    used = (name for name in _PACE_NAMES if any(key.startswith(f"{UNET}{name}.") for key in shapes))
    return next(used, _PACE_NAMES[0])


def _shape(shapes: Shapes, name: str, *axes: int) -> tuple[int, ...]:
    """Return the shape of a tensor that tells a size: not missing, not empty, of so many axes."""
    if name not in shapes:
        raise ValueError(
            f"the tensor {name!r} is missing, so this is no whole DynamiCrafter; get the file again"
        )
    shape = shapes[name]
    if len(shape) not in axes or 0 in shape:
        kinds = " or ".join(f"{count}-D" for count in axes)
        raise ValueError(
            f"{name!r} is {list(shape)} where a {kinds} tensor fits that is not empty; "
            "get the file again"
        )
    return shape


def _unet_config(shapes: Shapes) -> VideoUNetConfig:
    def shape(name: str, *axes: int) -> tuple[int, ...]:
        return _shape(shapes, f"{UNET}{name}", *axes)

    # Block, place in it and layer, on the way down. No single tensor tells how many there are, for
    # one that is missing is to be named.
    places = {
        tuple(key.removeprefix(f"{UNET}input_blocks.").split(".")[:3])
        for key in shapes
        if key.startswith(f"{UNET}input_blocks.")
    }
    blocks = max(len({block for block, *_ in places}), 2)  # the stem and another
    strides = [i for i in range(2, blocks) if (str(i), "0", "op") in places]
    stages = (strides or [blocks])[0]  # blocks of a level with the strided one, or with the stem
    starts = range(1, blocks, stages)
    down = [any(place[:2] == (str(i), "1") for place in places) for i in starts]
    inner = shape("init_attn.0.proj_in.weight", 2, 3)[0]
    if inner % 8:
        raise ValueError(
            f"'{UNET}init_attn.0.proj_in.weight' has {inner} rows where a multiple of 8 fits; "
            "get the file again"
        )
    return VideoUNetConfig(
        in_channels=shape("input_blocks.0.0.weight", 4)[1],
        out_channels=shape("out.2.weight", 4)[0],
        down_block_types=tuple("CrossAttnDownBlock3D" if a else "DownBlock3D" for a in down),
        up_block_types=tuple("CrossAttnUpBlock3D" if a else "UpBlock3D" for a in down[::-1]),
        block_out_channels=tuple(
            shape(f"input_blocks.{i}.0.out_layers.3.weight", 4)[0] for i in starts
        ),
        layers_per_block=stages - 1,
        cross_attention_dim=shape("middle_block.1.transformer_blocks.0.attn2.to_k.weight", 2)[1],
        attention_head_dim=inner // 8,  # it has eight heads
    )


def _resampler_config(shapes: Shapes) -> ResamplerConfig:
    def shape(name: str, axes: int) -> tuple[int, ...]:
        return _shape(shapes, f"{RESAMPLER}{name}", axes)

    layers = {
        key.removeprefix(f"{RESAMPLER}layers.").split(".")[0]
        for key in shapes
        if key.startswith(f"{RESAMPLER}layers.")
    }
    _, queries, width = shape("latents", 3)
    return ResamplerConfig(
        in_dim=shape("proj_in.weight", 2)[1],
        width=width,
        out_dim=shape("proj_out.weight", 2)[0],
        depth=len(layers),
        num_heads=shape("layers.0.0.to_q.weight", 2)[0],
        head_dim=1,
        num_frames=max(queries // 16, 1),  # sixteen queries a frame, whatever the size
        num_queries=16,
    )


def _check_shapes(model: DynamiCrafter, names: Mapping[str, str], shapes: Shapes) -> None:
    """Raise a ValueError that names the first tensors that do not fit."""
    want = {names[key]: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    # Two projections were made as convolutions of kernel size 1: [out, in, 1].
    have = {
        key: shape[:-1] if shape == (*want.get(key, shape), 1) else shape
        for key, shape in shapes.items()
        if key.startswith((UNET, RESAMPLER))
    }
    if faults := misfits(want, have):
        raise ValueError(f"its tensors are not DynamiCrafter's: {faults}; get the file again")
