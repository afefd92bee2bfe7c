"""Video Combine on real frames: every format read back."""

import json
import math
import os
import struct
import sys
import threading
from fractions import Fraction
from pathlib import Path
from types import ModuleType, SimpleNamespace

import av
import pytest
import torch
from PIL import Image
from skimage.color import deltaE_ciede2000, rgb2lab

from trip_core.codecs import CODECS, available_codecs
from trip_core.video_io import read_video

TEXTS = {"workflow": json.dumps({"nodes": [], "title": "schöne Reise"}), "prompt": "{}"}
WIDGETS = {
    "fps": 12.5, "format": "mp4 (H.264)", "crf": -1, "pixel_format": "auto", "loop": 0,
    "pingpong": False, "save_output": True, "filename_prefix": "clip", "save_workflow": True,
    "audio_fit": "fit to video",
}  # fmt: skip


def clip(frames=5, height=48, width=64, channels=3):
    """Return smooth frames ``[F, H, W, C]`` that move."""
    generator = torch.Generator().manual_seed(3)
    picture = torch.nn.functional.interpolate(
        torch.rand(1, channels, 4, 5, generator=generator), (height, width + 8), mode="bicubic"
    )[0].clamp(0.05, 0.95)
    return torch.stack([picture[..., k : k + width] for k in range(frames)]).movedim(1, -1)


def tone(seconds, channels=2, rate=22050):
    """Return AUDIO of a length."""
    wave = torch.sin(torch.arange(round(seconds * rate)) / 9) * 0.4
    return {"waveform": wave.expand(1, channels, -1), "sample_rate": rate}


@pytest.fixture
def combine(nodes, folder):
    """Run the node; return (ui, path)."""
    del folder

    def run(**inputs):
        out = nodes["TRIP_VideoCombine"]().combine(**{**WIDGETS, "extra_pnginfo": TEXTS, **inputs})
        return out["ui"], out["result"][0][0]

    return run


@pytest.mark.parametrize("name", available_codecs())
def test_every_format_is_read_back(combine, name):
    images = clip()
    ui, path = combine(images=images, format=name)
    codec = CODECS[name]
    assert path.suffix == codec.suffix
    if path.is_dir():
        pictures = [Image.open(file) for file in sorted(path.glob("*.png"))]
        assert [entry["filename"] for entry in ui["images"]] == [
            Path(picture.filename).name for picture in pictures
        ]
        assert [picture.size for picture in pictures] == [(64, 48)] * 5
        assert json.loads(pictures[0].text["workflow"])["nodes"] == []
        return
    video = read_video(path)
    assert video.shape == (5, 3, 48, 64)
    least = 22 if name == "GIF" else 30
    assert -10 * torch.log10((video.movedim(1, -1) - images).square().mean()) > least
    assert ui.get("animated") == (None if name == "GIF" else (True,))
    if codec.format.codec is not None:
        with av.open(str(path)) as container:
            assert float(container.streams.video[0].average_rate) == 12.5
    else:
        assert milliseconds(path) == [80] * 5


def milliseconds(path):
    """Return how long each picture of an animation is shown."""
    with Image.open(path) as animation:
        shown = []
        for index in range(animation.n_frames):
            animation.seek(index)
            animation.load()
            shown.append(animation.info["duration"])
        return shown


#: What every browser plays, as (codec, pixel format); all others get a stand-in.
PLAYED = {
    ("mp4 (H.264)", "yuv420p"),
    ("webm (VP9)", "yuv420p"),
    ("webm (VP9)", "yuva420p"),
    ("webm (AV1)", "yuv420p"),
    ("webm (AV1)", "yuv420p10le"),
    ("animated WebP", "auto"),
    ("GIF", "auto"),
    ("animated PNG", "auto"),
    ("PNG sequence", "auto"),
}


@pytest.mark.parametrize(
    ("name", "pixel_format"),
    [
        (name, kind)
        for name in available_codecs()
        for kind in CODECS[name].pixel_formats or ["auto"]
    ],
)
def test_what_browsers_cannot_play_gets_a_stand_in(combine, name, pixel_format):
    ui, path = combine(images=clip(2), format=name, pixel_format=pixel_format)
    shown = ui["images"][0]
    if (name, pixel_format) in PLAYED:
        assert shown["type"] == "output"
        return
    assert shown["type"] == "temp"
    with av.open(str(path.parents[1] / "temp" / shown["filename"])) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")


