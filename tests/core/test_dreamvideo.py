"""DreamVideo: untrained it is its base; trained it hears picture and text, each by a scale."""

import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.tiny import TINY_UNET
from trip_core import guidance
from trip_core.nn.unet3d import VideoUNet
from trip_core.sampling import sample
from trip_core.systems.dreamvideo import (
    PRESETS,
    Conditioning,
    DreamVideo,
    DreamVideoConfig,
    continue_clip,
)

FIXTURES = Path(__file__).parents[1] / "fixtures"
TINY = DreamVideoConfig(
    unet=TINY_UNET,
    stem_widths=(4, 6, 8, 8),
)


def randomise(model, seed=1):
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.data = noise / max(parameter[0].numel(), 1) ** 0.5
    return model.eval().requires_grad_(False)


@pytest.fixture
def untrained():
    """A base with weights everywhere, the branch as it starts."""
    model = DreamVideo(TINY)
    randomise(model.unet)
    model.copy_base()
    return model.eval()


@pytest.fixture
def trained():
    return randomise(DreamVideo(TINY))


@pytest.fixture
def drawn(generator):
    def draw(*shape):
        return torch.randn(2, *shape, generator=generator)

    return {
        "z_t": draw(4, 5, 4, 6),
        "timesteps": torch.tensor([700, 20]),
        "text": draw(3, 12),
        "reference": draw(3, 32, 48).tanh(),
    }


def test_untrained_it_is_the_base_model(untrained, drawn):
    base = VideoUNet(TINY.unet).eval()
    base.load_state_dict(untrained.unet.state_dict())
    with torch.no_grad():
        plain = base(drawn["z_t"], drawn["timesteps"], drawn["text"])
        assert untrained(**drawn).equal(plain)
        assert untrained(**(drawn | {"reference": None})).equal(plain)


def test_the_branch_starts_as_a_copy_of_the_base(untrained):
    ours, base = untrained.retention.state_dict(), untrained.unet.state_dict()
    shared = ours.keys() & base.keys()
    assert all(ours[key].equal(base[key]) for key in shared)
    fresh = {key.split(".")[0] for key in ours.keys() - base.keys()}
    assert fresh == {"stem", "projections"}


def test_every_skip_hears_the_picture_once_trained(trained, drawn):
    text = trained.retention.keys_values(drawn["text"])
    first, other = (
        trained.retention(drawn["z_t"], drawn["timesteps"], text, picture)
        for picture in (drawn["reference"], -drawn["reference"])
    )
    assert len(first) == 4  # stem, layer, stride, layer
    assert all(not a.allclose(b) for a, b in zip(first, other, strict=True))
    assert not trained(**drawn).allclose(trained(**(drawn | {"reference": None})))


def test_a_dropped_picture_is_no_picture(trained, drawn):
    mixed = trained(**drawn, given=torch.tensor([True, False]))
    torch.testing.assert_close(mixed[0], trained(**drawn)[0])
    torch.testing.assert_close(mixed[1], trained(**(drawn | {"reference": None}))[1])


def test_gradients_reach_the_branch_and_time_alone(untrained, drawn):
    untrained.train().requires_grad_(True)
    untrained.freeze_spatial_base()
    untrained(**drawn).square().mean().backward()
    moved = {n for n, p in untrained.named_parameters() if p.grad is not None and p.grad.any()}
    # Projections start at zero, so what is before them moves only from the second step on.
    assert any(name.startswith("retention.projections.") for name in moved)
    base = {name for name in moved if name.startswith("unet.")}
    assert base
    assert all(
        {"temp_convs", "temp_attentions", "transformer_in"} & set(n.split(".")) for n in base
    )


