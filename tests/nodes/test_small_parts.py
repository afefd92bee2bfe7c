"""The parts of the nodes that need no host."""

import re
import time

import pytest
import torch

from tests.nodes.conftest import PACK
from tests.tiny import save_tiny
from trip_core.metrics.by_frame import FrameSeries
from trip_core.prior import PriorWeights
from trip_core.stills import read_still
from trip_core.trip_file import load_model

ASSETS = PACK / "assets" / "stills"


def picture(height=64, width=96):
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, 6, 8, generator=generator)
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic")[0].clamp(0, 1)


# Held stills


def test_windows_of_a_clip_read_their_own_frames(part):
    held_still = part("held_still")
    held = held_still.HeldStill(torch.zeros(1, 4, 2, 3), 5, PriorWeights(1, 0, 0))
    warped = torch.arange(5.0).view(1, 1, 5, 1, 1).expand(1, 4, 5, 2, 3)
    bound = held_still.BoundStill(held, torch.zeros(1, 4, 2, 3), warped, warped[:, :1], None)
    arguments = bound.arguments(2, [2, 4])
    assert arguments["warped"].shape == (2, 4, 2, 2, 3)
    assert arguments["warped"][1, 0, :, 0, 0].tolist() == [2, 4]
    weight = arguments["prior"](2, torch.tensor([0.5, 0.5]))
    assert weight.flatten().tolist() == pytest.approx([0.5, 0, 0.5, 0])


def test_painted_places_have_full_weight(part):
    kept = torch.zeros(1, 1, 2, 3)
    kept[..., 0] = 1
    prior = part("held_still").WindowedPrior(PriorWeights(1, 0, 0), 3, [0, 1, 2], kept)
    weight = prior(3, torch.tensor([0.5]))
    assert weight[0, 0, :, 0, 0].tolist() == [1, 1, 1]
    assert weight[0, 0, :, 0, 1].tolist() == [1, 0.5, 0]


def test_holding_changes_no_one_elses_conditioning(part):
    values = {"pooled_output": None}
    conditioning = [[torch.zeros(1, 2, 4), values]]
    held = part("held_still").hold(conditioning, "still")
    assert held[0][1]["trip"] == "still" and "trip" not in values


def test_a_text_is_projected_once_while_it_and_the_weights_stay(part):
    made, hooked = [], []
    kept = part("kept_text").KeptText(lambda: bool(hooked))

    def make(text, image):
        made.append((text, image))
        return len(made)

    text, image = torch.randn(1, 3, 4), torch.randn(1, 2, 4)
    assert [kept(make, text.clone(), image.clone()) for _ in range(3)] == [1, 1, 1]
    assert kept(make, text + 1, image) == 2  # another text
    assert kept(make, torch.cat((text, text)), image) == 3  # another batch
    assert kept(make, text.double(), image) == 4  # another type
    assert kept(make, text.double(), image + 1) == 5  # another picture
    hooked.append(True)
    assert [kept(make, text, image) for _ in range(2)] == [6, 7]  # weights change each step
    hooked.clear()
    assert kept(make, text.double(), image + 1) == 5


# The still


@pytest.mark.parametrize(
    ("width", "height", "fit", "size"),
    [
        (0, 0, "crop", (64, 96)),
        (48, 0, "crop", (32, 48)),
        (0, 32, "crop", (32, 48)),
        (40, 40, "crop", (40, 40)),
        (40, 40, "pad", (40, 40)),
        (40, 40, "stretch", (40, 40)),
        (40, 40, "overscan", (40, 40)),
    ],
)
def test_stills_are_fitted(part, width, height, fit, size):
    image = picture().movedim(0, -1)[None]
    still = part("still_fit").fit_image(image, width, height, fit)
    assert tuple(still.shape) == (3, *size)
    mask = torch.zeros(1, 64, 96)
    assert tuple(part("still_fit").fit_mask(mask, image, still, fit).shape) == (1, 1, *size)


def test_borders_are_kept_in_place(part):
    image = picture().movedim(0, -1)[None]
    still = part("still_fit").fit_image(image, 60, 60, "pad")
    assert still[:, :8].max() == 0
    mask = part("still_fit").fit_mask(torch.zeros(1, 64, 96), image, still, "pad")
    assert mask[0, 0, :8].min() == 1 and mask[0, 0, 30].max() == 0


# Previews


