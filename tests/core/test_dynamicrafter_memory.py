"""What a forward of the full-size networks keeps alive, counted without memory for it."""

import pytest
import torch

from benchmarks.peak_bytes import PeakBytes
from trip_core.systems import dreamvideo, dynamicrafter, trip

HALF = torch.float16


@pytest.fixture
def no_scores(monkeypatch):
    """Attention without its matrix, which is whole on the meta device alone."""
    monkeypatch.setattr(
        torch.nn.functional,
        "scaled_dot_product_attention",
        lambda query, *_, **__: torch.empty_like(query),
    )


@pytest.fixture(scope="module")
def crafter():
    with torch.device("meta"):
        network = dynamicrafter.DynamiCrafter(dynamicrafter.PRESETS["512"])
    return network.to(HALF).requires_grad_(False)


def counted(network, *given):
    with PeakBytes(network.parameters()) as count, torch.no_grad():
        network(*given)
    return count.peak


@pytest.mark.usefixtures("no_scores")
@pytest.mark.parametrize(("branches", "height", "width"), [(1, 72, 128), (2, 40, 64)])
def test_the_memory_of_a_dynamicrafter_is_known(crafter, branches, height, width):
    with torch.device("meta"):
        z_t, times = torch.empty(branches, 4, 16, height, width), torch.zeros(branches).long()
        text = torch.empty(branches, 77, 1024, dtype=HALF)
        image = torch.empty(branches, 16, 16, 1024, dtype=HALF)
        context = crafter.context_keys_values(text, image)
        used = counted(crafter, z_t, times, context, z_t)
    assert 0.8 < used / crafter.memory_required(branches * 16 * height * width) <= 1


@pytest.mark.usefixtures("no_scores")
def test_the_memory_of_a_dreamvideo_is_known():
    with torch.device("meta"):
        network = dreamvideo.DreamVideo(dreamvideo.PRESETS["dreamvideo"])
        network.to(HALF).requires_grad_(False)
        z_t, picture = torch.empty(1, 4, 16, 40, 64), torch.empty(1, 3, 320, 512)
        text = network.text_keys_values(torch.empty(1, 77, 1024, dtype=HALF))
        used = counted(network, z_t, torch.zeros(1).long(), text, picture)
    assert 0.8 < used / network.memory_required(16 * 40 * 64) <= 1


@pytest.mark.usefixtures("no_scores")
def test_the_memory_of_a_trip_is_known():
    with torch.device("meta"):
        network = trip.TRIP(trip.PRESETS["trip"])
        network.to(HALF).requires_grad_(False)
        z_t, still = torch.empty(2, 4, 16, 32, 32), torch.empty(2, 4, 32, 32)
        text = network.unet.text_keys_values(torch.empty(2, 77, 1024, dtype=HALF))
        used = counted(network, z_t, torch.zeros(2).long(), text, still)
    assert 0.8 < used / network.memory_required(2 * 16 * 32 * 32) <= 1
