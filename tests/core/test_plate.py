"""Laws of plates: exact on pixels, sharp between them, mirrored at the edges."""

import pytest
import torch

from trip_core import plate
from trip_core.nn.motion_field import coordinates
from trip_core.nn.warp import sample_at
from trip_core.plate import Plate


@pytest.fixture
def picture(generator):
    return torch.rand(1, 3, 40, 56, generator=generator)


def places(picture, right=0.0, down=0.0):
    """Pixel centres moved by so many pixels, in short sides from the centre."""
    height, width = picture.shape[-2:]
    moved = torch.tensor([right, down]).view(1, 2, 1, 1) / min(height, width)
    return coordinates(height, width, picture)[None] + moved


def test_pixels_are_read_exactly(picture):
    torch.testing.assert_close(Plate(picture).read(places(picture)), picture, rtol=0, atol=1e-5)


def test_whole_pixels_away_it_is_the_shifted_picture_and_its_mirror(picture):
    read = Plate(picture).read(places(picture, right=5, down=-3))
    wide = torch.cat((picture, picture.flip(-1)), -1)[..., 5 : 5 + 56]
    tall = torch.cat((wide.flip(-2), wide), -2)[..., 40 - 3 : 80 - 3, :]
    torch.testing.assert_close(read, tall, rtol=0, atol=1e-5)


def test_flat_places_stay_flat():
    flat = torch.full((1, 3, 32, 32), 0.7)
    read = Plate(flat).read(places(flat, 0.37, 0.81))
    torch.testing.assert_close(read, flat, rtol=0, atol=1e-6)


@pytest.mark.parametrize("shift", [0.25, 0.5])
def test_between_pixels_it_keeps_more_of_a_fine_wave_than_a_bicubic_alone(shift):
    column = torch.arange(64.0)

    def wave(at):
        return torch.sin(2 * torch.pi * at / 3).expand(1, 1, 64, 64)  # 3 pixels a period

    picture, moved = wave(column), places(wave(column), right=shift)
    truth = wave(column + shift)[..., 8:-8]
    fine = Plate(picture).read(moved)[..., 8:-8]
    at = moved * 64 + 31.5
    alone = sample_at(picture, at, "reflection", "bicubic")[..., 8:-8]
    assert (fine - truth).abs().amax() < 0.5 * (alone - truth).abs().amax()


def test_a_picture_too_large_for_it_is_read_by_a_bicubic_alone(picture, monkeypatch):
    monkeypatch.setattr(plate, "_FINE_PIXELS", 40 * 56 - 1)
    at = places(picture, 0.3, -0.2)
    alone = sample_at(
        picture, at * 40 + torch.tensor([27.5, 19.5]).view(1, 2, 1, 1), mode="bicubic"
    )
    torch.testing.assert_close(Plate(picture).read(at), alone)
