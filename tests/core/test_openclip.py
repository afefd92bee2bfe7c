"""OpenCLIP's towers as transformers' classes compute what the published equations say."""

import pytest
import torch
import torch.nn.functional as F

from trip_core import openclip

WIDTH, HEADS, DEPTH, WORDS, LENGTH = 24, 3, 3, 11, 7
PATCH, GRID = 4, 3


def layers(prefix, generator):
    shapes = {
        "ln_1.weight": (WIDTH,),
        "ln_1.bias": (WIDTH,),
        "attn.in_proj_weight": (3 * WIDTH, WIDTH),
        "attn.in_proj_bias": (3 * WIDTH,),
        "attn.out_proj.weight": (WIDTH, WIDTH),
        "attn.out_proj.bias": (WIDTH,),
        "ln_2.weight": (WIDTH,),
        "ln_2.bias": (WIDTH,),
        "mlp.c_fc.weight": (4 * WIDTH, WIDTH),
        "mlp.c_fc.bias": (4 * WIDTH,),
        "mlp.c_proj.weight": (WIDTH, 4 * WIDTH),
        "mlp.c_proj.bias": (WIDTH,),
    }
    return {
        f"{prefix}transformer.resblocks.{i}.{name}": 0.3 * torch.randn(s, generator=generator)
        for i in range(DEPTH)
        for name, s in shapes.items()
    }


def rest(prefix, shapes, generator):
    return {f"{prefix}{k}": 0.5 * torch.randn(s, generator=generator) for k, s in shapes.items()}


@pytest.fixture
def towers(generator):
    """Both towers of a whole checkpoint, with all that lies beside them there."""
    text = {
        "positional_embedding": (LENGTH, WIDTH),
        "token_embedding.weight": (WORDS, WIDTH),
        "ln_final.weight": (WIDTH,),
        "ln_final.bias": (WIDTH,),
        "text_projection": (WIDTH, WIDTH),
        "logit_scale": (),
    }
    image = {
        "class_embedding": (WIDTH,),
        "positional_embedding": (GRID**2 + 1, WIDTH),
        "conv1.weight": (WIDTH, 3, PATCH, PATCH),
        "proj": (WIDTH, 16),
        **{f"ln_{x}.{k}": (WIDTH,) for x in ("pre", "post") for k in ("weight", "bias")},
    }
    return {
        **layers(openclip.TEXT, generator),
        **rest(openclip.TEXT, text, generator),
        **layers(openclip.IMAGE, generator),
        **rest(openclip.IMAGE, image, generator),
        **rest("embedder.model.", text, generator),
    }


def norm(x, tensors, name):
    return F.layer_norm(x, (WIDTH,), tensors[f"{name}.weight"], tensors[f"{name}.bias"])


def block(x, tensors, name, mask=None):
    """Pre-norm attention and GELU layer (Radford et al. 2021), as OpenCLIP's resblocks."""
    h, _ = F.multi_head_attention_forward(
        *[norm(x, tensors, f"{name}.ln_1").transpose(0, 1)] * 3,
        WIDTH,
        HEADS,
        tensors[f"{name}.attn.in_proj_weight"],
        tensors[f"{name}.attn.in_proj_bias"],
        None,
        None,
        False,
        0.0,
        tensors[f"{name}.attn.out_proj.weight"],
        tensors[f"{name}.attn.out_proj.bias"],
        attn_mask=mask,
        need_weights=False,
    )
    x = x + h.transpose(0, 1)
    h = norm(x, tensors, f"{name}.ln_2")
    for layer, activation in (("c_fc", F.gelu), ("c_proj", lambda y: y)):
        weight, bias = (tensors[f"{name}.mlp.{layer}.{kind}"] for kind in ("weight", "bias"))
        h = activation(F.linear(h, weight, bias))
    return x + h


def test_text_is_read_before_its_last_layer(towers, generator):
    words = torch.randint(WORDS, (2, LENGTH), generator=generator)
    p = openclip.TEXT
    x = towers[f"{p}token_embedding.weight"][words] + towers[f"{p}positional_embedding"]
    mask = torch.full((LENGTH, LENGTH), float("-inf")).triu(1)
    for i in range(DEPTH - 1):
        x = block(x, towers, f"{p}transformer.resblocks.{i}", mask)
    expected = norm(x, towers, f"{p}ln_final")
    found = openclip.text_tower(towers, WIDTH // HEADS)(words).last_hidden_state
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_image_tokens_are_read_before_the_last_norm(towers, generator):
    pixels = torch.randn(2, 3, GRID * PATCH, GRID * PATCH, generator=generator)
    p = openclip.IMAGE
    x = F.conv2d(pixels, towers[f"{p}conv1.weight"], stride=PATCH).flatten(2).transpose(1, 2)
    x = torch.cat((towers[f"{p}class_embedding"].expand(2, 1, -1), x), dim=1)
    x = norm(x + towers[f"{p}positional_embedding"], towers, f"{p}ln_pre")
    for i in range(DEPTH):
        x = block(x, towers, f"{p}transformer.resblocks.{i}")
    found = openclip.image_tower(towers, WIDTH // HEADS)(pixels).last_hidden_state
    torch.testing.assert_close(found, x, rtol=1e-5, atol=1e-5)


def test_no_released_tensor_serves_twice_and_none_of_a_tower_is_left(towers):
    assert openclip.has_text_tower(towers) and openclip.has_image_tower(towers)
    for prefix, build, spare in (
        (openclip.TEXT, openclip.text_tower, ("text_projection", "logit_scale")),
        (openclip.IMAGE, openclip.image_tower, ("proj",)),
    ):
        keys = build(towers, WIDTH // HEADS).state_dict()
        used = [openclip.released_name(key) for key in keys]
        assert len(set(used)) == len(used)
        last = f"transformer.resblocks.{DEPTH - 1}."
        left = {k.removeprefix(prefix) for k in towers if k.startswith(prefix)}
        left -= {name for name, _ in used} | set(spare)
        assert all(prefix == openclip.TEXT and name.startswith(last) for name in left), left


def test_a_damaged_tower_is_one_sentence(towers):
    name = f"{openclip.TEXT}ln_final.weight"
    wrong = {**towers, name: towers[name][:-1]}
    with pytest.raises(ValueError, match=r"ln_final.weight' is \[23\]"):
        openclip.text_tower(wrong, WIDTH // HEADS)
    del wrong[name]
    assert not openclip.has_text_tower(wrong)
    with pytest.raises(ValueError, match=r"ln_final.weight' is missing"):
        openclip.text_tower(wrong, WIDTH // HEADS)
