"""The command line: what it writes, and what it says (in one line) to wrong use."""

import io
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.core.tiny_model import save_tiny_model
from trip_core import cli, video_io

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_tiny_model(path)
    return str(path)


@pytest.fixture
def still(tmp_path, monkeypatch):
    """A noisy still (so that files of clips are large) in the current folder."""
    monkeypatch.chdir(tmp_path)
    pixels = torch.randint(0, 256, (48, 64, 3), generator=torch.Generator().manual_seed(0))
    Image.fromarray(pixels.to(torch.uint8).numpy()).save("still.png")
    return "still.png"


def files():
    return sorted(str(path) for path in Path().rglob("*") if path.is_file())


def fails(capsys, *words):
    """Run; return the one line on stderr of a run that ends with exit code 2."""
    before = files()
    assert cli.main(list(words)) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and said.err.startswith("trip_core: ")
    assert files() == before
    return said.err


# animate


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


@pytest.mark.parametrize("suffix", video_io.FORMATS)
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
    shown = video_io.fit_still(video_io.read_still(still), (32, 40))
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


# Wrong use


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


@pytest.mark.parametrize("closed", ["1", "2"])
@pytest.mark.skipif(os.name != "posix", reason="needs a POSIX shell")
def test_closed_streams_are_no_error(still, model, closed):
    words = [sys.executable, "-m", "trip_core", "animate", still, "--model", model, "--frames", "2"]
    ended = subprocess.run(
        ["sh", "-c", f'"$@" {closed}>&-', "sh", *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 0 and ended.stderr == ""
    assert files() == ["output/still.mp4", "still.png"]


def test_a_name_that_the_terminal_cannot_show(still, model, monkeypatch):
    Path(still).rename("m\u00fcll.png")
    said = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", said)
    assert cli.main(["animate", "m\u00fcll.png", "--model", model, "--frames", "2"]) == 0
    said.seek(0)
    assert said.read().startswith("output/m\\xfcll.mp4: 2 frames")


# Interrupts


@pytest.mark.parametrize("suffix", video_io.FORMATS)
@pytest.mark.parametrize("moment", [0, 2])
def test_ctrl_c_while_writing_leaves_nothing(still, model, capsys, monkeypatch, suffix, moment):
    add = video_io.VideoWriter.add

    def interrupted(writer, frame):
        if writer.num_frames == moment:
            raise KeyboardInterrupt
        add(writer, frame)

    monkeypatch.setattr(video_io.VideoWriter, "add", interrupted)
    words = ["animate", still, "--model", model, "--frames", "4", "--out", f"a{suffix}"]
    assert cli.main(words) == 130
    assert files() == ["still.png"]
    assert capsys.readouterr().err.count("\n") == 1


def test_ctrl_c_while_denoising_leaves_nothing(still, model, monkeypatch):
    from trip_core.systems.trip import TRIP

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(TRIP, "forward", interrupted)
    words = ["animate", still, "--model", model, "--frames", "4", "--edges", "generate"]
    assert cli.main(words) == 130
    assert files() == ["still.png"]


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
@pytest.mark.parametrize(
    ("number", "code", "moment"),
    [
        (signal.SIGINT, 130, "writing"),
        (signal.SIGINT, 130, "importing"),
        (signal.SIGTERM, 143, "writing"),
        *([(signal.SIGHUP, 129, "writing")] if hasattr(signal, "SIGHUP") else []),
    ],
)
def test_a_signal_to_the_process_leaves_nothing(still, model, number, code, moment):
    words = ["animate", still, "--model", model, "--frames", "128", "--size", "192"]
    process = subprocess.Popen(
        [sys.executable, "-m", "trip_core", *words, "--out", "clips/a.mp4"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # What a shell runs in the background ignores Ctrl-C, and so does what that starts.
        preexec_fn=lambda: [signal.signal(n, signal.SIG_DFL) for n in (signal.SIGINT, number)],
    )
    try:
        deadline = time.monotonic() + (120 if moment == "writing" else 0.5)
        while not list(Path().glob("clips/.a.*.part.mp4")) and time.monotonic() < deadline:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.02)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == code and "Traceback" not in said
    assert files() == ["still.png"]


def test_ctrl_c_in_the_first_moments_is_one_line():
    code = (
        "import runpy, sys\n"
        "class Pressed:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'trip_core.cli': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Pressed())\n"
        "runpy.run_module('trip_core', run_name='__main__')\n"
    )
    words = [sys.executable, "-c", code]
    ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 130 and ended.stderr == "interrupted\n"


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs POSIX signals")
def test_what_was_told_to_outlive_its_terminal_does():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with cli._signals(cli._Interrupt()):
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


# The other commands


def test_info_shows_parts_and_config(model, capsys):
    assert cli.main(["info", model]) == 0
    said = capsys.readouterr().out
    assert "TRIP checkpoint" in said and "motion" in said and '"steps": 2' in said
    assert cli.main(["info", model, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["parts"]["trip"]["tensors"] > 10


def test_a_reader_that_goes_is_no_error(model):
    read, write = os.pipe()
    os.close(read)
    with open(write, "w") as gone:
        ended = subprocess.run(
            [sys.executable, "-m", "trip_core", "info", model],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=gone,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
        )
    assert ended.stderr == "" and ended.returncode == 141  # as if SIGPIPE had ended it


@pytest.mark.usefixtures("still")
def test_preview_data_draws_a_sheet(capsys):
    words = ["preview-data", "--count", "1", "--size", "32", "--kind", "pan_left"]
    assert cli.main([*words, "--out", "new/sheet.png"]) == 0
    assert capsys.readouterr().out == "new/sheet.png\n"
    with Image.open("new/sheet.png") as sheet:
        assert sheet.width == 7 * 32


@pytest.mark.parametrize(
    "command",
    [[], *([name] for name in cli._COMMANDS)],
)
def test_help_explains_every_command(capsys, command):
    with pytest.raises(SystemExit) as end:
        cli.main([*command, "--help"])
    said = capsys.readouterr().out
    assert end.value.code == 0 and "usage: python -m trip_core" in said
    assert said.count("  python -m trip_core ") >= 2


def test_help_shows_defaults(capsys):
    with pytest.raises(SystemExit):
        cli.main(["animate", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    for words in ("frames; without it 16,", "second (default: 8.0)", "same file; without it 0"):
        assert words in said
    assert "None" not in said


def test_motion_strength_zero_freezes_the_clip(still, model, capsys):
    words = ["animate", still, "--model", model, "--frames", "3", "--json"]
    assert cli.main([*words, "--motion-strength", "0"]) == 0
    assert json.loads(capsys.readouterr().out)["frozen"] is True
    assert "from 0 to 4" in fails(capsys, *words, "--motion-strength", "9")
