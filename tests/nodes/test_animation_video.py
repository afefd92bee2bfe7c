"""What Pillow wrote, as VIDEO: in hosts whose class asks for two methods, and for three."""

import sys
from abc import ABCMeta, abstractmethod
from fractions import Fraction
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from types import SimpleNamespace

import av
import pytest
import torch

from tests.nodes.clips import clip
from tests.nodes.test_video_source import HostVideo
from trip_core.codecs import CODECS
from trip_core.formats import Extras
from trip_core.sound import Sound
from trip_core.video_io import VideoWriter

OLD = ("get_components", "save_to")
NEW = (*OLD, "as_trimmed")
ANIMATIONS = ("animated WebP", "GIF", "animated PNG", "PNG sequence")


@pytest.fixture(params=[OLD, NEW], ids=["two methods", "three methods"])
def write(request, part, monkeypatch, tmp_path):
    """Write frames in a format; return them as the host's VIDEO."""
    asked = {name: abstractmethod(lambda *_: None) for name in request.param}
    base = ABCMeta("VideoInput", (), asked)

    def handed_on(kind):
        return lambda self, *given, **named: (kind, len(self.parts.images), given, named)

    class FromComponents:
        def __init__(self, parts):
            self.parts = parts

        save_to, as_trimmed = handed_on("saved"), handed_on("trimmed")

    class FromFile(HostVideo):
        def get_components(self):
            with av.open(self.file) as container:
                return self.get_components_internal(container)

        def save_to(self, path, **named):
            return ("copied", path, named)

    for name, content in {
        "comfy_api": {},
        "comfy_api.input": {"VideoInput": base},
        "comfy_api.input_impl": {"VideoFromComponents": FromComponents, "VideoFromFile": FromFile},
        "comfy_api.util": {"VideoComponents": SimpleNamespace},
    }.items():
        module = module_from_spec(ModuleSpec(name, None))
        module.__dict__.update(content)
        monkeypatch.setitem(sys.modules, name, module)

    def run(images, name, fps=12.5, sound=None):
        path = tmp_path / f"clip{CODECS[name].suffix}"
        with VideoWriter(path, fps, CODECS[name].format, Extras(sound=sound)) as writer:
            writer.add(images.movedim(-1, 1))
        return part("animation_video").animation_video(path, fps)

    return run


@pytest.mark.parametrize("name", ANIMATIONS)
def test_animations_are_videos(write, name):
    images = clip()
    video = write(images, name)
    parts = video.get_components()
    assert parts.images.shape == images.shape and parts.audio is None
    assert (parts.images - images).square().mean().sqrt() < 20 / 255
    assert parts.frame_rate == Fraction(25, 2)
    assert video.save_to("a.mp4", crf=3) == ("saved", 5, ("a.mp4",), {"crf": 3})
    trimmed = video.as_trimmed(start_time=0.1, duration=0.2)
    assert trimmed == ("trimmed", 5, (), {"start_time": 0.1, "duration": 0.2})


@pytest.mark.parametrize("name", ANIMATIONS)
@pytest.mark.parametrize("fps", [7.3, 30.0])
def test_equal_frames_are_all_there(write, name, fps):
    first, last = clip(2)
    images = torch.stack([first, first, first, last, first, first])
    again = write(images, name, fps).get_components().images
    assert len(again) == 6
    assert torch.equal(again[0], again[2]) and not torch.equal(again[2], again[3])


def test_files_are_left_to_the_host(write):
    video = write(clip(2), "mp4 (H.264)")
    assert type(video).__name__ == "FromFile" and video.file.endswith("clip.mp4")


@pytest.mark.parametrize("name", ["mov (ProRes)", "mkv (FFV1 lossless)"])
def test_files_for_editing_keep_their_channels_and_can_be_saved(write, name):
    left = torch.sin(torch.arange(17640) / 40) * 0.4
    heard = torch.stack([left, -left / 2])
    video = write(clip(), name, sound=Sound(heard, 44100))
    waveform = video.get_components().audio["waveform"]
    assert waveform.shape == (1, 2, 17640) and (waveform[0] - heard).abs().max() < 1e-4
    assert video.save_to("a.mp4", codec="h264") == ("saved", 5, ("a.mp4",), {"codec": "h264"})
    suffix = CODECS[name].suffix
    assert video.save_to(f"a{suffix}", metadata={}) == ("copied", f"a{suffix}", {"metadata": {}})
