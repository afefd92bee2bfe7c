"""Laws of the pipeline: one still through the house, on real classes at tiny sizes."""

from dataclasses import replace

import pytest
import torch

from tests.core.tiny_model import MOVES
from trip_core.data.captions import vocabulary
from trip_core.fusion import FusionConfig
from trip_core.intent import settle
from trip_core.nn.autoencoder import TinyAutoencoder
from trip_core.nn.motion import MotionConfig, MotionNetwork
from trip_core.nn.motion_field import MOTION_PARAMETERS
from trip_core.nn.text import TextConfig, TextEncoder
from trip_core.pipeline import Model, SamplingDefaults, animate, fit_to_model
from trip_core.systems.trip import PRESETS, TRIP


def tiny_model(preset="small"):
    config = PRESETS[preset]
    unet = replace(
        config.unet,
        block_out_channels=(16, 32),
        cross_attention_dim=16,
        attention_head_dim=8,
        norm_num_groups=8,
    )
    fusion = FusionConfig(channels=16, width=16, num_heads=2, patch_size=2)
    config = replace(config, unet=unet, fusion_config=fusion)
    generator = torch.Generator().manual_seed(3)
    motion = None
    if config.motion:
        motion = MotionNetwork(MotionConfig((8, 16), 8, 1, 16))
        for parameter in motion.parameters():  # untrained it would not move
            torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    text = TextEncoder(TextConfig(tuple(vocabulary()), 16, 1, 2))
    defaults = SamplingDefaults(3, 2.0, 32, tuple(MOVES))
    parts = (TRIP(config).eval(), TinyAutoencoder().eval(), text.eval())
    return Model(*parts, None if motion is None else motion.eval(), {}, defaults)


@pytest.fixture(scope="module")
def model():
    return tiny_model()


def a_still(height=64, width=80):
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(1))


def test_the_first_frame_is_the_still_at_its_own_resolution(model):
    still = a_still(65, 83)
    clip = animate(model, still, "slow zoom in", num_frames=4)
    frames = list(clip.frames)
    assert len(frames) == 4 and all(f.shape == still.shape for f in frames)
    assert torch.equal(frames[0], still)
    assert clip.latents is None and "sample" not in clip.seconds


def test_weather_is_sampled_and_shows(model):
    """They displace nothing: no plate can give them. The tiny model reads them from any words."""
    defaults = replace(model.defaults, understood=("snow", "rain", "flicker"))
    snowy = replace(model, defaults=defaults)
    clip = animate(snowy, a_still(), "slow zoom in", num_frames=3)
    assert clip.latents is not None and clip.motion is not None
    assert float(clip.motion.parameters.abs().max()) > 0
    first, *_, last = clip.frames
    assert torch.equal(first, a_still()) and (last - first).abs().mean() > 0.01


def test_the_same_seed_gives_the_same_clip_and_another_another(model):
    def run(seed):
        clip = animate(model, a_still(), "waves", num_frames=3, seed=seed, edges="generate")
        return clip.latents, torch.stack(list(clip.frames))

    first, again, other = run(0), run(0), run(1)
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])


def test_a_model_without_motion_samples_whole_frames_at_its_own_size():
    model = tiny_model("small_paper")
    clip = animate(model, a_still(64, 96), "waves", num_frames=3)
    frames = list(clip.frames)
    assert clip.motion is None and clip.latents.shape == (1, 16, 3, 4, 6)
    assert len(frames) == 3 and frames[0].shape == (3, 32, 48)
    with pytest.raises(ValueError, match="motion network"):
        animate(model, a_still(), edges="overscan")


def test_a_step_can_cancel(model):
    seen = []

    def stop(step):
        seen.append(step.index)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        animate(model, a_still(), num_frames=2, edges="generate", on_step=stop)
    assert seen == [0]


def test_held_back_motion_does_nothing(model):
    none = replace(model, defaults=replace(model.defaults, understood=()))
    motion = animate(none, a_still(), "the camera pans left", num_frames=2).motion
    assert not motion.parameters.any()
    only = replace(model, defaults=replace(model.defaults, understood=("pan",)))
    motion = animate(only, a_still(), "the camera pans left", num_frames=2).motion
    moved = motion.parameters[0].nonzero().flatten().tolist()
    assert moved in ([], [list(MOTION_PARAMETERS).index("pan")])


def test_motion_strength_scales_the_motion(model):
    once = animate(model, a_still(), "waves", num_frames=2).motion.parameters
    twice = animate(model, a_still(), "waves", num_frames=2, motion_strength=2.0).motion.parameters
    assert torch.allclose(2 * once, twice) and once.any()


def test_a_tremor_is_no_motion():
    motion = animate(tiny_model(), a_still(), "waves", num_frames=2).motion
    usual = torch.tensor([list(MOTION_PARAMETERS.values())])
    trembling = replace(motion, parameters=0.03 * usual)
    assert not settle(trembling).parameters.any()
    assert torch.equal(settle(replace(motion, parameters=usual)).parameters, usual)


def test_decays_let_go_of_the_frames_after_the_first(model):
    """Also where the model's own weights are 1 throughout, as those of the small model are."""

    def latents(**options):
        return animate(model, a_still(), "waves", num_frames=3, edges="generate", **options).latents

    as_trained = latents()
    for options in ({"prior_decay": 1.0}, {"prior_frames_decay": 1.0}):
        assert (latents(**options) - as_trained).abs().max() > 0.01, options


@pytest.mark.parametrize("preset", ["small", "small_paper"])
def test_masked_places_stay_as_in_the_still(preset):
    model, still, mask = tiny_model(preset), a_still(64, 64), torch.zeros(1, 64, 64)
    mask[..., :32] = 1
    options = {"prior_strength": 0.0, "prior_decay": 1.0, "motion_strength": 4.0}
    clip = animate(
        model,
        still,
        "waves",
        num_frames=3,
        edges="generate" if model.motion else "mirror",
        mask=mask,
        **options,
    )
    frames = torch.stack(list(clip.frames))
    if model.motion is not None:
        assert torch.equal(frames[..., :32], still[None, ..., :32].expand(3, -1, -1, -1))
        assert (frames[2] - still)[..., 40:].abs().max() > 0.01
    anchored = model.vae.encode(fit_to_model(model, still) * 2 - 1)[:, :, None]
    moved = (clip.latents - anchored).abs()
    assert moved[..., :1].max() < 0.005 < moved[..., 3:].max()


@pytest.mark.parametrize("size", [(64, 64), (70, 200), (300, 100)])
def test_the_models_picture_keeps_the_shape_and_fits_its_layers(model, size):
    small = fit_to_model(model, a_still(*size))
    assert small.shape[2] % 16 == 0 and small.shape[3] % 16 == 0
    assert min(small.shape[2:]) == 32
    assert abs(small.shape[3] / small.shape[2] - size[1] / size[0]) < 0.5


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"num_frames": 0}, "at least 1 frame"),
        ({"prior_strength": 1.5}, "within 0..1; got 1.5"),
        ({"prior_frames_decay": 1.5}, "decay over frames must be within 0..1; got 1.5"),
        ({"prior_decay": float("nan")}, "decay must be 0 or more; got nan"),
        ({"edges": "torus"}, "edges must be one of"),
    ],
)
def test_wrong_use_is_one_sentence(model, wrong, message):
    with pytest.raises(ValueError, match=message):
        animate(model, a_still(), **wrong)
    with pytest.raises(ValueError, match=r"\[3, H, W\]"):
        animate(model, a_still()[None])
