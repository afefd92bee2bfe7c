"""A VIDEO that is read frame by frame gives what the host's ``get_components`` gives, or is not."""

import io
import os
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch

from trip_core.codecs import CODECS, available_codecs
from trip_core.formats import Extras
from trip_core.sound import Sound
from trip_core.video_io import VideoWriter

TONE = Sound(torch.sin(torch.arange(44100) / 9)[None] * 0.4, 44100)


class HostVideo:
    """A file as hosts read it: all of its frames, then its sound."""

    def __init__(self, file):
        self.file, self.loads = file, 0

    def get_stream_source(self):
        return self.file

    def get_dimensions(self):
        with av.open(self.file) as container:
            return container.streams.video[0].width, container.streams.video[0].height

    def get_duration(self):
        with av.open(self.file) as container:
            return float(container.duration / av.time_base)

    def pixels(self, frame):
        return torch.from_numpy(frame.to_ndarray(format="rgb24")) / 255.0

    def get_components_internal(self, container):
        images = [self.pixels(frame) for frame in container.decode(video=0)]
        container.seek(0)
        heard = [
            frame.to_ndarray()
            for stream in container.streams.audio[:1]
            for packet in container.demux(stream)
            for frame in packet.decode()
        ]
        audio = None
        if heard:
            waveform = torch.from_numpy(np.concatenate(heard, axis=1))[None]
            rate = container.streams.audio[0].sample_rate
            audio = {"waveform": waveform, "sample_rate": rate}
        rate = Fraction(container.streams.video[0].average_rate)
        return SimpleNamespace(images=torch.stack(images), audio=audio, frame_rate=rate)

    def get_components(self):
        self.loads += 1
        with av.open(self.file) as container:
            return self.get_components_internal(container)


def other(**methods):
    """Return a host's class that differs in some methods."""
    return type("OtherVideo", (), {**vars(HostVideo), **methods})


def written(path, name="mp4 (H.264)", pixel_format="auto", frames=40, sound=TONE, fade=False):
    """Write a clip of coloured patches that move."""
    picture = torch.rand(1, 3, 6, 8, generator=torch.Generator().manual_seed(0))
    picture = torch.nn.functional.interpolate(picture, (64, 64), mode="bicubic")[0].clamp(0, 1)
    format = CODECS[name].with_choices(pixel_format=pixel_format)
    with VideoWriter(path, 12.5, format, Extras(sound=sound)) as file:
        for index in range(frames):
            file.add(picture.roll(2 * index, -1) * (index / frames if fade else 1))
    return str(path)


def with_another_index(path, target, options):
    """Copy a file's packets into another container."""
    with av.open(path) as given, av.open(str(target), "w", options=options) as copy:
        streams = {s: copy.add_stream_from_template(s) for s in given.streams}
        for packet in given.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream]
                copy.mux(packet)
    return str(target)


def assert_streams(source, video):
    """The clip is read frame by frame, and is what the host loads."""
    clip = source(None, None, None, video)
    assert video.loads == 0 and not clip.held
    parts = video.get_components()
    frames = torch.stack(list(clip.frames())).movedim(1, -1)
    assert torch.equal(frames, parts.images) and clip.num_frames == len(frames)
    assert clip.fps == parts.frame_rate
    assert (clip.audio is None) == (parts.audio is None)
    if clip.audio is not None:
        assert torch.equal(clip.audio["waveform"], parts.audio["waveform"])
        assert clip.audio["sample_rate"] == parts.audio["sample_rate"]
    return clip


@pytest.mark.parametrize("sound", [TONE, None])
@pytest.mark.parametrize("name", ["mp4 (H.264)", "mp4 (H.265)", "webm (VP9)"])
def test_a_file_is_read_frame_by_frame(part, tmp_path, name, sound):
    if name not in available_codecs():
        pytest.skip("this FFmpeg cannot write it")
    path = written(tmp_path / f"clip{CODECS[name].suffix}", name, sound=sound)
    with av.open(path) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        assert (container.streams.video[0].frames == 0) == path.endswith("webm")
        if "H.26" in name:  # frames are not stored in the order they are shown
            assert any(packet.pts != packet.dts for packet in packets)
    assert_streams(part("sources").source, HostVideo(path))


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("pixel_format", ["yuv420p", "auto"])  # read frame by frame, and whole
@pytest.mark.parametrize("name", ["mkv (FFV1 lossless)", "mov (ProRes)"])
def test_channels_of_pcm_and_flac_stay_apart(part, tmp_path, name, pixel_format, channels):
    if name not in available_codecs():
        pytest.skip("this FFmpeg cannot write it")
    if name == "mov (ProRes)" and pixel_format != "auto":
        pytest.skip("ProRes has no such pixels")
    pitches = torch.arange(1, channels + 1)[:, None] / 40
    heard = torch.sin(torch.arange(4 * 3528) * pitches) * 0.4
    sound = Sound(heard, 44100)
    path = written(tmp_path / f"c{CODECS[name].suffix}", name, pixel_format, frames=4, sound=sound)
    clip = part("sources").source(None, None, None, HostVideo(path))
    assert clip.held == (pixel_format == "auto")
    waveform = clip.audio["waveform"]
    assert waveform.dtype == torch.float32 and waveform.shape == (1, *heard.shape)
    assert (waveform[0] - heard).abs().max() < 1e-4
    assert clip.audio["sample_rate"] == 44100


