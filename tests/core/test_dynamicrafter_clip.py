"""A miniature DynamiCrafter folder becomes a clip by the user's way: the command line."""

import gzip
import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tests.tiny import save_dynamicrafter
from trip_core.cli import main
from trip_core.clip_pixels import clip_pixels
from trip_core.dynamicrafter_folder import diffusers_name, load_autoencoder
from trip_core.dynamicrafter_names import VAE
from trip_core.openclip import IMAGE, TEXT, released_name
from trip_core.pipeline_dynamicrafter import animate_dynamicrafter, clip_size

FIXTURES = Path(__file__).parents[1] / "fixtures"
LETTERS = "abcdefghijklmnopqrstuvwxyz"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPVisionConfig, CLIPVisionModel

    folder = tmp_path_factory.mktemp("dynamicrafter")
    save_dynamicrafter(folder / "anything.safetensors")
    small = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    text = CLIPTextConfig(vocab_size=64, hidden_size=64, **small)
    vision = CLIPVisionConfig(hidden_size=80, image_size=32, patch_size=16, **small)
    CLIPTextModel(text).save_pretrained(folder / "text_encoder")
    CLIPVisionModel(vision).save_pretrained(folder / "image_encoder")
    tokenizer = folder / "tokenizer"
    tokenizer.mkdir()
    words = ["<|startoftext|>", "<|endoftext|>", "!", *LETTERS, *(f"{c}</w>" for c in LETTERS)]
    vocabulary = {word: number for number, word in enumerate(words)}
    (tokenizer / "vocab.json").write_text(json.dumps(vocabulary))
    (tokenizer / "merges.txt").write_text("#version: 0.2\n")
    settings = {"model_max_length": 77, "pad_token": "!"}
    (tokenizer / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture
def still(tmp_path):
    picture = Image.effect_noise((40, 24), 60).convert("RGB")
    picture.save(tmp_path / "still.png")
    return tmp_path / "still.png"


@pytest.fixture
def small_clips(monkeypatch):
    """The miniature's stated size would be 320 x 512."""
    monkeypatch.setattr("trip_core.pipeline_dynamicrafter.clip_size", lambda *_: (16, 32))


def run(folder, still, target, *more):
    words = ["--steps", "2", "--frames", "4", "--fps", "4", "--out", str(target), *more]
    return main(["animate", str(still), "--model", str(folder), "--prompt", "a ship", *words])


@pytest.mark.usefixtures("small_clips")
@pytest.mark.parametrize(
    "more",
    [
        (),
        ("--loop", "--pace", "8"),
        ("--image-guidance", "2", "--guidance", "4", "--sampler", "dpmpp_2m"),
        ("--prior-strength", "1", "--prior-frames-decay", "1", "--prior-decay", "2"),
    ],
)
def test_a_folder_makes_a_clip(folder, still, tmp_path, capsys, more):
    assert run(folder, still, tmp_path / "clip.gif", *more) == 0, capsys.readouterr().err
    with Image.open(tmp_path / "clip.gif") as clip:
        assert (clip.n_frames, clip.size) == (4, (32, 16))


@pytest.mark.usefixtures("small_clips")
def test_same_seed_same_file_and_an_end_still_is_heard(folder, still, tmp_path):
    Image.new("RGB", (40, 24), "red").save(tmp_path / "end.png")
    made = []
    for name, more in (("a", ()), ("b", ()), ("c", ("--end", str(tmp_path / "end.png")))):
        assert run(folder, still, tmp_path / f"{name}.gif", *more) == 0
        made.append((tmp_path / f"{name}.gif").read_bytes())
    assert made[0] == made[1] != made[2]


@pytest.mark.usefixtures("small_clips")
def test_what_is_white_in_the_mask_stays(folder, still, tmp_path):
    Image.new("L", (30, 30), 255).save(tmp_path / "mask.png")
    assert run(folder, still, tmp_path / "a.gif", "--mask", str(tmp_path / "mask.png")) == 0
    with Image.open(tmp_path / "a.gif") as clip:
        frames = [clip.seek(i) or clip.convert("RGB").tobytes() for i in range(clip.n_frames)]
    assert len(set(frames)) == 1


@pytest.mark.usefixtures("small_clips")
@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--prior-strength", "1"), "nothing moves; set prior_strength to 0"),
        (("--edges", "generate"), "--edges is not for this model"),
        (("--end", "absent.png"), "absent.png does not exist"),
        (("--loop", "--frames", "60"), "at most"),
        (("--end", "STILL", "--mask", "STILL"), "a mask keeps places as they are"),
    ],
)
def test_wrong_use_is_one_line(folder, still, tmp_path, capsys, more, words):
    more = [str(still) if word == "STILL" else word for word in more]
    assert run(folder, still, tmp_path / "clip.gif", *more) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert not (tmp_path / "clip.gif").exists()


