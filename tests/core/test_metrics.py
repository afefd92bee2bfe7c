"""Laws of the metrics: known changes to a picture are measured as what they are."""

import json
import math

import pytest
import torch
import torch.nn.functional as F

from trip_core.metrics import ClipMeter, clip_report, direction_followed, psnr, sharpness_ratio
from trip_core.metrics.fidelity import (
    PSNR_CAP,
    brightness_drift,
    colour_drift,
    decibels,
    laplacian_energy,
    squared_error,
)
from trip_core.metrics.optical_flow import (
    DIRECTIONS,
    MEASURED_SIDE,
    CameraMotion,
    camera_motion,
    dis_flow,
    reduced,
)
from trip_core.metrics.regions import flow_error, mask_iou, motion_threshold, moving_region


def picture(size=(128, 128), seed=0):
    """Draw a picture with the spectrum of a photograph."""
    generator = torch.Generator().manual_seed(seed)
    height, width = size
    white = torch.randn(3, height, width, generator=generator)
    fy, fx = torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None]
    gain = (fy**2 + fx**2).sqrt().clamp_min(1 / width) ** -1.2
    image = torch.fft.irfft2(torch.fft.rfft2(white) * gain, s=size)
    return (0.5 + 0.15 * image / image.std()).clamp(0, 1)


def moved(image, x=0.0, y=0.0, zoom=0.0, roll=0.0):
    """Move the content of a picture: shift in short sides, log zoom, clockwise roll in radians."""
    height, width = image.shape[-2:]
    short = min(height, width)
    v, u = torch.meshgrid(
        (torch.arange(height) + 0.5 - height / 2) / short - y,
        (torch.arange(width) + 0.5 - width / 2) / short - x,
        indexing="ij",
    )
    cos, sin, shrink = math.cos(roll), math.sin(roll), math.exp(-zoom)
    u, v = shrink * (cos * u + sin * v), shrink * (-sin * u + cos * v)
    grid = torch.stack((u * short / (width / 2), v * short / (height / 2)), -1)[None]
    return F.grid_sample(image[None], grid, "bicubic", "reflection", False)[0].clamp(0, 1)


def clip(image, frames=4, **move):
    """Make a clip that reaches the given move in its last frame."""
    shares = [k / (frames - 1) for k in range(frames)]
    return [moved(image, **{name: s * size for name, size in move.items()}) for s in shares]


# Fidelity


def test_identical_pictures_have_the_highest_psnr():
    still = picture()
    assert psnr(still, still) == PSNR_CAP


def test_psnr_of_a_known_error():
    still = torch.full((3, 8, 8), 0.5)
    assert psnr(still + 0.1, still) == pytest.approx(20, abs=1e-3)


def test_psnr_pools_errors_before_the_logarithm():
    clean, bad = torch.zeros(3, 8, 8), torch.full((3, 8, 8), 0.1)
    pooled = psnr(torch.stack((clean, bad)), torch.zeros(2, 3, 8, 8))
    assert pooled == pytest.approx(decibels(0.005), abs=1e-4)


def test_a_mask_leaves_the_rest_out_and_an_empty_one_gives_nan():
    still = picture()
    broken = still.clone()
    broken[:, :, :64] = 0
    mask = torch.ones(1, 128, 128)
    mask[..., :64] = 0
    assert psnr(broken, still, mask) == PSNR_CAP
    assert math.isnan(psnr(broken, still, torch.zeros(1, 128, 128)))


def test_squared_errors_of_parts_add_up_to_the_whole():
    a, b = picture(seed=1), picture(seed=2)
    mask = (picture(seed=3)[:1] > 0.5).float()
    whole = squared_error(a, b)
    inside, outside = squared_error(a, b, mask), squared_error(a, b, 1 - mask)
    assert inside[0] + outside[0] == pytest.approx(whole[0])
    assert inside[1] + outside[1] == whole[1]


def test_sharpness_is_one_for_the_still_and_for_a_shift_by_whole_pixels_and_falls_with_blur():
    still = picture()
    blurred = F.avg_pool2d(still[None], 3, 1, 1)[0]
    assert sharpness_ratio(still, still) == 1
    assert sharpness_ratio(still.roll(7, -1), still) == pytest.approx(1, abs=0.05)
    assert sharpness_ratio(blurred, still) < 0.3
    assert math.isnan(sharpness_ratio(still, torch.full_like(still, 0.5)))


