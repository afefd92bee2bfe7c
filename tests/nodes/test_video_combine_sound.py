"""Sound in Video Combine: as long as asked, in one file with the frames."""

import math
from fractions import Fraction
from types import SimpleNamespace

import av
import pytest
import torch

from tests.nodes.clips import clip, milliseconds, tone
from trip_core.video_io import read_video


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
