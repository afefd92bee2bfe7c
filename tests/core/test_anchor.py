"""Laws of the anchor: the still, moved, with kept places."""

import pytest
import torch

from trip_core.anchor import Anchor
from trip_core.nn.motion_field import MOTION_PARAMETERS, StillMotion


def panning(size=(32, 48), pan=0.2):
    """Return a motion that pans."""
    parameters = torch.zeros(1, len(MOTION_PARAMETERS))
    parameters[0, list(MOTION_PARAMETERS).index("pan")] = pan
    regions = torch.zeros(1, 4, *size)
    regions[:, 0] = 1
    return StillMotion(parameters, regions, torch.zeros(1, 1, *size))


def picture(height=64, width=96):
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, 6, 8, generator=generator)
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic")[0].clamp(0, 1)


def test_the_first_frame_is_the_still_and_kept_places_stay():
    still = picture()
    kept = torch.zeros(1, 1, 64, 96)
    kept[..., :32] = 1
    frames = list(Anchor(still, panning(), 4, kept).frames())
    assert torch.equal(frames[0], still)
    assert torch.equal(frames[3][..., :32], still[..., :32])
    assert (frames[3][..., 40:] - still[..., 40:]).abs().mean() > 0.02


def test_kept_places_can_be_trusted_and_those_that_come_into_view_not():
    kept = torch.zeros(1, 1, 32, 48)
    kept[:, :, :8] = 1
    visible = Anchor(picture(), panning(), 4, kept).visibility((16, 24))
    assert visible.shape == (1, 1, 4, 16, 24)
    assert visible[0, 0, 0].min() == 1
    edge = visible[0, 0, 3, :, -1]
    assert edge[0] == 1 and edge[-1] == 0


def test_overscan_never_leaves_the_picture():
    anchor = Anchor(picture(), panning(), 4, overscan=True)
    assert anchor.view < 1
    assert anchor.visibility((16, 24)).min() > 0.99
    assert len(list(anchor.frames())) == 4


def test_latents_are_encoded_in_parts_as_the_frames_come():
    anchor, seen, encoded = Anchor(picture(), panning(), 5), [], []

    def watched(frames):
        for frame in frames:
            seen.append(len(encoded))
            yield frame

    def encode(pixels):
        encoded.append(len(pixels))
        return pixels[..., ::8, ::8]

    latents, visibility = anchor.latents(encode, watch=watched)
    assert seen == [0, 0, 1, 1, 2] and encoded == [2, 2, 1]
    assert visibility.shape == (1, 1, 5, 8, 12)
    whole = torch.stack(list(anchor.frames())) * 2 - 1
    assert torch.equal(latents, whole[..., ::8, ::8])


def test_encoding_ends_where_the_watcher_raises():
    encoded = []

    def cancelled(frames):
        yield from (next(frames) for _ in range(4))
        raise InterruptedError

    with pytest.raises(InterruptedError):
        anchor = Anchor(picture(), panning(), 400)
        anchor.latents(lambda pixels: encoded.append(1) or pixels, watch=cancelled)
    assert len(encoded) == 2
