"""What the nodes do for DynamiCrafter before the host is asked."""

from dataclasses import replace

import pytest
import torch

from trip_core.models import SYSTEMS
from trip_core.pipeline_dynamicrafter import DynamiCrafterModel, animate_dynamicrafter
from trip_core.prior import PriorWeights, blend_towards_still
from trip_core.systems.dynamicrafter import PRESETS


class Halving:
    """An autoencoder whose latents are the means of 8 x 8 pixels, four of them."""

    downscale = 8

    def encode(self, pixels):
        means = torch.nn.functional.avg_pool2d(pixels, 8)
        return torch.cat((means, means[:, :1]), dim=1)

    def decode(self, latents):
        return torch.zeros(len(latents), 3, 8, 8)


class Blind(torch.nn.Module):
    """A network that sees nothing and keeps the prior that it is given."""

    def __init__(self):
        super().__init__()
        self.config, self.prior = PRESETS["512"], None
        self.schedule, self.weight = self.config.build_schedule(), torch.nn.Parameter(torch.ones(1))

    def image_context(self, tokens, _):
        return tokens

    def denoiser(self, *_, prior, **__):
        self.prior = prior
        return lambda z_t, _: torch.zeros_like(z_t)


class Encoder:
    """Of texts and pictures."""

    def encode(self, given):
        return torch.zeros(len(given), 1, 4)


@pytest.fixture
def wishes(part):
    image = torch.rand(1, 80, 128, 3, generator=torch.Generator().manual_seed(0))
    return part("wishes").Wishes(image, 0, 0, "crop", 5, 1.0, 0.0, 0.0, 0.0)


@pytest.fixture
def hold(part):
    return lambda wishes: part("dynamicrafter_still").hold_clip(PRESETS["512"], Halving(), wishes)


def test_the_still_stands_beside_every_frame_at_the_trained_size(hold, wishes):
    held, latent = hold(wishes)
    assert latent.shape == (1, 4, 40, 64)  # 320 x 512 pixels
    assert held.stills.equal(latent[:, :, None].expand(-1, -1, 5, -1, -1))
    assert not held.acts and held.pace is None


@pytest.mark.parametrize("frames", [4, 5])
def test_two_stills_stand_at_the_ends_and_each_half_is_held_to_its_own(hold, wishes, frames):
    wishes = replace(
        wishes, length=frames, end_still=1 - wishes.image, prior_strength=1.0, decay_over_frames=1.0
    )
    held, latent = hold(wishes)
    assert held.stills[:, :, 1:-1].abs().max() == 0
    assert held.stills[:, :, 0].equal(latent) and not held.stills[:, :, -1].equal(latent)
    assert held.pace == 5  # the model for two stills was trained at it
    weights = held.prior.trust(frames, torch.tensor([0.5])).flatten()
    assert weights.tolist() == weights.flip(0).tolist()
    assert weights[0] == 1 and weights[frames // 2] == 0
    x0 = torch.zeros(frames, 4, 40, 64)
    fused = held.towards_stills(x0, held.anchors, torch.tensor([0.5]))
    assert fused[0].equal(held.stills[0, :, 0]) and fused[-1].equal(held.stills[0, :, -1])


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        ({"prior_strength": 1.0, "decay_over_frames": 1.0}, {}),
        ({"prior_strength": 0.8, "decay_over_frames": 0.5, "decay_over_time": 2.0}, {"mask": True}),
        ({"prior_strength": 0.8, "decay_over_time": 1.0}, {"end": True}),
        ({}, {"mask": True}),
    ],
)
def test_the_command_line_and_the_graph_have_one_prior(hold, wishes, asked, given):
    still, end, mask = wishes.image[0].movedim(-1, 0), 1 - wishes.image, torch.zeros(1, 80, 128)
    mask[..., :50] = 1
    wishes = replace(
        wishes,
        mask=mask if "mask" in given else None,
        end_still=end if "end" in given else None,
        **asked,
    )
    graph = hold(wishes)[0].prior
    network = Blind()
    animate_dynamicrafter(
        DynamiCrafterModel(network, Halving(), Encoder(), Encoder()),
        still,
        num_frames=5,
        steps=1,
        prior_strength=asked.get("prior_strength", 0.0),
        prior_frames_decay=asked.get("decay_over_frames", 0.0),
        prior_decay=asked.get("decay_over_time", 0.0),
        mask=wishes.mask,
        end=end[0].movedim(-1, 0) if "end" in given else None,
    )
    assert network.prior.still.equal(graph.still)
    for alpha_bar in torch.tensor([[0.01], [0.5], [0.99]]):
        assert network.prior.trust(5, alpha_bar).equal(graph.trust(5, alpha_bar))


