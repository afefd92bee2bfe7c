"""Video Combine on real frames: every format read back."""

import json
from pathlib import Path

import av
import pytest
import torch
from PIL import Image
from skimage.color import deltaE_ciede2000, rgb2lab

from tests.nodes.clips import clip, milliseconds
from trip_core.codecs import CODECS, available_codecs
from trip_core.video_io import read_video


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


def test_crf_is_the_formats_own_quality():
    assert CODECS["mp4 (H.264)"].with_choices(0).options["crf"] == "0"
    assert CODECS["mp4 (H.264)"].with_choices(63).options["crf"] == "51"
    assert CODECS["animated WebP"].with_choices(0).options["lossless"] == "1"
    assert CODECS["animated WebP"].with_choices(63).options["quality"] == "0"