def test_a_file_alone_says_what_it_needs(folder, still, tmp_path, capsys):
    alone = tmp_path / "alone.safetensors"
    alone.write_bytes((folder / "anything.safetensors").read_bytes())
    assert run(alone, still, tmp_path / "clip.gif") == 2
    assert "needs tokenizer/, text_encoder/, image_encoder/ beside" in capsys.readouterr().err


@pytest.mark.usefixtures("small_clips")
def test_a_whole_file_needs_the_words_alone(folder, still, tmp_path, capsys):
    """The released file before anybody pruned it: both encoders in OpenCLIP's layout."""
    tensors = load_file(folder / "anything.safetensors")
    for part, prefix in (("text_encoder", TEXT), ("image_encoder", IMAGE)):
        thirds = {}
        for key, tensor in load_file(folder / part / "model.safetensors").items():
            name, third = released_name(key)
            thirds.setdefault(prefix + name, {})[third or 0] = tensor
        tensors |= {name: torch.cat([of[i] for i in sorted(of)]) for name, of in thirds.items()}
    first, last = (f"{TEXT}transformer.resblocks.{i}." for i in range(2))
    tensors |= {
        k.replace(first, last): t.clone() for k, t in tensors.items() if k.startswith(first)
    }
    whole = tmp_path / "whole" / "model.safetensors"
    shutil.copytree(folder / "tokenizer", whole.parent / "tokenizer")
    save_file(tensors, whole)
    assert run(whole, still, tmp_path / "clip.gif") == 0, capsys.readouterr().err
    assert main(["info", str(whole)]) == 0
    assert "not in this file" not in capsys.readouterr().out
    shutil.rmtree(whole.parent / "tokenizer")
    assert run(whole, still, tmp_path / "clip.gif") == 2
    assert "needs tokenizer/ beside" in capsys.readouterr().err


def test_an_option_of_dynamicrafter_is_not_for_trip(still, tmp_path, capsys):
    words = ["animate", str(still), "--out", str(tmp_path / "clip.gif"), "--loop"]
    if main(words) == 2:
        said = capsys.readouterr().err
        assert "--loop is not for this model" in said or "is missing" in said


def test_info_names_folder_and_file(folder, capsys):
    for path in (folder, folder / "anything.safetensors"):
        assert main(["info", str(path)]) == 0
        said = capsys.readouterr().out
        assert "DynamiCrafter 512" in said
        assert "not in this file: text encoder, image encoder" in said


def test_the_autoencoder_decodes_as_published(folder):
    with safe_open(FIXTURES / "dynamicrafter.safetensors", framework="pt") as file:
        latents = file.get_tensor("sample.ref.x_prev")[-1][0].movedim(1, 0)  # [F, C, h, w]
        frames = file.get_tensor("sample.ref.frames").movedim(1, 0)  # [F, 3, H, W]
    vae = load_autoencoder(folder / "anything.safetensors")
    torch.testing.assert_close(vae.decode(latents), frames, atol=5e-5, rtol=0)


def test_every_tensor_of_the_autoencoder_has_a_place():
    from diffusers import AutoencoderKL

    shapes = json.loads(gzip.decompress((FIXTURES / "dynamicrafter_512.json.gz").read_bytes()))
    theirs = [key.removeprefix(VAE) for key in shapes if key.startswith(VAE)]
    with torch.device("meta"):
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(128, 256, 512, 512),
            layers_per_block=2,
        )
    want = {key: tensor.numel() for key, tensor in vae.state_dict().items()}
    made = {diffusers_name(key, 4): torch.Size(shapes[VAE + key]).numel() for key in theirs}
    assert len(made) == len(theirs)
    assert made == want


def test_pictures_are_stretched_whole_for_clip(generator):
    images = torch.rand(1, 3, 40, 90, generator=generator)
    pixels = clip_pixels(images)
    assert pixels.shape == (1, 3, 224, 224)
    # Corners lie on corners, where nothing shrinks.
    small = clip_pixels(images[..., :40])
    mean, std = (
        torch.tensor([0.48145466, 0.4578275, 0.40821073]),
        torch.tensor([0.26862954, 0.26130258, 0.27577711]),
    )
    torch.testing.assert_close(small[0, :, 0, 0] * std + mean, images[0, :, 0, 0])
    # A flat picture stays flat when it shrinks, blurred up to its borders.
    flat = clip_pixels(torch.full((1, 3, 500, 700), 0.25))
    torch.testing.assert_close(flat, flat[:, :, :1, :1].expand_as(flat))
    with pytest.raises(ValueError, match="B, 3, H, W"):
        clip_pixels(images[0])


def test_a_clip_keeps_the_aspect_and_the_trained_number_of_pixels():
    assert clip_size(torch.zeros(3, 640, 1024), (320, 512)) == (320, 512)
    assert clip_size(torch.zeros(3, 1024, 640), (320, 512)) == (512, 320)
    assert clip_size(torch.zeros(3, 100, 100), (576, 1024)) == (768, 768)
    assert animate_dynamicrafter.__doc__
