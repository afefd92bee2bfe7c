"""What single formats owe: their headers, pace, times, and sizes that they cannot take."""

import os
import subprocess
import sys
from pathlib import Path

import av
import pytest
import torch
from PIL import Image

from tests.core.clips import smooth_clip
from trip_core.codecs import CODECS, available_codecs
from trip_core.video_io import VideoWriter, read_video, write_video


def test_mp4_says_what_it_is(tmp_path):
    write_video(tmp_path / "a.mp4", smooth_clip(9), fps=7.5)
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        assert context.name == "h264" and context.pix_fmt == "yuv420p"
        assert stream.frames == 9 and stream.average_rate == 7.5
        assert container.duration == pytest.approx(9 / 7.5 * 1e6, rel=1e-3)
        # BT.709 matrix, primaries and transfer, limited range.
        assert (
            int(context.colorspace) == int(context.color_primaries) == int(context.color_trc) == 1
        )
        assert int(context.color_range) == 1
    data = (tmp_path / "a.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # faststart: plays while it loads


def test_animations_keep_their_pace(tmp_path):
    for suffix in (".gif", ".webp"):
        write_video(tmp_path / f"a{suffix}", smooth_clip(12), fps=12)
        with Image.open(tmp_path / f"a{suffix}") as animation:
            total = 0
            for index in range(animation.n_frames):
                animation.seek(index)
                animation.load()
                total += animation.info["duration"]
            assert animation.info["loop"] == 0
        assert total == pytest.approx(1000, abs=1)


def test_a_gif_of_more_frames_than_players_show_is_refused(tmp_path):
    with pytest.raises(ValueError, match="50") as caught:
        write_video(tmp_path / "a.gif", smooth_clip(3), fps=50.5)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())
    for fps in (29.97, 50):
        write_video(tmp_path / "a.gif", smooth_clip(7), fps)
        with Image.open(tmp_path / "a.gif") as animation:
            for index in range(animation.n_frames):
                animation.seek(index)
                assert animation.info["duration"] >= 20  # shorter ones are played as 100 ms
    write_video(tmp_path / "a.webp", smooth_clip(3), fps=60)


_NARROW = """
import torch
from trip_core.codecs import CODECS
from trip_core.video_io import VideoWriter
codec = CODECS["mp4 (H.265)"]
for size in (17, 33), (16, 16), (64, 48), (64, 66):
    for kind in codec.pixel_formats:
        noise = torch.rand(6, 3, *size, generator=torch.Generator().manual_seed(0))
        with VideoWriter(f"{kind}-{size[1]}.mp4", 8, codec.with_choices(-1, kind)) as writer:
            writer.add(noise)
"""


def test_narrow_frames_leave_the_encoders_memory_whole(tmp_path):
    if "mp4 (H.265)" not in available_codecs():
        pytest.skip("this FFmpeg cannot write it")
    # glibc then looks whether anything was written beside its place; elsewhere it just runs.
    checked = {"LD_PRELOAD": "libc_malloc_debug.so.0", "MALLOC_CHECK_": "3"}
    places = {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", _NARROW],
        cwd=tmp_path,
        env=os.environ | places | checked,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0
    clips = sorted(tmp_path.glob("*.mp4"))
    assert len(clips) == 12 and all(len(read_video(clip)) == 6 for clip in clips)


def test_short_clips_have_the_times_of_their_frames(tmp_path):
    if "mp4 (H.265)" not in available_codecs():
        pytest.skip("this FFmpeg cannot write it")
    noise = torch.rand(3, 3, 48, 64, generator=torch.Generator().manual_seed(0))
    # Again and again: x265 reads a number that it did not set, which in new memory is right.
    for kind in CODECS["mp4 (H.265)"].pixel_formats * 15:
        for num_frames in (1, 2, 3):
            format = CODECS["mp4 (H.265)"].with_choices(-1, kind)
            with VideoWriter(tmp_path / "a.mp4", 8, format) as writer:
                writer.add(noise[:num_frames])
            with av.open(str(tmp_path / "a.mp4")) as container:
                times = [frame.time for frame in container.decode(video=0)]
            assert times == [k / 8 for k in range(num_frames)]


def test_frames_too_narrow_for_av1_are_refused(tmp_path):
    if "webm (AV1)" not in available_codecs():
        pytest.skip("this FFmpeg cannot write it")
    format = CODECS["webm (AV1)"].format
    with pytest.raises(ValueError, match="32 pixels wide; got 30x64") as caught:
        VideoWriter(tmp_path / "a.webm", 8, format).add(smooth_clip(1, 64, 30))
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())
    with VideoWriter(tmp_path / "a.webm", 8, format) as writer:
        writer.add(smooth_clip(2, 16, 31))  # stored 32 wide
    assert read_video(tmp_path / "a.webm").shape == (2, 3, 16, 32)