@pytest.mark.parametrize(
    "name", ["mp4 (H.264)", "mp4 (H.265)", "webm (VP9)", "webm (AV1)", "mov (ProRes)"]
)
def test_yuv_files_say_bt709(combine, name):
    if name not in available_codecs():
        pytest.skip("this FFmpeg cannot write it")
    _, path = combine(images=clip(), format=name)
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        assert (context.colorspace, context.color_range) == (1, 1)
        if name != "webm (VP9)":  # VP9's own header holds the matrix only
            assert (context.color_primaries, context.color_trc) == (1, 1)


@pytest.mark.parametrize("name", ["mp4 (H.264)", "webm (VP9)", "mkv (FFV1 lossless)"])
def test_colours_come_back_unseen(combine, name):
    patches = torch.tensor([[0.8, 0.2, 0.2], [0.1, 0.6, 0.3], [0.2, 0.3, 0.8], [0.9, 0.8, 0.7]])
    images = patches.repeat_interleave(16, 0).expand(3, 48, -1, -1).contiguous()
    _, path = combine(images=images, format=name)
    back = read_video(path).movedim(1, -1)[:, :, 4:60:16]
    error = deltaE_ciede2000(rgb2lab(back[1].numpy()), rgb2lab(images[1, :, 4:60:16].numpy()))
    assert error.mean() < 1.0


def test_mp4_metadata_is_where_the_page_looks(combine):
    for audio in (None, tone(1.0)):
        _, path = combine(images=clip(), audio=audio)
        assert mp4_texts(path.read_bytes()) == TEXTS


def mp4_texts(data: bytes) -> dict[str, str]:
    """Read moov/udta/meta/{keys, ilst} as ComfyUI's frontend does."""

    def boxes(start, end):
        while start + 8 <= end:
            size, kind = struct.unpack(">I4s", data[start : start + 8])
            yield kind, start + 8, start + size
            start += size

    def find(start, end, *path):
        for kind, inner, stop in boxes(start, end):
            if kind == path[0]:
                inner += 4 if kind == b"meta" and data[inner : inner + 4] == b"\0" * 4 else 0
                return (inner, stop) if len(path) == 1 else find(inner, stop, *path[1:])
        raise AssertionError(path)

    top = [kind for kind, _, _ in boxes(0, len(data))]
    assert top.index(b"moov") < top.index(b"mdat")  # only the front of a file is read
    start, end = find(0, len(data), b"moov", b"udta", b"meta")
    keys_at, _ = find(start, end, b"keys")
    count = struct.unpack(">I", data[keys_at + 4 : keys_at + 8])[0]
    names, at = [], keys_at + 8
    for _ in range(count):
        size = struct.unpack(">I", data[at : at + 4])[0]
        names.append(data[at + 8 : at + size].decode())
        at += size
    values_at, values_end = find(start, end, b"ilst")
    texts = {}
    for kind, inner, stop in boxes(values_at, values_end):
        payload, last = find(inner, stop, b"data")
        texts[names[struct.unpack(">I", kind)[0] - 1]] = data[payload + 8 : last].decode()
    return {name: text for name, text in texts.items() if name in TEXTS}


def test_other_files_bring_the_workflow_back(combine):
    _, webm = combine(images=clip(), format="webm (VP9)")
    with av.open(str(webm)) as container:
        tags = {key.lower(): value for key, value in container.metadata.items()}
    assert tags["workflow"] == TEXTS["workflow"]
    data = webm.read_bytes()
    first_cluster = data.index(b"\x1f\x43\xb6\x75")  # its EBML id
    assert data.index(b"WORKFLOW") < first_cluster and data.index(b"PROMPT") < first_cluster
    _, webp = combine(images=clip(), format="animated WebP")
    assert set(Image.open(webp).getexif().values()) == {f"{k}:{v}" for k, v in TEXTS.items()}
    _, apng = combine(images=clip(), format="animated PNG")
    assert Image.open(apng).text == TEXTS
    _, gif = combine(images=clip(), format="GIF")
    assert Image.open(gif.with_suffix(".png")).text == TEXTS


