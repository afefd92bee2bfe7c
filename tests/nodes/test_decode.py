"""Latents into frames, of any host VAE: what TRIP Decode makes, and what Video Combine writes."""

import pytest
import torch

from tests.nodes.test_video_combine import WIDGETS, tone
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
    cut = latent(3, 4, 4, 5) | {part("held_still").KEY: type("Motion", (), {"num_frames": 5})()}
    with pytest.raises(ValueError, match="holds 3 frames but its motion is of 5"):
        nodes["TRIP_Decode"]().decode(cut, FrameVAE(), "mirror")
