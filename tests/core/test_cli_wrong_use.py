"""Wrong use of the command line: one line, exit code 2, and no file."""

import os
import pickle
from pathlib import Path

import pytest
from PIL import Image

from tests.core.conftest import fails


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "required: COMMAND"),
        (["anmate"], "invalid choice: 'anmate'"),
        (["animate"], "required: STILL"),
        (["animate", "still.png", "--foo"], "unrecognized arguments: --foo"),
        (["animate", "still.png", "--frames", "0"], "--frames: must be a whole number from 2"),
        (["animate", "still.png", "--frames", "1"], "--frames: must be a whole number from 2"),
        (["animate", "still.png", "--frames", "10000"], "to 128; got '10000'"),
        (["animate", "still.png", "--frames", "2.5"], "--frames: must be a whole number"),
        (["animate", "still.png", "--fps", "nan"], "--fps: must be a number"),
        (["animate", "still.png", "--fps", "0"], "--fps: must be a number"),
        (["animate", "still.png", "--steps", "0"], "--steps"),
        (["animate", "still.png", "--guidance", "-1"], "--guidance"),
        (["animate", "still.png", "--seed", "-1"], "--seed"),
        (["animate", "still.png", "--seed", "1" * 30], "--seed"),
        (["animate", "still.png", "--sampler", "magic"], "invalid choice: 'magic'"),
        (["animate", "still.png", "--edges", "blur"], "invalid choice: 'blur'"),
        (["animate", "still.png", "--prior-strength", "1.5"], "--prior-strength"),
        (["animate", "still.png", "--prior-decay", "x"], "--prior-decay"),
        (["animate", "still.png", "--prior-frames-decay", "2"], "--prior-frames-decay"),
        (["animate", "still.png", "--mask", "none.png"], "none.png does not exist"),
        (["animate", "still.png", "--prompt", "a" * 10_000], "at most 2000 characters; got 10000"),
        (["animate", "still.png", "--size", "big"], "--size must be WIDTHxHEIGHT"),
        (["animate", "still.png", "--size", "0"], "--size is 0x0"),
        (["animate", "still.png", "--size", "8x64"], "make it 16x128 or larger"),
        (["animate", "still.png", "--size", "4000x32"], "crop it to 256x32"),
        (["animate", "still.png", "--size", "99999"], "scale it down to 8000x8000"),
        (["animate", "still.png", "--size", "1x2x3"], "--size must be WIDTHxHEIGHT"),
        (["animate", "still.png", "--device", "quantum"], "--device quantum cannot be used here"),
        (["animate", "still.png", "--device", "cpu", "--dtype", "float16"], "needs a GPU"),
        (["animate", "still.png", "--device", "meta"], "--device meta cannot be used here"),
        (["animate", "still.png", "--device", "hpu"], "hpu cannot be used here; there is cpu"),
        (["animate", "still.png", "--device", "maia"], "maia cannot be used here; there is cpu"),
        (["bench", "--device", "nonsense"], "--device nonsense cannot be used here"),
        (["bench", "--threads", "0"], "--threads must be at least 1"),
        (["bench", "--model", "none.safetensors"], "none.safetensors does not exist"),
        (["animate", "still.png", "--out", ""], "must name a file or a folder"),
        (["animate", "still.png", "--out", "clip.avi"], "must end in one of .mp4"),
        (["animate", "still.png", "--out", ".mp4"], "give it a name, e.g. clip.mp4"),
        (["animate", "still.png", "--out", "clips/.GIF"], "e.g. clips/clip.GIF"),
        (["animate", "still.png", "--out", "still.png/clip.mp4"], "is a file, not a folder"),
        (["animate", "still.png", "--out", "still.png/clips/"], "is a file, not a folder"),
        (["animate", "still.png", "still.png", "--out", "clip.mp4"], "must be a folder for 2"),
        (["animate", "still.png", "--model", "none.safetensors"], "does not exist"),
        (["animate", "still.png", "--model", "."], "without model_index.json"),
        (["animate", "none.png"], "none.png does not exist"),
        (["animate", "still.png", "none.png"], "none.png does not exist"),
        (["animate", "."], "could not be opened"),
        (["info", "still.png"], "not a safetensors file"),
        (["info", "none"], "does not exist"),
        (["animate", "still.png", "--out", "a.gif", "--fps", "60"], "at most 50 frames per second"),
        (["train", "none.toml"], "none.toml"),
        (["train", "none.toml", "--rehearse", "2", "--stage", "trip"], "leave --resume"),
        (["preview-data", "--out", "a.jpg"], "must end in .png"),
        (["preview-data", "--count", "0"], "--count"),
        (["preview-data", "--kind", "explosion"], "explosion"),
        (["evaluate-embedded", "--out", "still.png/x"], "still.png is a file, not a folder"),
        (["evaluate-embedded", "--model", "none.safetensors"], "does not exist"),
    ],
)
def test_wrong_use_is_one_line(still, capsys, words, said):
    assert still == "still.png"
    assert said in fails(capsys, *words)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda p: p.write_text("hello"), "not a picture"),
        (lambda p: p.write_bytes(Path("still.png").read_bytes()[:3000]), "truncated"),
        (lambda p: Image.new("RGB", (1, 1)).save(p), "1x1"),
        (lambda p: Image.new("RGB", (20000, 3)).save(p), "20000x3"),
    ],
)
@pytest.mark.usefixtures("still")
def test_bad_stills_are_one_line_even_behind_a_good_one(capsys, make, said):
    make(Path("bad.png"))
    assert said in fails(capsys, "animate", "bad.png")
    assert said in fails(capsys, "animate", "still.png", "bad.png")


def test_bad_models_are_one_line(still, model, capsys):
    data = Path(model).read_bytes()
    for content, said in (
        (pickle.dumps({"weight": 1}), "is a pickle"),
        (data[: len(data) // 2], "is truncated"),
        (b"hello", "not a safetensors file"),
    ):
        Path("bad.safetensors").write_bytes(content)
        assert said in fails(capsys, "animate", still, "--model", "bad.safetensors")
        assert said in fails(capsys, "info", "bad.safetensors")


def test_the_still_itself_is_never_replaced(still, capsys):
    Image.open(still).save("still.gif")
    before = Path("still.gif").read_bytes()
    said = fails(capsys, "animate", "still.gif", "--out", "still.gif")
    assert "would replace a picture that is read" in said
    assert Path("still.gif").read_bytes() == before


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX file size limits")
@pytest.mark.parametrize(
    ("words", "target"),
    [(["animate", "still.png", "--frames", "2"], "a.mp4"), (["preview-data"], "a.png")],
)
def test_a_full_disk_is_one_line(still, model, capsys, words, target):
    import resource

    assert still == "still.png"
    words += ["--model", model] if words[0] == "animate" else []
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        said = fails(capsys, *words, "--out", target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert said == f"trip_core: {target} could not be written: File too large\n"