def test_a_gif_keeps_colours_that_come_late(combine):
    images = torch.zeros(3, 48, 64, 3)
    images[1, ..., 0], images[2] = 1.0, 0.8
    _, path = combine(images=images, format="GIF")
    assert (read_video(path).movedim(1, -1) - images).abs().max() < 2 / 255


def test_a_gif_keeps_every_step_of_a_fade(combine):
    images = clip(1) * torch.linspace(0, 1, 24).view(-1, 1, 1, 1)
    _, path = combine(images=images, format="GIF")
    video = read_video(path).movedim(1, -1)
    assert len(video) == 24
    assert (video.mean((1, 2, 3)) - images.mean((1, 2, 3))).abs().max() < 2 / 255
    assert (video - images).square().mean().sqrt() < 9 / 255


@pytest.mark.parametrize("name", ["GIF", "animated WebP", "animated PNG"])
def test_equal_frames_keep_their_time(combine, name):
    first, last = clip(2)
    _, path = combine(images=torch.stack([first] * 4 + [last]), format=name)
    assert sum(milliseconds(path)) == 400


def test_no_workflow_means_none(combine, folder):
    _, path = combine(images=clip(), format="GIF", save_workflow=False)
    assert [file.name for file in (folder / "output").iterdir()] == [path.name]


@pytest.mark.parametrize(("disabled", "names"), [(False, ["workflow", "prompt"]), (True, [])])
def test_a_host_without_metadata_is_obeyed(part, monkeypatch, disabled, names):
    arguments = SimpleNamespace(args=SimpleNamespace(disable_metadata=disabled))
    monkeypatch.setitem(sys.modules, "comfy", ModuleType("comfy"))
    monkeypatch.setitem(sys.modules, "comfy.cli_args", arguments)
    assert list(part("host").workflow_texts({"1": {}}, {"workflow": {}}, True)) == names


def test_one_clip_is_one_file(combine, folder):
    combine(images=clip(), audio=tone(2.0))
    assert [file.name for file in (folder / "output").iterdir()] == ["clip_00001_.mp4"]


@pytest.mark.parametrize(
    ("fit", "seconds", "frames", "heard"),
    [
        ("fit to video", 2.0, 5, 0.4),
        ("fit to video", 0.1, 5, 0.4),
        ("trim video to audio", 0.2, 3, 0.24),
        ("trim video to audio", 2.0, 5, 0.4),
        ("keep", 2.0, 5, 2.0),
        ("keep", 0.1, 5, 0.1),
    ],
)
@pytest.mark.parametrize("name", ["mp4 (H.264)", "webm (VP9)"])
def test_sound_is_as_long_as_asked(combine, name, fit, seconds, frames, heard):
    _, path = combine(images=clip(), format=name, audio=tone(seconds), audio_fit=fit)
    assert len(read_video(path)) == frames
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        samples = sum(frame.samples for frame in container.decode(stream))
    assert samples / stream.rate == pytest.approx(heard, abs=0.06)  # codecs work in blocks


@pytest.mark.parametrize(
    ("fps", "rate", "frames"), [(15, 22050, 31), (30000 / 1001, 48000, 30), (12.5, 44100, 7)]
)
def test_a_clip_trimmed_to_its_sound_ends_with_its_last_sample(combine, fps, rate, frames):
    whole = frames * rate / Fraction(fps).limit_denominator(1001)
    for samples, count in ((math.floor(whole), frames), (math.floor(whole) + 1, frames + 1)):
        audio = {"waveform": torch.zeros(1, 1, samples), "sample_rate": rate}
        _, path = combine(
            images=torch.zeros(40, 16, 16, 3), fps=fps, audio=audio, audio_fit="trim video to audio"
        )
        assert len(read_video(path)) == count


def test_there_and_back_ends_with_the_sound_too(combine):
    _, path = combine(
        images=clip(), audio=tone(0.48), audio_fit="trim video to audio", pingpong=True,
        format="mkv (FFV1 lossless)",
    )  # fmt: skip
    video = read_video(path)
    assert len(video) == 6  # of the 8 there and back
    assert torch.equal(video[5], video[3])


