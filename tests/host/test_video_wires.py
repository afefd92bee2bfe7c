"""VIDEO out of Video Combine and into it, and into the host's own node."""

import av
import numpy as np
import pytest
import torch

from tests.host.conftest import run_without_server, version
from tests.host.graphs import combine, node
from trip_core.codecs import CODECS
from trip_core.formats import Extras
from trip_core.sound import Sound
from trip_core.video_io import VideoWriter, read_video

RED, BLUE = 0xC02020, 0x2020C0


def colours(path):
    """Return the mean colour of every frame in a file, 0..255."""
    return (read_video(path).mean((2, 3)) * 255).round()


@pytest.mark.parametrize("format", ["mp4 (H.264)", "animated WebP", "PNG sequence"])
def test_a_written_clip_is_a_video_for_other_nodes(comfy, format):
    graph = {
        "1": node("EmptyImage", width=96, height=64, batch_size=3, color=RED),
        "2": node("EmptyImage", width=96, height=64, batch_size=2, color=BLUE),
        "3": node("ImageBatch", image1=["1", 0], image2=["2", 0]),
        "4": combine(images=["3", 0], format=format, fps=12.5),
        "5": combine(video=["4", 0], format="mkv (FFV1 lossless)", fps=99.0),
        "6": node("SaveVideo", video=["4", 0], filename_prefix="h", format="auto", codec="auto"),
        "7": node("GetVideoComponents", video=["4", 0]),
        "8": node("PreviewImage", images=["7", 0]),
    }
    outputs = comfy.outputs(graph)
    truth = torch.tensor([[192.0, 32.0, 32.0]] * 3 + [[32.0, 32.0, 192.0]] * 2)
    again = sorted((comfy.base / "output" / "TRIP").glob("clip_*.mkv"))[-1]
    with av.open(str(again)) as container:
        assert float(container.streams.video[0].average_rate) == 12.5  # the video's own
    for path in (again, comfy.path(outputs["6"]["images"][0])):
        assert (colours(path) - truth).abs().max() < 12  # the host's mp4 is not BT.709
    assert len(outputs["8"]["images"]) == 5


def test_a_loaded_video_keeps_its_rate_and_sound(comfy):
    tone = Sound(torch.sin(torch.arange(44100) / 9)[None] * 0.4, 44100)
    with VideoWriter(comfy.base / "input" / "heard.mp4", 12.5, extras=Extras(sound=tone)) as file:
        file.add(torch.rand(5, 3, 64, 96, generator=torch.Generator().manual_seed(0)))
    graph = {
        "1": node("LoadVideo", file="heard.mp4"),
        "2": combine(video=["1", 0], format="webm (VP9)"),
    }
    path = comfy.path(comfy.outputs(graph)["2"]["images"][0])
    with av.open(str(path)) as container:
        assert float(container.streams.video[0].average_rate) == 12.5
        stream = container.streams.audio[0]
        heard = sum(frame.samples for frame in container.decode(stream)) / stream.rate
    assert heard == pytest.approx(0.4, abs=0.06)


def test_channels_stay_apart_on_every_way(comfy, host_folder):
    left, right = (torch.sin(torch.arange(22050) * pitch) * 0.4 for pitch in (0.02, 0.05))
    sound = Extras(sound=Sound(torch.stack([left, right]), 44100))
    frames = torch.rand(5, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    mov, mkv = CODECS["mov (ProRes)"].format, CODECS["mkv (FFV1 lossless)"]
    for name, format in (("in.mov", mov), ("in.mkv", mkv.with_choices(pixel_format="yuv420p"))):
        with VideoWriter(comfy.base / "input" / name, 12.5, format, sound) as file:
            file.add(frames)
    lossless = {"format": "mkv (FFV1 lossless)", "save_workflow": False}
    graph = {
        "1": node("LoadVideo", file="in.mov"),
        "2": combine(video=["1", 0], format="mov (ProRes)", filename_prefix="a/1"),
        "3": combine(video=["2", 0], filename_prefix="a/2", **lossless),
        "4": combine(video=["3", 0], filename_prefix="a/3", **lossless),
        "5": node("LoadVideo", file="in.mkv"),
        "6": combine(video=["5", 0], filename_prefix="a/4", **lossless),
        "7": node("SaveVideo", video=["2", 0], filename_prefix="a/5", format="auto", codec="auto"),
        "8": node("SaveVideo", video=["3", 0], filename_prefix="a/6", format="mp4", codec="h264"),
    }
    comfy.outputs(graph)
    written = sorted((comfy.base / "output" / "a").iterdir())
    assert [path.name[0] for path in written] == list("123456")
    if version(host_folder) == "0.3.44":
        written = written[:4]  # its own SaveVideo knows one channel
    for path in written:
        with av.open(str(path)) as container:
            resampler = av.AudioResampler(format="fltp")
            sounds = container.decode(audio=0)
            rows = [row.to_ndarray() for f in sounds for row in resampler.resample(f)]
        heard = torch.from_numpy(np.concatenate(rows, 1))[:, 4000:16000].float()
        hertz = torch.fft.rfft(heard).abs().argmax(1) * 2 * np.pi / 12000
        assert (hertz - torch.tensor([0.02, 0.05])).abs().max() < 0.001, path.name
        assert (heard.std(1) * 2**0.5 - 0.4).abs().max() < 0.02, path.name


@pytest.mark.parametrize("format", ["mp4 (H.264)", "webm (VP9)"])
def test_a_video_is_written_as_its_frames_and_sound_are(comfy, format):
    tone = Sound(torch.sin(torch.arange(88200) / 9)[None] * 0.4, 44100)
    suffix = CODECS[format].suffix
    with VideoWriter(comfy.base / "input" / f"both{suffix}", 12.5, extras=Extras(sound=tone)) as f:
        still = torch.rand(3, 64, 96, generator=torch.Generator().manual_seed(0))
        for index in range(20):
            f.add(still.roll(3 * index, -1) * index / 20)
    wishes = {"save_workflow": False, "fps": 12.5}
    graph = {
        "1": node("LoadVideo", file=f"both{suffix}"),
        "2": combine(video=["1", 0], **wishes),
        "3": node("GetVideoComponents", video=["1", 0]),
        "4": combine(images=["3", 0], audio=["3", 1], **wishes),
    }
    outputs = comfy.outputs(graph)
    streamed, loaded = (comfy.path(outputs[key]["images"][0]).read_bytes() for key in "24")
    assert streamed == loaded


def test_the_hosts_own_files_are_read_frame_by_frame(host_folder, tmp_path):
    tone = Sound(torch.sin(torch.arange(88200) / 9)[None] * 0.4, 44100)
    with VideoWriter(tmp_path / "clip.mp4", 12.5, extras=Extras(sound=tone)) as file:
        file.add(torch.rand(20, 3, 64, 96, generator=torch.Generator().manual_seed(0)))
    told = run_without_server(host_folder, "inside_video.py", tmp_path / "clip.mp4")
    assert told.split()[-3:] == ["streamed", "equal", "heard"]