def test_laplacian_energy_ignores_brightness_and_slopes():
    slope = torch.linspace(0, 1, 32).expand(3, 32, 32)
    assert laplacian_energy(slope) < 1e-9


def test_colour_drift_of_a_known_gain():
    still = picture() * 0.8
    for gain in (1.1, 0.9):
        expected = abs(gain - 1) * still.mean((1, 2)).square().mean().sqrt().item()
        assert colour_drift(gain * still, still) == pytest.approx(expected, rel=1e-4)
    assert colour_drift(still, still) == 0


def test_a_shift_towards_red_is_colour_drift_and_brightness_has_a_sign():
    still = torch.full((3, 16, 16), 0.5)
    red = still.clone()
    red[0] += 0.1
    assert colour_drift(red, still) == pytest.approx(0.1 / math.sqrt(3), rel=1e-4)
    assert brightness_drift(red, still) == pytest.approx(0.02126, rel=1e-3)
    assert brightness_drift(still - 0.1, still) == pytest.approx(-0.1, rel=1e-4)


# Optical flow and camera


def test_flow_of_content_that_moves_right_and_down_is_positive():
    still = picture()
    flow = dis_flow(still, moved(still, x=3 / 128, y=2 / 128))[:, 24:-24, 24:-24]
    x, y = flow.flatten(1).median(1).values.tolist()
    assert x == pytest.approx(3, abs=0.2)
    assert y == pytest.approx(2, abs=0.2)


@pytest.mark.parametrize(
    "move",
    [
        {"x": 0.05},
        {"x": -0.05},
        {"y": 0.05},
        {"y": -0.05},
        {"zoom": 0.1},
        {"zoom": -0.1},
        {"roll": 0.08},
        {"roll": -0.08},
        {"x": 0.03, "y": -0.02, "zoom": 0.05, "roll": -0.03},
    ],
)
@pytest.mark.parametrize("size", [(128, 128), (112, 160)])
def test_the_camera_move_of_a_clip_is_recovered(move, size):
    still = picture(size)
    camera = clip_report(still, clip(still, **move)).camera
    for name in ("x", "y", "zoom", "roll"):
        assert getattr(camera, name) == pytest.approx(move.get(name, 0.0), abs=0.008), name


def test_the_camera_fit_is_exact_for_an_exact_flow_and_forgives_a_moving_part():
    still = picture()
    place = (torch.arange(128) + 0.5 - 64) / 128
    py, px = torch.meshgrid(place, place, indexing="ij")
    flow = 128 * torch.stack((0.02 + 0.03 * px + 0.01 * py, -0.01 + 0.03 * py - 0.01 * px))
    assert camera_motion(flow, still).zoom == pytest.approx(0.03, abs=1e-5)
    flow[:, 40:70, 40:70] = 20.0
    camera = camera_motion(flow, still)
    assert camera.x == pytest.approx(0.02, abs=1e-3)
    assert camera.y == pytest.approx(-0.01, abs=1e-3)
    assert camera.zoom == pytest.approx(0.03, abs=3e-3)
    assert camera.roll == pytest.approx(-0.01, abs=3e-3)


@pytest.mark.parametrize("kind", DIRECTIONS)
def test_each_direction_is_followed_by_its_move_and_by_no_other(kind):
    size = {"x": 0.05, "y": 0.05, "zoom": 0.08, "roll": 0.08}
    name, sign = DIRECTIONS[kind]
    for other, extent in size.items():
        for turn in (-1, 1):
            camera = CameraMotion(**{other: turn * extent})
            assert direction_followed(kind, camera) == (other == name and turn == sign)


def test_a_direction_needs_extent_and_must_be_the_largest():
    assert not direction_followed("pan_left", CameraMotion())
    assert not direction_followed("pan_left", CameraMotion(x=0.003))
    assert not direction_followed("pan_left", CameraMotion(x=0.05, y=0.1))
    with pytest.raises(ValueError, match=r"pan_left.*'snow'"):
        direction_followed("snow", CameraMotion())


def test_conventions_of_the_camera():
    """Pans left: content goes right. Tilts up: down. Rolls clockwise: counter-clockwise."""
    still = picture()
    for kind, move in (
        ("pan_left", {"x": 0.06}),
        ("tilt_up", {"y": 0.06}),
        ("zoom_in", {"zoom": 0.12}),
        ("rotate_cw", {"roll": -0.1}),
    ):
        assert direction_followed(kind, clip_report(still, clip(still, **move)).camera)