def test_latents_have_the_colours_of_their_pixels(part, tmp_path):
    vae = load_model(save_tiny(tmp_path / "tiny.safetensors")).vae
    factors, bias = part("host_trip").preview_colours(vae)
    assert len(factors) == 16 and len(factors[0]) == len(bias) == 3
    grey = torch.zeros(1, 3, 32, 32)
    red = torch.tensor([0.6, -0.4, -0.4]).view(1, 3, 1, 1).expand(1, 3, 32, 32)
    for pixels in (grey, red):
        latents = vae.encode(pixels)[0, :, 2, 2]
        seen = latents @ torch.tensor(factors) + torch.tensor(bias)
        assert (seen - pixels[0, :, 0, 0]).abs().max() < 0.15


def test_previews_of_the_built_in_model_have_the_stills_colours(part):
    vae = load_model().vae
    still = read_still(ASSETS / "ship.jpg")[None]
    still = torch.nn.functional.interpolate(still, (256, 256), mode="area")
    factors, bias = map(torch.tensor, part("host_trip").preview_colours(vae))
    with torch.no_grad():
        seen = vae.encode(still * 2 - 1).movedim(1, -1) @ factors + bias
    truth = torch.nn.functional.avg_pool2d(still * 2 - 1, vae.downscale).movedim(1, -1)
    assert (seen - truth).square().mean().sqrt() * 127.5 < 8  # levels of 255


@pytest.mark.parametrize(("frames", "shape"), [(1, (1, 1)), (2, (1, 2)), (4, (2, 2)), (16, (3, 3))])
def test_the_sheet_shows_the_whole_clip(part, frames, shape):
    class Format:
        latent_rgb_factors = [[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0], [0, 0, 0]]  # noqa: RUF012
        latent_rgb_factors_bias = None

    x0 = torch.linspace(-1, 1, frames).view(-1, 1, 1, 1).expand(-1, 4, 6, 6)
    sheet = part("sheet").contact_sheet(x0, Format())
    assert sheet.size == (6 * shape[1], 6 * shape[0])
    if frames == 16:
        assert sheet.getpixel((0, 0)) == (0, 0, 0) and sheet.getpixel((17, 17)) == (255, 255, 255)


def test_previews_keep_a_pace_and_end_with_the_last_step(part, monkeypatch):
    sheet, clock = part("sheet"), iter([10.0, 10.1, 10.19, 10.2, 10.3, 10.31])
    monkeypatch.setattr(sheet.time, "monotonic", lambda: next(clock))
    pace = sheet.Pace(0.2)
    shown = [pace.is_due(last) for last in (False,) * 5 + (True,)]
    assert shown == [True, False, False, True, False, True]


# Image Noise Prior (any model)


def fused(part, monkeypatch, x0, latent, weights, mask=None, sigma=1.0):
    monkeypatch.setattr(part("host"), "signal_power", lambda _, s: 1 / (1 + s**2))
    function = part("apply_noise_prior").towards_still(latent, weights, mask)
    return function(None, x0, torch.full((len(x0),), sigma))


def test_frame_batches_and_video_latents_are_fused_alike(part, monkeypatch):
    x0, still = torch.randn(4, 3, 5, 6), torch.randn(1, 3, 5, 6)
    weights = PriorWeights(1, 0, 0)
    flat = fused(part, monkeypatch, x0, still, weights)
    video = fused(part, monkeypatch, x0.movedim(0, 1)[None], still[:, :, None], weights)
    torch.testing.assert_close(flat, video[0].movedim(1, 0))
    assert torch.equal(flat[0], still[0]) and torch.equal(flat[3], x0[3])


def test_a_mask_keeps_and_time_lets_go(part, monkeypatch):
    x0, still = torch.randn(4, 3, 4, 4), torch.randn(1, 3, 4, 4)
    mask = torch.zeros(1, 8, 8)
    mask[:, :4] = 1
    out = fused(part, monkeypatch, x0, still, PriorWeights(0.5, 0.5, 1.0), mask, sigma=0.01)
    assert torch.equal(out[:, :, :2], still[:, :, :2].expand(4, -1, -1, -1))
    torch.testing.assert_close(out[:, :, 2:], x0[:, :, 2:], atol=1e-3, rtol=0)


def test_a_still_of_another_size_is_refused(part, monkeypatch):
    with pytest.raises(ValueError, match="encode the still"):
        fused(part, monkeypatch, torch.zeros(4, 3, 5, 6), torch.zeros(1, 3, 6, 6), PriorWeights())


@pytest.mark.parametrize(
    ("still", "image", "words"),
    [
        (None, None, "connect the still once"),
        ({"samples": 0}, torch.zeros(1, 8, 8, 3), "connect the still once"),
        (None, torch.zeros(1, 8, 8, 3), "connect vae"),
    ],
)
def test_the_still_comes_from_one_place(part, still, image, words):
    with pytest.raises(ValueError, match=words):
        part("apply_noise_prior").still_latent(still, image, None)