def test_a_video_keeps_its_rate_and_sound_where_it_can(combine):
    parts = SimpleNamespace(images=clip(), frame_rate=Fraction(25, 4), audio=tone(0.8, channels=1))
    video = SimpleNamespace(get_components=lambda: parts)
    for name, channels in (("mp4 (H.264)", [1]), ("mkv (FFV1 lossless)", [2]), ("webm (VP9)", [1])):
        _, path = combine(video=video, format=name, audio=tone(0.8) if channels == [2] else None)
        with av.open(str(path)) as container:
            assert container.streams.video[0].average_rate == 6.25
            assert [stream.channels for stream in container.streams.audio] == channels
    _, path = combine(video=video, format="GIF")  # has no place for it
    assert milliseconds(path) == [160] * 5


def test_sound_in_a_picture_is_refused(combine):
    with pytest.raises(ValueError, match="cannot hold sound"):
        combine(images=clip(), format="GIF", audio=tone(1.0))


def test_one_frame_odd_sizes_and_pingpong(combine):
    _, path = combine(images=clip(1, 47, 63))
    assert read_video(path).shape == (1, 3, 48, 64)
    _, path = combine(images=clip(5), format="mkv (FFV1 lossless)", pingpong=True)
    video = read_video(path)
    assert len(video) == 8
    assert torch.equal(video[5:], video[1:4].flip(0))


@pytest.mark.parametrize("name", ["webm (VP9)", "mov (ProRes)", "animated WebP", "animated PNG"])
def test_transparency_is_kept_where_the_format_can(combine, name):
    if name not in available_codecs():
        pytest.skip("this FFmpeg cannot write it")
    images = clip(channels=4)
    images[..., 3] = torch.linspace(0, 1, 64).expand(5, 48, -1)
    _, path = combine(images=images, format=name)
    if CODECS[name].format.codec is None:
        alpha = Image.open(path).convert("RGBA").getchannel("A")
        assert abs(alpha.getpixel((63, 0)) - 255) < 3 and alpha.getpixel((0, 0)) < 3
        return
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        alpha = stream.metadata.get("alpha_mode", "") or stream.codec_context.pix_fmt
    assert "a" in alpha or alpha == "1"


def test_transparency_is_over_white_elsewhere(combine):
    images = torch.zeros(2, 48, 64, 4)
    _, path = combine(images=images)
    assert read_video(path).min() > 0.98


@pytest.mark.parametrize(
    ("name", "pixel_format"),
    [
        *((name, "auto") for name in available_codecs()),
        *(
            (name, kind)
            for name, kind in [("webm (VP9)", "yuva420p"), ("mkv (FFV1 lossless)", "bgra")]
            if name in available_codecs()
        ),
    ],
)
def test_grey_pictures_are_written_in_every_format(combine, name, pixel_format):
    images = clip(3, channels=1)
    _, path = combine(images=images, format=name, pixel_format=pixel_format)
    if path.is_dir():
        video = torch.cat([read_video(file) for file in sorted(path.glob("*.png"))])
    else:
        video = read_video(path)
    assert video.shape == (3, 3, 48, 64)
    assert (video.mean(1) - images[..., 0]).square().mean().sqrt() < 9 / 255


def test_a_gif_too_fast_for_players_is_refused(combine, folder):
    with pytest.raises(ValueError, match="at most 50"):
        combine(images=clip(), format="GIF", fps=60)
    assert [path for path in folder.rglob("*") if path.is_file()] == []


def test_cancel_leaves_nothing(combine, folder, part):
    part("host").Progress.cancel_at = 3
    for name in ("mp4 (H.264)", "mp4 (H.265)", "GIF", "PNG sequence"):
        with pytest.raises(InterruptedError):
            combine(images=clip(), format=name)
    left = [
        path for root in ("output", "temp") for path in (folder / root).rglob("*") if path.is_file()
    ]
    assert left == []


class Cancelled(Exception):
    """What a host raises, which is no OSError."""