def test_scales_of_one_are_no_guidance_and_each_scale_is_heard(trained, drawn):
    z_t, times = drawn["z_t"], drawn["timesteps"]
    none = torch.zeros_like(drawn["text"])

    def guided(text_scale, image_scale):
        denoise = trained.guided(drawn["text"], none, drawn["reference"], text_scale, image_scale)
        return denoise(z_t, times)

    plain = trained.denoiser(Conditioning(drawn["text"], drawn["reference"]))(z_t, times)
    assert guided(1.0, 1.0).equal(plain)
    assert not guided(5.0, 1.0).allclose(plain)
    assert not guided(1.0, 2.0).allclose(plain)


def test_branches_in_one_batch_give_the_numbers_of_branches_apart(trained, drawn, monkeypatch):
    none = torch.zeros_like(drawn["text"])

    def guided(free):
        monkeypatch.setattr(guidance, "batch_bytes", lambda _: free)
        batches = []
        hook = trained.unet.conv_in.register_forward_hook(lambda *_: batches.append(1))
        denoise = trained.guided(drawn["text"], none, drawn["reference"], 5.0, 2.0)
        out = denoise(drawn["z_t"], drawn["timesteps"])
        hook.remove()
        return out, len(batches)

    (together, two), (apart, three) = guided(2**30), guided(0)
    assert (two, three) == (2, 3)  # without a picture the side branch does not run at all
    assert (together - apart).norm() <= 1e-5 * apart.norm()


def test_one_picture_and_other_words_give_another_clip(trained, drawn):
    texts = drawn["text"]

    def clip(text):
        guided = trained.guided(text, torch.zeros_like(text), drawn["reference"][:1])
        return sample(guided, drawn["z_t"][:1], trained.schedule, steps=3)

    assert clip(texts[:1]).equal(clip(texts[:1]))
    assert not clip(texts[:1]).allclose(clip(texts[1:]))


def test_a_longer_clip_goes_on_from_the_last_frame():
    seen = []

    def make(still, _index):
        seen.append(float(still.mean()))
        return torch.stack([still + k for k in range(4)])

    frames = [float(f.mean()) for f in continue_clip(make, torch.zeros(3, 2, 2), 3)]
    assert frames == list(range(10))
    assert seen == [0, 3, 6]
    with pytest.raises(ValueError, match="2 frames"):
        list(continue_clip(lambda still, _: still[None], torch.zeros(3, 2, 2), 2))


def test_the_config_survives_json_and_names_what_it_does_not_know():
    for config in (TINY, *PRESETS.values()):
        assert DreamVideoConfig.from_dict(config.to_dict()) == config
    with pytest.raises(ValueError, match="'stems'"):
        DreamVideoConfig.from_dict({"stems": 3})
    with pytest.raises(ValueError, match="'widths'"):
        DreamVideoConfig.from_dict({"unet": {"widths": 3}})


def test_the_full_size_takes_the_released_base_and_has_a_projection_for_each_skip():
    with torch.device("meta"):
        model = DreamVideo(PRESETS["dreamvideo"])
    assert len(model.retention.projections) == 12
    assert model.config.downscale == 8
    released = json.loads(gzip.decompress((FIXTURES / "modelscope_unet3d.json.gz").read_bytes()))
    ours = {key: list(value.shape) for key, value in model.state_dict().items()}
    base = {k.removeprefix("unet."): v for k, v in ours.items() if k.startswith("unet.")}
    assert base == released
    branch = {k.removeprefix("retention."): v for k, v in ours.items() if k not in base}
    copied = {key: shape for key, shape in branch.items() if key in released}
    ways = ("conv_in.", "time_embedding.", "transformer_in.", "down_blocks.")
    assert copied == {key: shape for key, shape in released.items() if key.startswith(ways)}


def test_wrong_shapes_are_one_sentence(trained, drawn):
    with pytest.raises(ValueError, match="8 pixels a latent"):
        trained(**(drawn | {"reference": drawn["reference"][:, :, :16]}))
    with pytest.raises(ValueError, match="noisy latents alone"):
        replace(TINY, unet=replace(TINY.unet, in_channels=8))
