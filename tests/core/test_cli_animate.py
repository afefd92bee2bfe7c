"""``animate``: the clip that it writes, and what it says of it."""

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.core.conftest import fails, files
from trip_core import cli, video_io
from trip_core.formats import FORMATS
from trip_core.sizes import fit_still
from trip_core.stills import read_still


def test_animate_writes_a_clip_and_says_where(still, model, capsys):
    assert cli.main(["animate", still, "--model", model, "--frames", "3"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("output/still.mp4: 3 frames, 64x48, 8 fps, seed 0, ")
    assert said.err == ""
    assert video_io.read_video("output/still.mp4").shape == (3, 3, 48, 64)
    assert files() == ["output/still.mp4", "still.png"]


def test_names_in_a_folder_are_numbered_and_nothing_is_replaced(still, model, capsys):
    Image.open(still).save("still.webp", lossless=True)
    words = ["animate", still, "still.webp", "--model", model, "--frames", "2", "--out", "clips/"]
    assert cli.main(words) == cli.main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    names = ["clips/still.mp4", *(f"clips/still-{i}.mp4" for i in (2, 3, 4))]
    assert [line.split(":")[0] for line in lines] == names
    assert len({Path(name).read_bytes() for name in names}) == 1  # same picture, same seed


@pytest.mark.parametrize("suffix", FORMATS)
def test_the_same_seed_gives_the_same_file(still, model, suffix):
    words = ["animate", still, "--model", model, "--frames", "3", "--edges", "generate"]
    for name in ("a", "b"):
        assert cli.main([*words, "--prompt", "pan left", "--out", name + suffix]) == 0
    assert Path("a" + suffix).read_bytes() == Path("b" + suffix).read_bytes()


def test_json_says_all_of_a_clip(still, model, capsys):
    words = ["animate", still, "--model", model, "--frames", "3", "--fps", "12.5", "--json"]
    assert cli.main([*words, "--size", "40x32", "--seed", "7", "--out", "a.webm"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["path"] == "a.webm" and facts["size"] == [40, 32]
    assert (facts["frames"], facts["fps"], facts["seed"]) == (3, 12.5, 7)
    # As the file gives it back, not as it went in.
    shown = fit_still(read_still(still), (32, 40))
    error = (video_io.read_video("a.webm")[0] - shown).square().mean()
    assert facts["first_frame_psnr"] == pytest.approx(-10 * error.log10().item(), abs=1e-3)
    assert {"motion", "colour_drift", "brightness_drift"} <= facts.keys()
    assert {"load", "motion", "compose", "measure", "write"} <= facts["seconds"].keys()
    assert all(value >= 0 for value in facts["seconds"].values())


@pytest.mark.usefixtures("still")
def test_overscan_is_measured_against_what_it_shows(model, capsys):
    Image.radial_gradient("L").resize((96, 72)).save("soft.png")
    words = ["animate", "soft.png", "--model", model, "--frames", "4", "--json", "--out", "a.mp4"]
    assert cli.main([*words, "--edges", "overscan"]) == 0
    assert json.loads(capsys.readouterr().out)["first_frame_psnr"] > 40


def test_json_says_the_size_that_the_file_has(still, model, capsys):
    words = ["animate", still, "--model", model, "--frames", "2", "--json", "--size", "39x33"]
    for name, size in (("a.mp4", [40, 34]), ("a.webp", [39, 33])):
        assert cli.main([*words, "--out", name]) == 0
        assert json.loads(capsys.readouterr().out)["size"] == size
        frames = video_io.read_video(name)
        assert [frames.shape[3], frames.shape[2]] == size


def test_options_without_effect_are_named(still, model, capsys):
    words = ["animate", still, "--model", model, "--frames", "2", "--out", "a.mp4", "--steps", "2"]
    assert cli.main([*words, "--sampler", "euler"]) == 0
    assert capsys.readouterr().err.startswith("--steps, --sampler: without effect")
    more = ["--guidance", "0", "--seed", "0", "--compile", "--dtype", "float32"]
    assert cli.main([*words, *more]) == 0
    said = "--steps, --guidance, --seed, --compile, --dtype: without effect"
    assert capsys.readouterr().err.startswith(said)
    assert cli.main([*words, "--edges", "generate", "--seed", "0", "--dtype", "float32"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("edges", ["mirror", "generate", "overscan"])
def test_every_kind_of_edges_works(still, model, edges):
    words = ["animate", still, "--model", model, "--frames", "2", "--edges", edges]
    assert cli.main([*words, "--prompt", "pan left", "--out", "a.mp4"]) == 0
    assert video_io.read_video("a.mp4").shape[0] == 2


@pytest.mark.parametrize("mode", ["RGBA", "P", "LA", "L", "1", "CMYK"])
def test_every_kind_of_still_works(still, model, mode):
    Image.open(still).convert(mode).save("other.tiff")
    assert cli.main(["animate", "other.tiff", "--model", model, "--frames", "2"]) == 0


def test_what_is_white_in_the_mask_stays(still, model):
    Image.new("L", (12 * 8, 9 * 8), 255).save("mask.png")  # of another size: scaled
    words = ["animate", still, "--model", model, "--frames", "4", "--prompt", "pan left"]
    for name, more in (("free", []), ("kept", ["--mask", "mask.png"])):
        assert cli.main([*words, *more, "--motion-strength", "4", "--out", f"{name}.mp4"]) == 0
    free, kept = (video_io.read_video(f"{name}.mp4").float() for name in ("free", "kept"))
    assert (kept[3] - kept[0]).abs().mean() < 0.3 * (free[3] - free[0]).abs().mean()


def test_motion_strength_zero_freezes_the_clip(still, model, capsys):
    words = ["animate", still, "--model", model, "--frames", "3", "--json"]
    assert cli.main([*words, "--motion-strength", "0"]) == 0
    assert json.loads(capsys.readouterr().out)["frozen"] is True
    assert "from 0 to 4" in fails(capsys, *words, "--motion-strength", "9")
