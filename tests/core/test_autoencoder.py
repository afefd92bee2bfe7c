"""The tiny autoencoder: TAESD's layout, a start at the principal components, ranges."""

import pytest
import torch
import torch.nn.functional as F

from trip_core.nn.autoencoder import AutoencoderConfig, TinyAutoencoder


@pytest.fixture
def pixels() -> torch.Tensor:
    noise = torch.rand(6, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    return F.avg_pool2d(noise, 5, 1, 2) * 2 - 1


def test_keys_are_those_a_taesd_loader_looks_for() -> None:
    state = TinyAutoencoder().state_dict()
    assert state["taesd_decoder.1.weight"].shape == (64, 16, 3, 3)
    assert state["taesd_encoder.0.weight"].shape == (64, 3, 3, 3)
    assert state["taesd_encoder.14.weight"].shape == (16, 64, 3, 3)
    assert state["taesd_decoder.19.weight"].shape == (3, 64, 3, 3)
    assert "taesd_encoder.2.bias" not in state  # strided convolutions have none
    assert "taesd_decoder.7.bias" not in state
    assert state["vae_scale"].ndim == state["vae_shift"].ndim == 0
    blocks = [1, 3, 4, 5, 7, 8, 9, 11, 12, 13]
    assert all(f"taesd_encoder.{k}.conv.{i}.weight" in state for k in blocks for i in (0, 2, 4))
    blocks = [3, 4, 5, 8, 9, 10, 13, 14, 15, 18]
    assert all(f"taesd_decoder.{k}.conv.{i}.bias" in state for k in blocks for i in (0, 2, 4))


def test_the_start_is_the_principal_components_of_patches(pixels: torch.Tensor) -> None:
    model = TinyAutoencoder()
    model.initialise_from_patches(pixels)
    latents = model.encode(pixels).movedim(1, -1).flatten(0, 2)
    patches = F.pixel_unshuffle(pixels * 0.5 + 0.5, 8).movedim(1, -1).flatten(0, 2)
    centred = (patches - patches.mean(0)).double()
    _, vectors = torch.linalg.eigh(centred.T @ centred)
    expected = (centred @ vectors[:, -16:].flip(1)).float()
    both = torch.cat((latents.T, expected.T))
    match = torch.corrcoef(both)[:16, 16:].diagonal()
    torch.testing.assert_close(match.abs(), torch.ones(16), atol=1e-3, rtol=0)
    torch.testing.assert_close(latents.mean(0), torch.zeros(16), atol=1e-3, rtol=0)
    torch.testing.assert_close(latents.var(0).mean(), torch.tensor(1.0), atol=0.05, rtol=0)


@pytest.mark.parametrize("depth", range(5))
def test_a_new_autoencoder_is_the_same_at_any_depth(pixels: torch.Tensor, depth: int) -> None:
    model = TinyAutoencoder()
    whole = model.decode(model.encode(pixels))
    model.limit_depth(depth)
    torch.testing.assert_close(model.decode(model.encode(pixels)), whole)
    blocks = (0, 6, 12, 18, 20)[depth]  # of both networks, six tensors each
    others = 2 * 7  # each: five convolutions, the first and the last with a bias
    learning = sum(p.requires_grad for p in model.parameters())
    assert learning == others + 6 * blocks


def test_sides_that_do_not_fit_are_named() -> None:
    with pytest.raises(ValueError, match=r"multiples of 8; got 20x16"):
        TinyAutoencoder().encode(torch.zeros(1, 3, 20, 16))
    with pytest.raises(ValueError, match="depth must be 0"):
        TinyAutoencoder().limit_depth(5)


def test_any_number_of_latent_channels() -> None:
    model = TinyAutoencoder(AutoencoderConfig(latent_channels=4))
    assert model.encode(torch.zeros(1, 3, 16, 24)).shape == (1, 4, 2, 3)
    assert model.decode(torch.zeros(1, 4, 2, 3)).shape == (1, 3, 16, 24)