def test_colours_hidden_under_alpha_stay_hidden(part):
    vae = type("Pixels", (), {"encode": lambda _, pixels: pixels.movedim(-1, 1)})()
    image = torch.tensor([1.0, 0.0, 0.0, 0.25]).expand(1, 8, 8, 4)
    latent = part("apply_noise_prior").still_latent(None, image, vae)
    assert latent[0, :, 0, 0].tolist() == [1.0, 0.75, 0.75]


# Animation Report


def test_a_frozen_clip_is_called_frozen(nodes, folder, part, monkeypatch):
    del folder
    monkeypatch.setattr(
        part("host_targets"), "show", lambda images: [{"filename": str(images.shape)}]
    )
    still = picture().movedim(0, -1)[None]
    out = nodes["TRIP_AnimationReport"]().report(still.expand(4, -1, -1, -1), still)
    text, plot = out["result"]
    assert "frozen" in text and "100.0 dB" in text
    assert plot.shape == (1, 650, 768, 3)  # drift, change and motion


def test_drift_and_a_foreign_first_frame_are_named(nodes, folder, part, monkeypatch):
    del folder
    monkeypatch.setattr(part("host_targets"), "show", lambda images: [len(images)])
    still = picture().movedim(0, -1)[None] * 0.5
    frames = torch.cat([still + 0.08 * k for k in range(1, 5)])
    text = nodes["TRIP_AnimationReport"]().report(frames, still)["result"][0]
    assert "not the still" in text and "Colours drift" in text


def test_a_still_with_transparency_is_the_picture_over_white(nodes, folder, part, monkeypatch):
    del folder
    monkeypatch.setattr(part("host_targets"), "show", lambda images: [len(images)])
    rgb, alpha = picture(), torch.linspace(0, 1, 96).expand(1, 64, -1)
    still = torch.cat([rgb, alpha]).movedim(0, -1)[None]  # [1, H, W, 4]
    over_white = (rgb * alpha + 1 - alpha).movedim(0, -1)[None].expand(4, -1, -1, -1)
    report = nodes["TRIP_AnimationReport"]().report
    for frames in (over_white, still.expand(4, -1, -1, -1)):
        assert "100.0 dB" in report(frames, still)["result"][0]


def test_grey_clips_are_measured(nodes, folder, part, monkeypatch):
    del folder
    monkeypatch.setattr(part("host_targets"), "show", lambda images: [len(images)])
    grey = picture()[:1].movedim(0, -1)[None]
    for still in (grey, grey.expand(-1, -1, -1, 3)):
        text = nodes["TRIP_AnimationReport"]().report(grey.expand(4, -1, -1, -1), still)["result"][
            0
        ]
        assert "100.0 dB" in text


def test_the_plots_curves_leave_their_names_readable(part):
    flat = [0.0, 0.025] + [0.0235] * 14
    series = FrameSeries(first_frame_psnr=40.0, colour=flat, brightness=flat, change=flat)
    picture = part("report_plot").draw_series(series)
    for top in (28, 202):
        beside_the_names = picture.crop((400, top + 4, 740, top + 22))
        assert len(beside_the_names.getcolors()) == 1


def test_without_opencv_the_report_says_so(part, monkeypatch):
    del part
    from trip_core.metrics import by_frame

    def missing(*_):
        raise ImportError("No module named 'cv2'")

    monkeypatch.setattr(by_frame, "dis_flow", missing)
    still = picture()
    series = by_frame.frame_series(still, [still, still.roll(1, 2), still.roll(2, 2)])
    assert series.motion == [] and "not measured" in str(series)
    assert series.change[2] > 0


# Names and texts


def test_dates_in_prefixes(part):
    text = part("host_targets").with_date("a/%date:yyyy-MM-dd%/%date:hhmm%_b")
    assert re.fullmatch(r"a/\d{4}-\d\d-\d\d/\d{4}_b", text)
    assert text.startswith(f"a/{time.strftime('%Y')}")


def test_numbers_that_no_parser_reads_become_null(part):
    assert part("host").finite({"a": [float("nan"), 1.5, {"b": float("inf")}]}) == {
        "a": [None, 1.5, {"b": None}]
    }


def test_a_later_windows_first_frame_is_not_the_clips(part):
    """The clip's first frame alone is never let go."""
    prior = part("held_still").WindowedPrior(PriorWeights(1, 1, 0, 1), 6, [3, 4, 5], None)
    assert prior(3, torch.tensor([0.75])).flatten().tolist() == [0.25] * 3
    prior = part("held_still").WindowedPrior(PriorWeights(1, 1, 0, 1), 6, [0, 1, 2], None)
    assert prior(3, torch.tensor([0.75])).flatten().tolist() == [1, 0.25, 0.25]