def test_sound_that_is_not_as_it_lies_in_the_file_is_the_hosts(part, tmp_path):
    sound = Sound(torch.stack([TONE.waveform[0], -TONE.waveform[0]]), 44100)
    path = written(tmp_path / "c.mov", "mov (ProRes)", frames=3, sound=sound)
    quiet = {"waveform": torch.zeros(1, 1, 21168, dtype=torch.int16), "sample_rate": 44100}

    class Muted(HostVideo):
        get_stream_source = HostVideo.get_stream_source

        def get_components(self):
            parts = HostVideo.get_components(self)
            return SimpleNamespace(**{**vars(parts), "audio": quiet})

    assert part("sources").source(None, None, None, Muted(path)).audio is quiet


def test_a_file_that_does_not_say_how_many_frames_it_holds(part, tmp_path):
    path = written(tmp_path / "whole.mp4")
    options = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
    path = with_another_index(path, tmp_path / "pieces.mp4", options)
    with av.open(path) as container:
        assert container.streams.video[0].frames == 0
    assert_streams(part("sources").source, HostVideo(path))


def test_a_host_that_reads_sound_and_pictures_together(part, tmp_path):
    def get_components_internal(self, container):
        video, audio = container.streams.video[0], container.streams.audio[-1]
        images, heard = [], []
        for packet in container.demux(video, audio):
            for frame in packet.decode():
                if packet.stream.type == "video":
                    assert frame.pts >= 0
                    images.append(self.pixels(frame))
                else:
                    heard.append(torch.from_numpy(frame.to_ndarray()))
        sound = {"waveform": torch.cat(heard, 1)[None], "sample_rate": audio.sample_rate}
        rate = Fraction(video.average_rate)
        return SimpleNamespace(images=torch.stack(images), audio=sound, frame_rate=rate)

    kind = other(get_components_internal=get_components_internal)
    assert_streams(part("sources").source, kind(written(tmp_path / "clip.mp4")))


def turned(_, frame):
    """Turn by a quarter."""
    return (torch.from_numpy(frame.to_ndarray(format="rgb24")) / 255.0).rot90(1, (0, 1))


def finer(_, frame):
    """Convert without a rounding to 8 bits."""
    return torch.from_numpy(frame.to_ndarray(format="gbrpf32le"))


def sooner(self):
    """Say the length of a clip trimmed at its end."""
    return HostVideo.get_duration(self) - 0.08


def cropped(_):
    """Say the size of a cropped clip."""
    return 32, 64


def strict(self, container):
    """Read nothing but the library's own containers."""
    if not isinstance(container, av.container.InputContainer):
        raise TypeError
    return HostVideo.get_components_internal(self, container)


@pytest.mark.parametrize(
    "methods",
    [
        {"pixels": turned}, {"pixels": finer}, {"get_duration": sooner},
        {"get_dimensions": cropped}, {"get_components_internal": strict},
    ],
    ids=lambda methods: next(iter(methods.values())).__name__,
)  # fmt: skip
@pytest.mark.parametrize("fade", [False, True])
def test_a_host_that_reads_files_otherwise_is_asked_for_the_clip(part, tmp_path, methods, fade):
    path = written(tmp_path / "clip.mp4", frames=3, sound=None, fade=fade)
    video = other(**methods)(path)
    clip = part("sources").source(None, None, None, video)
    assert clip.held and video.loads == 1
    frames = torch.stack(list(clip.frames())).movedim(1, -1)
    assert torch.equal(frames, video.get_components().images)


def test_other_videos_are_loaded_whole(part, tmp_path):
    class Cropped(HostVideo):
        def get_components(self):
            self.loads += 1
            parts = HostVideo.get_components_internal(self, av.open(self.file))
            return SimpleNamespace(**{**vars(parts), "images": parts.images[:, 8:]})

    mp4 = written(tmp_path / "clip.mp4", frames=3)
    deep = written(tmp_path / "deep.mp4", pixel_format="yuv420p10le", frames=3)
    clear = written(tmp_path / "clear.webm", "webm (VP9)", "yuva420p", frames=3)
    for video in (
        Cropped(mp4), HostVideo(io.BytesIO(Path(mp4).read_bytes())), HostVideo(deep),
        HostVideo(clear),
    ):  # fmt: skip
        clip = part("sources").source(None, None, None, video)
        assert clip.held and clip.num_frames == 3 and video.loads == 1


def opened(path):
    """Return how often this process has a file open."""
    links = Path("/proc/self/fd").iterdir()
    return sum(os.path.realpath(link) == os.path.realpath(path) for link in links)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="lists open files as Linux does")
def test_the_file_is_closed_whoever_stops(part, nodes, folder, tmp_path):
    path = written(tmp_path / "clip.mp4", frames=12, sound=None)
    clip = part("sources").source(None, None, None, HostVideo(path))
    for frames in (clip.frames(), clip.there_and_back().frames(), clip.limited(5).frames()):
        next(frames)
        assert opened(path) == 1
        frames.close()
        assert opened(path) == 0
    assert len(list(clip.limited(5).frames())) == 5 and opened(path) == 0
    part("host").Progress.cancel_at = 3
    with pytest.raises(InterruptedError) as cancelled:  # which keeps all variables alive
        nodes["TRIP_VideoCombine"]().combine(
            8.0, "mp4 (H.264)", -1, "auto", 0, False, True, "clip", False, "fit to video",
            video=HostVideo(path),
        )  # fmt: skip
    assert cancelled.tb is not None and opened(path) == 0
    assert [file for file in (folder / "output").rglob("*") if file.is_file()] == []
