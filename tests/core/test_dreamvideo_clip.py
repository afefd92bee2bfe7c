"""DreamVideo from a file to a clip: what is saved is what animates, by command line too."""

import json
import math
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.tiny_dreamvideo import TINY, save_tiny_dreamvideo, tiny_dreamvideo
from trip_core import cli, evaluate, video_io
from trip_core.checkpoint import load_parts, read_config, save_checkpoint
from trip_core.dreamvideo_file import load_dreamvideo
from trip_core.metrics.subject import NUM_FRAMES
from trip_core.models import info, load_animator
from trip_core.pipeline_dreamvideo import animate_dreamvideo
from trip_core.systems.dreamvideo import DreamVideo
from trip_core.trip_file import load_model


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return save_tiny_dreamvideo(tmp_path_factory.mktemp("model") / "tiny.safetensors")


@pytest.fixture(scope="module")
def model(file):
    return load_dreamvideo(file)


def a_still(height=64, width=96):
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(1))


def clip(model, prompt="waves", **options):
    made = animate_dreamvideo(model, a_still(), prompt, **{"num_frames": 3, **options})
    return torch.stack(list(made.frames)), made


def test_saved_is_loaded_and_frozen(file, model):
    expected = tiny_dreamvideo().state_dict()
    found = model.network.state_dict()
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[key], found[key]) for key in expected)
    assert model.network.config == TINY and model.defaults.size == 32
    assert not any(p.requires_grad for p in model.network.parameters())
    half = load_dreamvideo(file, dtype=torch.bfloat16)
    assert next(half.network.parameters()).dtype == torch.bfloat16
    assert next(half.vae.parameters()).dtype == torch.float32


def test_info_names_what_it_is(file, tmp_path):
    facts = info(file)
    assert facts["kind"] == "DreamVideo checkpoint" and facts["system"] == "DreamVideo"
    assert facts["prediction_type"] == "v_prediction" and facts["missing"] == []
    assert facts["variant"] == "custom sizes"
    count = sum(p.numel() for p in tiny_dreamvideo().parameters())
    assert facts["parts"]["dreamvideo"]["parameters"] == count
    bare = tmp_path / "bare.safetensors"
    save_checkpoint(bare, {"dreamvideo": TINY.to_dict()}, load_parts(file, ["dreamvideo"]))
    assert info(bare)["missing"] == ["vae", "text"]
    with pytest.raises(ValueError, match=r"brings no autoencoder.*vae/.*missing"):
        load_dreamvideo(bare)


def test_wrong_files_are_one_sentence(file, tmp_path):
    with pytest.raises(ValueError, match=r"parts trip are missing|trip, text"):
        load_model(file)
    (tmp_path / "cut.safetensors").write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ValueError, match="truncated"):
        load_animator(tmp_path / "cut.safetensors")
    config, parts = read_config(file), load_parts(file, ["dreamvideo", "vae", "text"])
    parts["dreamvideo"]["retention.stem.0.weight"] = torch.zeros(4, 3, 5, 5)
    save_checkpoint(tmp_path / "shape.safetensors", config, parts)
    with pytest.raises(ValueError, match=r"retention\.stem\.0\.weight' is \[4, 3, 5, 5\]"):
        load_animator(tmp_path / "shape.safetensors")
    del config["text"]
    save_checkpoint(tmp_path / "part.safetensors", config, parts)
    with pytest.raises(ValueError, match="'text'"):
        load_animator(tmp_path / "part.safetensors")


def test_a_clip_has_the_stills_aspect_and_a_seed(model):
    frames, made = clip(model)
    assert frames.shape == (3, 3, 32, 48) and made.latents.shape == (1, 16, 3, 4, 6)
    assert frames.equal(clip(model)[0])
    assert not frames.equal(clip(model, seed=1)[0])


