"""OpenCLIP's text and image towers, as whole checkpoints hold them, as transformers' classes.

A DynamiCrafter file that nobody pruned has both: ``cond_stage_model.model.`` (the text tower, read
before its last layer, as Stable Diffusion 2 does) and ``embedder.model.visual.`` (the image tower,
read before its projection). Of what else lies beside them nothing is needed: the last layer of the
text, both projections and the logit scale serve CLIP's own loss, and the image part repeats the
text's embeddings. The words' table is not in such a file; it stays a folder beside it.
"""

import re
from collections.abc import Callable, Container, Mapping
from typing import Any

import torch
from torch import Tensor, nn

TEXT, IMAGE = "cond_stage_model.model.", "embedder.model.visual."

#: transformers' -> OpenCLIP's, inside a layer and outside of all layers.
_LAYER = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "self_attn.out_proj": "attn.out_proj",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
_OUTSIDE = {
    "embeddings.token_embedding.weight": "token_embedding.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "embeddings.class_embedding": "class_embedding",
    "embeddings.patch_embedding.weight": "conv1.weight",
    "final_layer_norm": "ln_final",
    "pre_layrnorm": "ln_pre",  # sic
    "post_layernorm": "ln_post",
}
_PROJECTIONS = ("q_proj", "k_proj", "v_proj")  # OpenCLIP keeps the three in one


def has_text_tower(names: Container[str]) -> bool:
    """Say whether tensors of these names hold a text tower."""
    return f"{TEXT}token_embedding.weight" in names and f"{TEXT}ln_final.weight" in names


def has_image_tower(names: Container[str]) -> bool:
    """Say whether tensors of these names hold an image tower."""
    return f"{IMAGE}conv1.weight" in names and f"{IMAGE}ln_pre.weight" in names


def text_tower(tensors: Mapping[str, Tensor], head_dim: int = 64) -> Any:
    """Return a ``CLIPTextModel`` whose last hidden state is the penultimate layer's, normalised.

    Args:
        tensors: The file's, under their released names; they are used, not copied.
        head_dim: Width of an attention head, which no shape tells; OpenCLIP's are 64.

    Raises:
        ValueError: If a tensor is missing or does not fit.
    """
    from transformers import CLIPTextConfig, CLIPTextModel

    def build(shape: Callable[[str], tuple[int, ...]], depth: int) -> nn.Module:
        words, width = shape("token_embedding.weight")
        config = CLIPTextConfig(
            vocab_size=words,
            hidden_size=width,
            intermediate_size=shape("transformer.resblocks.0.mlp.c_fc.weight")[0],
            num_hidden_layers=depth - 1,
            num_attention_heads=max(width // head_dim, 1),
            max_position_embeddings=shape("positional_embedding")[0],
            hidden_act="gelu",
        )
        return CLIPTextModel(config)

    return _tower(tensors, TEXT, build)


def image_tower(tensors: Mapping[str, Tensor], head_dim: int = 80) -> Any:
    """Return a ``CLIPVisionModel``; its last hidden state holds all tokens, not normalised.

    Args:
        tensors: The file's, under their released names; they are used, not copied.
        head_dim: Width of an attention head, which no shape tells; ViT-H's are 80.

    Raises:
        ValueError: If a tensor is missing or does not fit.
    """
    from transformers import CLIPVisionConfig, CLIPVisionModel

    def build(shape: Callable[[str], tuple[int, ...]], depth: int) -> nn.Module:
        width, channels, patch, _ = shape("conv1.weight")
        tokens = shape("positional_embedding")[0] - 1  # the first one is the class's
        config = CLIPVisionConfig(
            hidden_size=width,
            intermediate_size=shape("transformer.resblocks.0.mlp.c_fc.weight")[0],
            num_hidden_layers=depth,
            num_attention_heads=max(width // head_dim, 1),
            num_channels=channels,
            image_size=patch * round(tokens**0.5),
            patch_size=patch,
            hidden_act="gelu",
        )
        return CLIPVisionModel(config)

    return _tower(tensors, IMAGE, build)


def released_name(key: str) -> tuple[str, int | None]:
    """Return the released name, less its prefix, of a tensor of transformers' class.

    Returns:
        The name, and which third of that tensor's rows it is; None for the whole.
    """
    key = re.sub(r"^(text|vision)_model\.", "", key)
    layer = re.fullmatch(r"encoder\.layers\.(\d+)\.(.+)\.(weight|bias)", key)
    if layer is None:
        stem, _, kind = key.rpartition(".")
        return (_OUTSIDE[key], None) if key in _OUTSIDE else (f"{_OUTSIDE[stem]}.{kind}", None)
    block, part, kind = f"transformer.resblocks.{layer[1]}", layer[2], layer[3]
    projection = part.removeprefix("self_attn.")
    if projection in _PROJECTIONS:
        return f"{block}.attn.in_proj_{kind}", _PROJECTIONS.index(projection)
    return f"{block}.{_LAYER[part]}.{kind}", None


def _tower(
    tensors: Mapping[str, Tensor],
    prefix: str,
    build: Callable[[Callable[[str], tuple[int, ...]], int], nn.Module],
) -> nn.Module:
    def tensor(name: str) -> Tensor:
        if prefix + name not in tensors:
            raise ValueError(f"the tensor {prefix + name!r} is missing; get the file again")
        return tensors[prefix + name]

    depth = 0
    while f"{prefix}transformer.resblocks.{depth}.ln_1.weight" in tensors:
        depth += 1
    with torch.device("meta"):
        model = build(lambda name: tuple(tensor(name).shape), depth)
    state = {}
    for key, want in model.state_dict().items():
        name, third = released_name(key)
        found = tensor(name) if third is None else tensor(name).chunk(3)[third]
        if found.shape != want.shape:
            raise ValueError(
                f"{prefix + name!r} is {list(tensor(name).shape)}, which does not fit the rest of "
                "its tower; get the file again"
            )
        state[key] = found
    model.load_state_dict(state, assign=True)
    for module in model.modules():  # no file holds these
        if isinstance(places := getattr(module, "position_ids", None), Tensor):
            module.register_buffer(
                "position_ids", torch.arange(places.shape[-1])[None], persistent=False
            )
    return model.eval().requires_grad_(False)