@pytest.mark.parametrize("name", ["GIF", "animated WebP", "animated PNG"])
@pytest.mark.parametrize("after", [1, 2, 4, 8])
def test_cancel_is_obeyed_after_the_last_frame_too(combine, folder, part, monkeypatch, name, after):
    asked = []

    def step(progress, count=1):
        progress.done += count
        asked.extend([count] if progress.done == 8 and not count else [])
        if len(asked) >= after:
            raise Cancelled

    monkeypatch.setattr(part("host").Progress, "step", step)
    with pytest.raises(Cancelled):
        combine(images=clip(8), format=name, filename_prefix="a/b/clip")
    assert after <= len(asked) <= after + 1  # Pillow turns a WebP back to its first frame
    assert [path for path in folder.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("name", ["GIF", "animated WebP", "animated PNG"])
def test_cancel_is_asked_for_at_every_waiting_frame(combine, part, monkeypatch, name):
    asked = []
    monkeypatch.setattr(part("host").Progress, "step", lambda _, count=1: asked.append(count))
    for frames in (4, 8):
        asked.clear()
        combine(images=clip(frames), format=name)
        assert asked.count(1) == frames and asked.count(0) >= frames


def test_cancel_does_not_wait_for_a_palette(combine, folder, part, monkeypatch):
    begun, go = threading.Event(), threading.Event()

    def palette(*_, **__):
        begun.set()
        assert go.wait(10)

    def step(*_):
        if begun.is_set():
            raise Cancelled

    monkeypatch.setattr(Image.Image, "quantize", palette)
    monkeypatch.setattr(part("host").Progress, "step", step)
    try:
        with pytest.raises(Cancelled):
            combine(images=clip(), format="GIF")
    finally:
        go.set()
    assert [path for path in folder.rglob("*") if path.is_file()] == []


def test_folders_go_with_the_clip_that_they_were_made_for(combine, folder, part, monkeypatch):
    host = part("host")

    def target(prefix, suffix, size, keep):
        del size
        root = folder / ("output" if keep else "temp")
        return host.Target(root / f"{prefix}_00001_{suffix}", "a/b", root.name)

    monkeypatch.setattr(host, "target", target)
    (folder / "output" / "a").mkdir(parents=True)
    host.Progress.cancel_at = 3
    for name in ("mkv (FFV1 lossless)", "GIF", "PNG sequence"):
        with pytest.raises(InterruptedError):
            combine(images=clip(), format=name, filename_prefix="a/b/clip")
        assert [path.name for path in folder.rglob("*")] == ["output", "a"]
    with pytest.raises(ValueError, match="at most 50"):
        combine(images=clip(), format="GIF", fps=60, filename_prefix="a/b/clip")
    assert [path.name for path in folder.rglob("*")] == ["output", "a"]


@pytest.mark.parametrize(
    ("name", "fails"),
    [
        ("GIF", "clip_00001_.png"),
        ("GIF", "clip_00001_.gif"),
        ("mkv (FFV1 lossless)", "clip_00001_.mkv"),
        ("mkv (FFV1 lossless)", "clip_preview_00001_.mp4"),
    ],
)
def test_a_full_disk_leaves_neither_clip_nor_companion(combine, folder, monkeypatch, name, fails):
    replace = os.replace

    def full(source, target):
        if Path(target).name == fails:
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="could not be written"):
        combine(images=clip(), format=name)
    assert [path for path in folder.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({}, "connect one clip"),
        ({"images": clip(), "video": object()}, "images and video is connected"),
        ({"latent": {"samples": torch.zeros(2, 4, 8, 8)}}, "needs its vae"),
        ({"images": torch.zeros(0, 8, 8, 3)}, "a frame at least"),
    ],
)
def test_wrong_use_is_named(combine, inputs, words):
    with pytest.raises(ValueError, match=words):
        combine(**inputs)


def test_pixel_formats_are_checked_before_anything_runs(nodes):
    check = nodes["TRIP_VideoCombine"].VALIDATE_INPUTS
    assert check(format="mp4 (H.264)", pixel_format="yuv444p") is True
    assert "cannot store" in check(format="mp4 (H.264)", pixel_format="gbrp16le")
    assert "cannot write" in check(format="avi", pixel_format="auto")
    # The host does not know yet what comes through a link.
    assert check(format=None, pixel_format="auto") is True
    assert check(format="mp4 (H.264)", pixel_format=None) is True


def test_a_format_that_came_through_a_link_is_checked_when_it_runs(combine):
    with pytest.raises(ValueError, match="cannot write 'avi'; it can write mp4"):
        combine(images=torch.zeros(2, 16, 16, 3), format="avi")


def test_crf_is_the_formats_own_quality():
    assert CODECS["mp4 (H.264)"].with_choices(0).options["crf"] == "0"
    assert CODECS["mp4 (H.264)"].with_choices(63).options["crf"] == "51"
    assert CODECS["animated WebP"].with_choices(0).options["lossless"] == "1"
    assert CODECS["animated WebP"].with_choices(63).options["quality"] == "0"
