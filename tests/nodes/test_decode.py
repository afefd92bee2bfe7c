"""Latents into frames, of any host VAE: what TRIP Decode makes, and what Video Combine writes."""

import pytest
import torch

from tests.nodes.clips import WIDGETS, tone
from trip_core.video_io import read_video


class FrameVAE:
    """One frame a latent."""

    def decode(self, samples):
        """Return ``[F, 8 h, 8 w, 3]``."""
        pixels = samples[:, :3].repeat_interleave(8, -1).repeat_interleave(8, -2)
        return pixels.movedim(1, -1).sigmoid()


class TemporalVAE:
    """4 T - 3 frames of T latents, as those of Wan, LTX and Hunyuan."""

    def decode(self, samples):
        """Return ``[B, 4 T - 3, 8 h, 8 w, 3]``."""
        frames = samples.repeat_interleave(4, 2)[:, :, 3:]
        moved = frames + torch.arange(frames.shape[2]).view(-1, 1, 1) / 8
        return torch.stack([FrameVAE().decode(clip.movedim(1, 0)) for clip in moved])


def latent(*shape):
    """Return a LATENT without motion."""
    return {"samples": torch.randn(shape, generator=torch.Generator().manual_seed(1))}


@pytest.mark.parametrize(
    ("vae", "shape", "frames"),
    [
        (FrameVAE(), (11, 4, 4, 5), 11),
        (TemporalVAE(), (1, 16, 5, 4, 5), 17),
        (TemporalVAE(), (2, 16, 2, 4, 5), 10),
        (TemporalVAE(), (1, 16, 1, 4, 5), 1),
    ],
)
def test_without_motion_it_is_the_hosts_decode(nodes, folder, vae, shape, frames):
    del folder
    held = latent(*shape)
    (images,) = nodes["TRIP_Decode"]().decode(held, vae, "mirror")
    assert images.shape == (frames, 32, 40, 3)
    assert torch.equal(images, vae.decode(held["samples"]).reshape(images.shape))


def test_video_latents_are_written_whole(nodes, folder):
    del folder

    def combine(**inputs):
        inputs = {**WIDGETS, "fps": 8.0, "vae": TemporalVAE(), "extra_pnginfo": {}, **inputs}
        out = nodes["TRIP_VideoCombine"]().combine(latent=latent(1, 16, 5, 4, 5), **inputs)
        return out["ui"], out["result"][0][0]

    _, path = combine(audio=tone(2.0), audio_fit="trim video to audio")
    assert len(read_video(path)) == 16
    ui, path = combine(format="PNG sequence")
    written = sorted(picture.name for picture in path.iterdir())
    assert len(written) == 17
    assert [entry["filename"] for entry in ui["images"]] == written


def test_a_latent_that_was_cut_is_refused(nodes, folder, part):
    del folder
    with pytest.raises(ValueError, match="holds 3 frames but its motion is of 5"):
        nodes["TRIP_Decode"]().decode(moving(part, latent(3, 4, 4, 5), 5), FrameVAE(), "mirror")


def moving(part, held, num_frames):
    """Return a LATENT that knows of a still in motion, whose latent its first frame was."""
    anchor = type("Motion", (), {"num_frames": num_frames})()
    moved = part("held_still").MovedStill(anchor, held["samples"][0].clone())
    return {**held, part("held_still").KEY: moved}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x: x[..., :3], r"\[4, 6, 3\] .* made \[4, 6, 6\]"),
        (lambda x: x.repeat_interleave(2, -1), r"\[4, 6, 12\] .* made \[4, 6, 6\]"),
        (lambda x: x[:, :3], r"\[3, 6, 6\] .* made \[4, 6, 6\]"),
        (lambda x: x[:, :, None], r"\[4, 1, 6, 6\] .* made \[4, 6, 6\]"),
        (lambda x: x.flip(-1) + 0.01, "flipped or turned"),
        (lambda x: x.flip(-2), "flipped or turned"),
        (lambda x: x.rot90(1, (-2, -1)), "flipped or turned"),
        (lambda x: x.rot90(2, (-2, -1)), "flipped or turned"),
    ],
)
def test_what_the_stills_own_pixels_cannot_follow_is_sent_behind_decode(part, change, words):
    made = moving(part, latent(3, 4, 6, 6), 3)
    decoded = part("decode").decoded
    assert decoded(made, FrameVAE()).num_frames == 3
    with pytest.raises(ValueError, match=f"{words}.*after TRIP Decode"):
        decoded({**made, "samples": change(made["samples"])}, FrameVAE())


def test_a_sampled_first_frame_is_never_taken_for_a_flipped_one(part):
    made = moving(part, latent(3, 4, 6, 6), 3)
    symmetrical = made["samples"][0] + made["samples"][0].flip(-1)
    made[part("held_still").KEY].still.copy_(symmetrical)
    for first in (symmetrical, symmetrical.flip(-1), torch.randn(4, 6, 6)):
        samples = torch.stack((first, *made["samples"][1:]))
        assert part("decode").decoded({**made, "samples": samples}, FrameVAE()).num_frames == 3


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((2, 4, 4, 5), "latents of 16 channels; the LATENT's have 4"),
        ((1, 16, 3, 4, 5), "decodes pictures; the LATENT is a video"),
    ],
)
def test_another_models_latent_is_named(part, shape, words):
    vae = type("Pictures", (FrameVAE,), {"latent_channels": 16, "latent_dim": 2})()
    with pytest.raises(ValueError, match=words):
        part("decode").decoded(latent(*shape), vae)
    assert part("decode").decoded(latent(2, 16, 4, 5), vae).num_frames == 2
