"""A DynamiCrafter file is told by what is in it, and what is wrong with one is a sentence."""

import gzip
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tests.tiny import save_dynamicrafter
from tests.tiny_dreamvideo import save_tiny_dreamvideo
from trip_core.cli import main
from trip_core.dreamvideo_file import find_dreamvideo
from trip_core.dynamicrafter_file import (
    detect,
    dynamicrafter_info,
    find_dynamicrafter,
    load_dynamicrafter,
)
from trip_core.dynamicrafter_names import RESAMPLER, UNET, released_names
from trip_core.schedule import dynamic_rescale
from trip_core.systems.dynamicrafter import PRESETS, DynamiCrafter

FIXTURES = Path(__file__).parents[1] / "fixtures"
ALPHA = f"{UNET}middle_block.1.transformer_blocks.0.attn2.alpha"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A miniature of the 512 model in the released layout."""
    return save_dynamicrafter(tmp_path_factory.mktemp("whole") / "any.safetensors")


@pytest.fixture(scope="module")
def whole(checkpoint):
    """Its tensors by name."""
    return load_file(checkpoint)


def saved(path, tensors):
    save_file(tensors, path, metadata={"format": "pt"})
    return path


def released(variant):
    text = gzip.decompress((FIXTURES / f"dynamicrafter_{variant}.json.gz").read_bytes())
    return {key: tuple(shape) for key, shape in json.loads(text).items()}


# The whole file


@pytest.mark.parametrize(("variant", "base"), [("256", None), ("512", 0.7), ("1024", 0.3)])
def test_every_released_tensor_has_one_place(variant, base):
    """The names of 1024 are those of 512."""
    shapes = released("256" if variant == "256" else "512")
    name, config = detect(shapes, base)
    assert (name, config) == (variant, PRESETS[variant])
    pace = "framestride_embed" if variant == "256" else "fps_embedding"
    with torch.device("meta"):
        network = DynamiCrafter(config)
    names = released_names(network, pace)
    theirs = {key for key in shapes if key.startswith((UNET, RESAMPLER))}
    assert len(set(names.values())) == len(names)
    assert set(names.values()) == theirs
    ours = {key: tuple(t.shape) for key, t in network.state_dict().items()}
    for key, name in names.items():
        assert shapes[name] in (ours[key], (*ours[key], 1)), key


def test_a_file_says_what_it_is(checkpoint):
    facts = dynamicrafter_info(checkpoint)
    assert facts["kind"] == "DynamiCrafter 512 (or 512_interp)"
    assert facts["missing"] == ["text encoder", "image encoder"]
    assert facts["config"]["prediction_type"] == "v_prediction"
    assert facts["config"]["rescale_base"] == 0.7
    assert facts["config"]["zero_terminal_snr"] is True


def test_weights_keep_their_type(checkpoint, tmp_path):
    with safe_open(checkpoint, framework="pt") as file:
        half = {key: file.get_tensor(key).half() for key in file.keys()}  # noqa: SIM118
    save_file(half, tmp_path / "half.safetensors")
    model = load_dynamicrafter(tmp_path / "half.safetensors")
    assert {p.dtype for p in model.parameters()} == {torch.float16}
    assert model.config.rescale_base == 0.7  # 0.7 is not a float16


# A folder


@pytest.mark.parametrize(
    ("find", "save", "name"),
    [
        (find_dynamicrafter, save_dynamicrafter, "DynamiCrafter"),
        (find_dreamvideo, save_tiny_dreamvideo, "DreamVideo"),
    ],
)
def test_of_several_models_in_a_folder_one_must_be_named(tmp_path, find, save, name):
    saved(tmp_path / "a_stranger.safetensors", {"odd": torch.ones(3)})
    assert find(tmp_path) is None
    first = save(tmp_path / "b.safetensors")
    assert find(tmp_path) == first
    second = Path(shutil.copy(first, tmp_path / "c.safetensors"))
    with pytest.raises(ValueError) as caught:
        find(tmp_path)
    several = f"holds several {name} models (b.safetensors, c.safetensors): name the file"
    assert str(caught.value) == f"{tmp_path} {several}"
    assert (find(first), find(second)) == (first, second)


# Which variant


@pytest.mark.parametrize("base", [0.7, 0.3])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float8_e4m3fn])
def test_a_short_float_keeps_a_released_base(whole, tmp_path, base, dtype):
    tensors = whole | {"scale_arr": dynamic_rescale(base, 1400).to(dtype)}
    facts = dynamicrafter_info(saved(tmp_path / "short.safetensors", tensors))
    assert facts["config"]["rescale_base"] == base


def test_another_base_stays_what_it_is():
    assert detect(released("512"), 0.5004)[1].rescale_base == 0.5
    assert detect(released("512"), 0.33)[1].rescale_base == 0.33


def test_without_a_signal_scale_512_and_1024_are_one():
    shapes = released("512")
    with pytest.raises(ValueError, match="scale_arr is missing, which tells the 512 model from"):
        detect(shapes, None)
    assert detect(released("256"), None)[0] == "256"
    assert detect(shapes | {ALPHA: ()}, None)[0] == "256"


# Damage


@pytest.mark.parametrize(
    "name",
    [
        f"{UNET}middle_block.1.transformer_blocks.0.attn2.to_k_ip.weight",
        f"{UNET}input_blocks.0.0.weight",
        f"{UNET}input_blocks.1.0.in_layers.0.weight",
        f"{UNET}fps_embedding.0.weight",
        f"{RESAMPLER}layers.0.0.to_q.weight",
        f"{RESAMPLER}layers.0.1.3.weight",
    ],
)
def test_a_missing_tensor_is_named(whole, tmp_path, capsys, name):
    path = saved(tmp_path / "part.safetensors", {k: t for k, t in whole.items() if k != name})
    assert main(["info", str(path)]) == 2
    said = capsys.readouterr().err
    assert f"{name!r}" in said
    assert "is missing" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("variant", ["256", "512"])
def test_whatever_is_missing_the_sizes_stay(variant):
    """Else what is left would be compared with another network's, and another tensor named."""
    shapes = released(variant)
    base = None if variant == "256" else 0.7
    down = [key for key in shapes if key.startswith((f"{UNET}in", f"{UNET}fps", RESAMPLER))]
    for name in down:
        try:
            found = detect({key: shape for key, shape in shapes.items() if key != name}, base)
        except ValueError as error:
            assert f"{name!r} is missing" in str(error)
        else:
            assert found == (variant, PRESETS[variant]), name