def test_large_frames_are_measured_smaller_and_reported_in_their_own_pixels():
    large = picture((MEASURED_SIDE * 2, MEASURED_SIDE * 2))
    small, scale = reduced(large)
    assert small.shape[-2:] == (MEASURED_SIDE, MEASURED_SIDE)
    assert scale == 2
    report = clip_report(large, [large, large.roll(6, -1)])
    assert report.motion == pytest.approx(6, abs=0.5)


def test_flow_refuses_frames_that_differ():
    with pytest.raises(ValueError, match=r"\(3, 32, 32\) and \(3, 32, 33\)"):
        dis_flow(torch.zeros(3, 32, 32), torch.zeros(3, 32, 33))


# Regions and true flow


def test_flow_error_of_the_truth_is_zero_and_of_no_motion_is_its_length():
    truth = torch.zeros(1, 2, 3, 8, 8)
    truth[:, 0], truth[:, 1] = 3, 4
    assert flow_error(truth, truth) == 0
    assert flow_error(torch.zeros_like(truth), truth) == 5


def test_flow_error_counts_only_what_is_visible():
    truth = torch.zeros(1, 2, 1, 8, 8)
    wrong = truth.clone()
    wrong[..., 4:] = 9
    visible = torch.ones(1, 1, 1, 8, 8)
    visible[..., 4:] = 0
    assert flow_error(wrong, truth, visible) == 0
    assert math.isnan(flow_error(wrong, truth, torch.zeros_like(visible)))


def test_iou_of_known_masks():
    mask, other = torch.zeros(1, 4, 4, dtype=torch.bool), torch.zeros(1, 4, 4, dtype=torch.bool)
    mask[:, :2], other[:, 1:3] = True, True
    assert mask_iou(mask, mask) == 1
    assert mask_iou(mask, other) == pytest.approx(1 / 3)
    assert mask_iou(mask, ~mask) == 0
    assert mask_iou(mask & ~mask, mask & ~mask) == 1
    with pytest.raises(ValueError, match="one shape"):
        mask_iou(mask, other[:, :2])


def test_the_moving_region_sees_waves_that_return():
    flow = torch.zeros(1, 2, 3, 8, 8)
    flow[:, 1, 1, 4:] = 5.0  # up in the middle frame, back in the last
    threshold = motion_threshold(flow)
    assert threshold == pytest.approx(0.75)
    assert moving_region(flow, threshold)[0, 4:].all()
    assert not moving_region(flow, threshold)[0, :4].any()


# Reports


def test_a_frozen_clip_is_flagged_and_scores_perfectly_otherwise():
    still = picture()
    report = clip_report(still, still.expand(5, -1, -1, -1))
    assert report.frozen
    assert report.motion == 0
    assert report.first_frame_psnr == PSNR_CAP
    assert report.colour_drift == 0
    assert report.sharpness == 1


def test_a_moving_clip_and_a_flickering_one_are_not_frozen():
    still = picture()
    assert not clip_report(still, clip(still, x=0.05)).frozen
    assert not clip_report(still, [still, (still * 0.9), still]).frozen


def test_motion_is_in_pixels_a_frame():
    still = picture()
    report = clip_report(still, [still.roll(2 * k, -1) for k in range(4)])
    assert report.motion == pytest.approx(2, abs=0.3)


def test_the_meter_passes_frames_on_and_agrees_with_the_whole():
    still = picture()
    frames = clip(still, x=0.05)
    meter = ClipMeter(still)
    assert all(a is b for a, b in zip(meter.watch(frames), frames, strict=True))
    assert meter.report() == clip_report(still, torch.stack(frames))


def test_the_report_is_json_and_a_line():
    still = picture()
    report = clip_report(still, clip(still, zoom=0.05))
    assert json.loads(json.dumps(report.to_dict()))["camera"]["zoom"] > 0
    assert "dB" in str(report)


def test_wrong_frames_are_refused_with_both_sizes():
    still = picture()
    with pytest.raises(ValueError, match=r"\(3, 128, 128\).*\(3, 64, 64\)"):
        clip_report(still, [torch.zeros(3, 64, 64)])
    with pytest.raises(ValueError, match="at least one frame"):
        clip_report(still, [])
    with pytest.raises(ValueError, match="one shape"):
        psnr(still, still[:, :64])
