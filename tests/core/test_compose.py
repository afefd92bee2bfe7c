"""Laws of the composition: the still's own pixels, moved."""

import pytest
import torch
import torch.nn.functional as F

from trip_core.compose import (
    _local_mean,
    complete,
    compose,
    needs_generated,
    overscan_view,
    refine,
)
from trip_core.nn.motion_field import MOTION_PARAMETERS, SKY, StillMotion


def picture(height=96, width=128):
    """A bright sky over dark ground, textured."""
    generator = torch.Generator().manual_seed(0)
    image = 0.1 * torch.rand(3, height, width, generator=generator)
    image[:, : height // 2] += 0.8
    return image


def motion_of(**moves):
    regions = torch.zeros(1, 4, 24, 32)
    regions[:, SKY, :12] = 1
    regions[:, 0, 12:] = 1
    values = [moves.get(name, 0.0) for name in MOTION_PARAMETERS]
    return StillMotion(torch.tensor([values]), regions, torch.full((1, 1, 24, 32), 0.5))


def test_the_first_frame_is_the_still_bit_for_bit():
    still = picture()
    assert torch.equal(next(iter(compose(still, motion_of(pan=0.2, sky_x=0.1), 4))), still)


def test_without_motion_every_frame_is_the_still():
    still = picture()
    for frame in compose(still, motion_of(), 3):
        assert torch.allclose(frame, still, atol=1e-4)


def test_a_whole_pixel_pan_moves_the_stills_own_pixels():
    still = picture()
    *_, last = compose(still, motion_of(pan=12 / 96), 4)
    assert torch.allclose(last[:, :, :-12], still[:, :, 12:], atol=1e-3)
    # The edge that comes into view is the picture mirrored.
    assert torch.allclose(last[:, :, -12:], still[:, :, -12:].flip(-1), atol=1e-3)


def test_the_ground_stays_while_the_sky_drifts():
    still = picture()
    *_, last = compose(still, motion_of(sky_x=12 / 96), 16)
    assert torch.allclose(last[:, 52:], still[:, 52:], atol=2e-3)
    assert torch.allclose(last[:, 4:40, 14:], still[:, 4:40, 2:-12], atol=2e-3)


def test_refinement_follows_the_stills_edges():
    still = picture()
    fine = refine(motion_of(), still)
    assert fine.regions.shape == (1, 4, 96, 128)
    assert (fine.regions[0, SKY, :46] > 0.9).all() and (fine.regions[0, SKY, 50:] < 0.1).all()


def test_completion_keeps_what_is_known():
    still = picture()
    known = torch.zeros(96, 128, dtype=torch.bool)
    known[:48] = True
    filled = complete(still, known)
    assert torch.equal(filled[:, :46], still[:, :46])
    assert filled[:, 50:].mean() > 0.7  # the ground is gone: sky everywhere
    assert torch.equal(complete(still, torch.zeros_like(known)), still)


def test_overscan_never_leaves_the_picture():
    still = picture()
    motion = motion_of(pan=0.1, roll=0.05)
    view = overscan_view(motion, 5)
    assert 0.6 < view < 0.95
    first = next(iter(compose(still, motion, 5, "overscan")))
    assert first.shape == still.shape and not torch.equal(first, still)
    assert overscan_view(motion_of(), 5) == 1.0


def test_generated_pixels_appear_only_where_the_still_shows_nothing():
    still = picture()
    generated = torch.zeros(4, 3, 24, 32)
    generated[:, 1] = 1  # green
    motion = motion_of(pan=24 / 96)
    *_, last = compose(still, motion, 4, "generate", generated)
    assert last[1, :, -8:].min() > 0.95 and last[0, :, -8:].max() < 0.05
    *_, mirrored = compose(still, motion, 4)
    assert torch.allclose(last[:, :, :80], mirrored[:, :, :80], atol=1e-3)


@pytest.mark.parametrize("edges", ["mirror", "generate", "overscan"])
def test_weather_and_light_come_from_the_generated_frames(edges):
    """What is finer than their pixels stays the still's own."""
    still, motion = picture(), motion_of(pan=0.1, flicker=0.5)
    plain = list(compose(still, motion_of(pan=0.1), 4, "mirror" if edges == "generate" else edges))
    small = [F.interpolate(frame[None], (24, 32), mode="area")[0] for frame in plain]
    generated = torch.stack(small) + 0.2
    for index, frame in enumerate(compose(still, motion, 4, edges, generated)):
        change = (frame - plain[index])[:, 4:-4, 4:-40]
        assert abs(change.mean() - (0.0 if index == 0 and edges != "overscan" else 0.1)) < 0.01
        assert change.std() < 0.02


def test_generated_frames_are_asked_for_only_where_they_show():
    assert not needs_generated(motion_of(pan=0.1), "mirror")
    assert needs_generated(motion_of(pan=0.1), "generate")
    assert needs_generated(motion_of(snow=0.1), "mirror")
    frames = compose(picture(), motion_of(pan=0.1), 3, "mirror", torch.zeros(3, 3, 24, 32))
    for frame, expected in zip(frames, compose(picture(), motion_of(pan=0.1), 3), strict=True):
        assert torch.equal(frame, expected)


def test_wrong_use_is_refused():
    still = picture()
    with pytest.raises(ValueError, match="edges must be one of mirror"):
        compose(still, motion_of(), 4, "torus")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="needs 4 generated frames; got none"):
        compose(still, motion_of(), 4, "generate")


def test_a_mast_before_the_sky_and_a_pale_wall_behind_roofs_stay():
    still = picture(256, 256)
    still[:, :128, 200:203] = 0.1  # a mast, too thin for the maps
    motion = motion_of()
    motion.regions[0, SKY, 16:19, 4:9] = 1  # taken for sky, enclosed by the ground
    motion.regions[0, 0, 16:19, 4:9] = 0
    sky = refine(motion, still).regions[0, SKY]
    assert sky[10:100, 201].max() < 0.3
    assert sky[10:100, 150:180].min() > 0.9
    assert sky[180:190, 40:60].max() < 0.1


@pytest.mark.parametrize("window", [5, 15])
def test_a_local_mean_is_that_of_its_window(window):
    x = torch.rand(2, 3, 31, 47, generator=torch.Generator().manual_seed(0))
    whole = F.avg_pool2d(x, window, 1, window // 2, count_include_pad=False)
    torch.testing.assert_close(_local_mean(x, window), whole)