def test_words_picture_and_every_scale_are_heard(model):
    plain = clip(model)[1].latents
    for changed in (
        {"image_guidance_scale": 2.0},
        {"guidance_scale": 4.0},
        {"steps": 4},
    ):
        assert not clip(model, **changed)[1].latents.allclose(plain), changed
    # A sampler of the second order: Euler's steps are DDIM's.
    ddim, dpm = (clip(model, steps=4, sampler=s)[1].latents for s in ("ddim", "dpmpp_2m"))
    assert not dpm.allclose(ddim)
    assert not clip(model, "pans left", guidance_scale=4.0)[1].latents.allclose(
        clip(model, "waves", guidance_scale=4.0)[1].latents
    )
    guided = clip(model, guidance_scale=4.0)[1].latents
    assert not clip(model, guidance_scale=4.0, guidance_rescale=1.0)[1].latents.equal(guided)


def test_a_continued_clip_begins_as_the_short_one_and_counts_its_steps(model):
    short, _ = clip(model)
    steps = []
    long, made = clip(model, continuations=2, on_step=lambda s: steps.append((s.index, s.count)))
    assert long.shape[0] == 3 + 2 * 2 and made.latents.shape[2] == 7
    assert long[:3].equal(short)
    assert steps == [(k, 6) for k in range(6)]
    # The second clip is the clip of the first one's last frame.
    other, _ = clip(model, continuations=1)
    assert long[:5].equal(other)


def test_numbers_out_of_range_are_one_sentence(model):
    for wrong, said in (
        ({"num_frames": 1}, "at least 2 frames"),
        ({"continuations": -1}, "0 times or more"),
        ({"image_guidance_scale": math.nan}, "image_guidance_scale"),
        ({"guidance_rescale": 2.0, "guidance_scale": 2.0}, "rescale"),
    ):
        with pytest.raises(ValueError, match=said):
            clip(model, **wrong)


def test_the_command_line_animates_continues_and_refuses(file, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    pixels = (a_still().movedim(0, -1) * 255).to(torch.uint8).numpy()
    Image.fromarray(pixels).save("still.png")
    words = ["animate", "still.png", "--model", str(file), "--frames", "3", "--out", "a.mp4"]
    words += ["--prompt", "waves", "--image-guidance", "1.5", "--guidance-rescale", "0.5"]
    assert cli.main([*words, "--continue", "1", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["frames"] == 5 and facts["size"] == [48, 32]
    assert video_io.read_video("a.mp4").shape == (5, 3, 32, 48)
    assert cli.main([*words, "--edges", "generate"]) == 2
    assert "--edges is not for this model" in capsys.readouterr().err
    assert cli.main(["animate", "still.png", "--continue", "2", "--out", "b.mp4"]) == 2
    assert "--continue is not for this model" in capsys.readouterr().err
    assert cli.main(["info", str(file)]) == 0
    assert "system DreamVideo, variant custom sizes" in capsys.readouterr().out
    assert sorted(p.name for p in Path().iterdir()) == ["a.mp4", "still.png"]


def test_what_runs_in_every_step_is_compiled_if_asked(file, tmp_path, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: asked.append(type(self).__name__))
    load_animator(file)
    assert not asked
    load_animator(file, compile=True)
    assert asked == ["VideoUNet", "RetentionBranch"]
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (32, 32)).save("still.png")

    def no_compiler(*_, **__):
        raise type("E", (RuntimeError,), {"__module__": "torch._inductor.exc"})("no compiler")

    monkeypatch.setattr(DreamVideo, "forward", no_compiler)
    assert cli.main(["animate", "still.png", "--model", str(file), "--compile"]) == 2
    assert "--compile cannot be used here (no compiler)" in capsys.readouterr().err


def test_it_can_be_compared_with_other_models(file):
    subject = evaluate._compared(load_animator(file))
    assert subject.flow is None
    drawn = subject.sample(a_still(32, 32), "waves", [0, NUM_FRAMES - 1])
    assert drawn.shape == (2, 3, 32, 32)
    frames = list(subject.frames(a_still(32, 32), "waves"))
    assert len(frames) == NUM_FRAMES and drawn[1].equal(frames[-1])
