"""Wrong use of Video Combine: each time one sentence, before a file is begun."""

import pytest
import torch

from tests.nodes.clips import clip


def test_a_gif_too_fast_for_players_is_refused(combine, folder):
    with pytest.raises(ValueError, match="at most 50"):
        combine(images=clip(), format="GIF", fps=60)
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