@pytest.mark.parametrize(
    ("name", "wrong", "words"),
    [
        (f"{UNET}input_blocks.0.0.weight", torch.ones(3), "is [3] where a 4-D tensor"),
        (f"{UNET}out.2.weight", torch.tensor(1.0), "is [] where a 4-D tensor"),
        (f"{UNET}init_attn.0.proj_in.weight", torch.ones(4, 32, 1), "a multiple of 8"),
        (f"{UNET}init_attn.0.proj_in.weight", torch.ones(4), "is [4] where a 2-D or 3-D"),
        (f"{UNET}init_attn.0.proj_in.weight", torch.ones(0, 32, 1), "is [0, 32, 1] where"),
        (f"{RESAMPLER}latents", torch.ones(16, 8), "is [16, 8] where a 3-D"),
        (f"{RESAMPLER}latents", torch.ones(1, 3, 64), "latents' is [1, 3, 64] where [1, 16, 64]"),
        (f"{RESAMPLER}layers.0.0.to_q.weight", torch.ones(3, 64), "to_q.weight' is [3, 64] where"),
        (f"{RESAMPLER}layers.0.0.to_q.weight", torch.ones(3), "is [3] where a 2-D"),
        (f"{UNET}input_blocks.0.0.op.weight", torch.ones(3), "op.weight' [3] is not known"),
        ("scale_arr", torch.tensor(0.7), "'scale_arr' is [] where a 1-D"),
        ("scale_arr", torch.ones(0), "'scale_arr' is [0] where a 1-D"),
        ("scale_arr", torch.full((1400,), torch.nan), "scale_arr holds numbers that are not"),
        ("scale_arr", torch.full((1400,), -1.0), "must be above 0; got -1.0"),
    ],
)
def test_a_tensor_of_a_wrong_shape_is_one_sentence(whole, tmp_path, capsys, name, wrong, words):
    path = saved(tmp_path / "wrong.safetensors", whole | {name: wrong})
    for read in (dynamicrafter_info, load_dynamicrafter):
        with pytest.raises(ValueError) as caught:
            read(path)
        assert words in str(caught.value)
        assert str(caught.value).startswith(f"{path}: ")
    assert main(["info", str(path)]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda t: t.pop(f"{UNET}out.2.weight"), "out.2.weight' is missing"),
        (lambda t: t.pop(f"{UNET}out.2.bias"), "out.2.bias' [4] is missing"),
        (lambda t: t.update({f"{UNET}odd": torch.ones(3)}), "odd' [3] is not known"),
        (
            lambda t: t.update({f"{UNET}out.0.bias": torch.ones(3)}),
            "out.0.bias' is [3] where [32] fits",
        ),
        (lambda t: t.pop(f"{RESAMPLER}latents"), "holds no DynamiCrafter"),
    ],
)
def test_a_wrong_file_is_one_sentence(checkpoint, tmp_path, damage, words):
    with safe_open(checkpoint, framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    damage(tensors)
    save_file(tensors, tmp_path / "wrong.safetensors")
    with pytest.raises(ValueError) as caught:
        load_dynamicrafter(tmp_path / "wrong.safetensors")
    assert words in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path))


def test_a_truncated_file_is_one_sentence(checkpoint, tmp_path):
    (tmp_path / "short.safetensors").write_bytes(checkpoint.read_bytes()[:-1000])
    with pytest.raises(ValueError, match="is truncated"):
        load_dynamicrafter(tmp_path / "short.safetensors")