@pytest.mark.parametrize("two", [{"loop": True}, {"end_still": torch.rand(1, 80, 128, 3)}])
def test_a_clip_between_two_stills_is_no_longer_than_the_trained_ones(hold, wishes, two):
    assert hold(replace(wishes, length=16, **two))[0].num_frames == 16
    with pytest.raises(ValueError, match=r"at most 16 frames.*got 17: set 16 or fewer"):
        hold(replace(wishes, length=17, **two))
    assert hold(replace(wishes, length=17))[0].num_frames == 17


@pytest.mark.parametrize("name", ["256", "1024"])
def test_models_made_for_one_still_take_no_second(part, wishes, name):
    with pytest.raises(ValueError, match=r"made for one still.*512_interp"):
        part("dynamicrafter_still").hold_clip(PRESETS[name], Halving(), replace(wishes, loop=True))


def test_a_mask_contradicts_another_still_at_the_end_but_no_loop(hold, wishes):
    masked = replace(wishes, mask=torch.ones(1, 80, 128))
    with pytest.raises(ValueError, match="leave one of the two out"):
        hold(replace(masked, end_still=wishes.image))
    held, _ = hold(replace(masked, loop=True))
    assert held.anchors[:, :, 0].equal(held.anchors[:, :, -1])


def test_a_loop_returns_to_the_still(hold, wishes):
    held, latent = hold(replace(wishes, loop=True, fs=8))
    assert held.stills[:, :, -1].equal(latent) and held.pace == 8


def test_the_prior_is_linear_fusion_with_painted_places_kept(hold, wishes, generator):
    mask = torch.zeros(1, 80, 128)
    mask[..., :64] = 1
    held, _ = hold(replace(wishes, prior_strength=0.5, decay_over_frames=1.0, mask=mask))
    x0 = torch.randn(5, 4, 40, 64, generator=generator)
    fused = held.towards_stills(x0, held.anchors, torch.tensor([0.3]))
    still = held.anchors[0, :, 0]
    painted = still[None, ..., :28].expand(5, -1, -1, -1)
    torch.testing.assert_close(fused[..., :28], painted, atol=1e-5, rtol=0)
    weight = PriorWeights(0.5, 0.0, 0.0)(5, torch.tensor([0.3]))
    free = blend_towards_still(x0.movedim(0, 1)[None], held.anchors, weight)[0].movedim(1, 0)
    torch.testing.assert_close(fused[..., 36:], free[..., 36:])


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        (
            {"width": 100, "height": 64},
            "multiples of 64 pixels; got 100 x 64: set 64 x 64 or 128 x 64",
        ),
        ({"motion_strength": 2.0}, "use fs for the pace"),
        ({"fit": "overscan"}, "overscan follows the camera"),
        ({"prior_strength": 1.0}, "nothing moves"),
        ({"loop": True, "end_still": torch.zeros(1, 8, 8, 3)}, "switch loop off"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(hold, wishes, wish, words):
    with pytest.raises(ValueError, match=words) as caught:
        hold(replace(wishes, **wish))
    assert "\n" not in str(caught.value)


def test_other_systems_refuse_wishes_that_are_not_for_them(wishes):
    wishes.refuse("TRIP", "end_still", "loop", "fs")
    for wish in ({"end_still": wishes.image}, {"loop": True}, {"fs": 5}):
        with pytest.raises(ValueError, match=r"is for DynamiCrafter models, and this is a TRIP"):
            replace(wishes, **wish).refuse("TRIP", "end_still", "loop", "fs")


def test_the_whole_picture_is_seen_and_grey_for_the_negative(part):
    seen = []

    class Vision:
        image_size = 224

        def encode_image(self, image, crop):
            assert image.shape == (1, 224, 224, 3) and not crop
            seen.append(image)
            return {"last_hidden_state": image.mean((1, 2))[:, None]}

    image = torch.zeros(1, 100, 300, 4)
    image[..., :150, 0] = 1.0
    image[..., 3] = 1.0
    node = part("image_context").ImageContext()
    positive, negative = node.look(Vision(), image, [["words", {}]], [["none", {"kept": 1}]])
    assert seen[0][0, 5, 5].tolist() == [1, 0, 0] and seen[0][0, 5, -5].tolist() == [0, 0, 0]
    torch.testing.assert_close(seen[1], torch.full_like(seen[1], 0.5))
    key = part("image_context").TOKENS
    assert positive[0][0] == "words" and positive[0][1][key].shape == (1, 1, 3)
    assert negative[0][1]["kept"] == 1 and not positive[0][1][key].equal(negative[0][1][key])


def test_one_table_picks_the_system(part, tmp_path):
    systems = part("host_systems")
    assert list(systems.ADAPTERS) == [system.name for system in SYSTEMS]
    (tmp_path / "old.ckpt").write_bytes(b"PK\x03\x04" + bytes(60))
    with pytest.raises(ValueError, match="python -m trip_core convert"):
        systems.load(str(tmp_path / "old.ckpt"), "auto")
    with pytest.raises(ValueError, match=r"not one of Load TRIP Model's"):
        systems.animator(object())
