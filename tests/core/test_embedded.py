"""The model that ships: what its card promises, on one still, in seconds."""

from pathlib import Path

import pytest
import torch

from trip_core.nn.motion_field import MOTION_PARAMETERS, OBJECT, SKY, WATER
from trip_core.pipeline import animate
from trip_core.stills import read_still
from trip_core.trip_file import EMBEDDED, load_model
from trip_core.video_io import read_video, write_video

STILLS = Path(__file__).parents[2] / "assets" / "stills"


@pytest.fixture(scope="module")
def model():
    return load_model()


def motion_of(model, prompt, still="castle"):
    picture = read_still(STILLS / f"{still}.jpg")
    return animate(model, picture, prompt, num_frames=2).motion


def value(model, prompt, name):
    column = list(MOTION_PARAMETERS).index(name)
    return motion_of(model, prompt).parameters[0, column].item() / MOTION_PARAMETERS[name]


def test_it_fits_into_a_repository():
    assert sum(f.stat().st_size for f in EMBEDDED.parent.iterdir()) < 25e6


@pytest.mark.parametrize(
    ("prompt", "name", "moves"),
    [
        ("the camera pans left", "pan", -1),
        ("slow pan to the right", "pan", 0.5),
        ("the camera tilts up", "tilt", 1),
        ("zoom out", "zoom", -1),
        ("the camera rolls clockwise", "roll", 1),
        ("the camera moves sideways to the left", "truck", -1),
        ("very slowly dolly in", "dolly", 0.3),
        ("clouds drift left", "sky_x", -1),
        ("waves on the water", "ripple", 1),
        ("the river flows right", "water_x", 1),
    ],
)
def test_words_mean_what_they_say(model, prompt, name, moves):
    assert value(model, prompt, name) == pytest.approx(moves, abs=0.15)


#: As users type, in part with words that the model does not know: shares of an ordinary move, all
#: others none.
TYPED = {
    "the camera rolls anti-clockwise": {"roll": -1},
    "counter-clockwise camera rotation": {"roll": -1},
    "clouds drifting slowly from left to right": {"sky_x": 0.5},
    "clouds drift from right to left": {"sky_x": -1},
    "the clouds drift up": {"sky_y": -1},
    "pan from left to right": {"pan": 1},
    "zoom-in": {"zoom": 1},
    "ZOOM OUT!!": {"zoom": -1},
    "zoom in on the castle on the left": {"zoom": 1},
    "cinematic slow dolly-in, 4k, trending": {"dolly": 0.5},
    "push forward": {"dolly": 1},
    "truck left": {"truck": -1},
    "the camera goes up": {"boom": 1},
    "no zoom, the clouds move left": {"sky_x": -1},
    "clouds move left": {"sky_x": -1},
    "the clouds move right and the camera moves left": {"sky_x": 1, "truck": -1},
    "the water moves left": {"water_x": -1, "ripple": 0.7},
    "the clouds do not move, the camera pans left": {"pan": -1},
    "no pan, only the water moves": {"ripple": 1},
    "static camera, clouds drift left": {"sky_x": -1},
    "a frozen lake, the clouds drift left": {"sky_x": -1},
    "timelapse of clouds": {"sky_x": 1},
    "people walk to the right while the clouds drift left": {"sky_x": -1},
    "a red car moves to the left, the camera zooms in": {"zoom": 1},
    "the sea is still, the camera tilts up": {"tilt": 1},
    "everything is still except the water": {"ripple": 1},
    "the camera does not move": {"sky_x": 0.4, "ripple": 0.5},
    "don't zoom": {"sky_x": 0.4, "ripple": 0.5},
    "nothing moves at all": {},
}
#: Two camera moves and more, done at once.
TYPED |= {
    "pan left and zoom in": {"pan": -1, "zoom": 1},
    "slow push in with a slight tilt up": {"dolly": 0.5, "tilt": 0.4},
    "zoom out while rotating clockwise": {"zoom": -1, "roll": 1},
    "camera pans up and to the left": {"tilt": 1, "pan": -1},
    "camera rises while pulling back": {"boom": 1, "dolly": -1},
    "dolly in, zoom out": {"dolly": 1, "zoom": -1},
    "fast zoom out with a slow tilt down": {"zoom": -1.7, "tilt": -0.5},
    "pan right, tilt up, zoom in": {"pan": 1, "tilt": 1, "zoom": 1},
    "drone flies forward and descends": {"dolly": 1, "boom": -1},
    "zoom in and pan right while the clouds drift by": {"zoom": 1, "pan": 1, "sky_x": 1},
}
#: What is denied is not done, and nothing else is lost by it.
TYPED |= {
    "don't zoom in": {"sky_x": 0.4, "ripple": 0.5},
    "the camera never rotates": {"sky_x": 0.4, "ripple": 0.5},
    "clouds do not drift": {"ripple": 0.5},
    "the water doesn't move": {"sky_x": 0.4},
    "the camera does not pan left, the clouds drift left": {"sky_x": -1},
    "pan right, don't zoom": {"pan": 1},
    "slow pan left without zooming": {"pan": -0.5},
    "not zooming, just panning to the right": {"pan": 1},
    "zoom in, not out": {"zoom": 1},
    "neither pan nor tilt, just zoom in": {"zoom": 1},
    "I don't want any zoom, only a slow pull back": {"dolly": -0.5},
    "clouds drift but the lake stays still": {"sky_x": 1},
    "freeze": {},
}
#: What moves by itself, and what stands still by its name, asks for nothing: as without words.
TYPED_FOR_NOTHING = (
    "a portrait of a man in a blue coat",
    "a woman turns left",
    "a red car moves to the left",
    "she waves her hand",
    "a bird flies to the right",
    "smoke rises",
    "the sun sinks",
    "a frozen lake in the mountains",
    "a still life with flowers",
    "a fast car",
    "the right side of the house",
    "ein Schwenk nach links",
)
TYPED |= {prompt: {"zoom": 0.35, "sky_x": 0.4, "ripple": 0.5} for prompt in TYPED_FOR_NOTHING}


@torch.no_grad()
@pytest.mark.parametrize("prompt", TYPED)
def test_what_users_type_means_what_they_want(model, prompt):
    read = model.motion.understand(model.text.encode([prompt]))[0].tolist()
    usual = MOTION_PARAMETERS.items()
    shares = {name: value / size for (name, size), value in zip(usual, read, strict=True)}
    wanted = {name: TYPED[prompt].get(name, 0) for name in model.defaults.understood}
    assert {name: shares[name] for name in wanted} == pytest.approx(wanted, abs=0.2)


def test_combined_words_do_both_and_unknown_words_do_no_harm(model):
    prompt = "slow zoom in while clouds drift left"
    assert value(model, prompt, "zoom") > 0.3
    assert value(model, prompt, "sky_x") < -0.7
    plain, noisy = motion_of(model, prompt), motion_of(model, f"xyzzy, ({prompt}:1.2), 8k uhd")
    assert torch.equal(plain.parameters, noisy.parameters)


def test_stillness_moves_nothing(model):
    still = read_still(STILLS / "lake.jpg")
    *_, last = animate(model, still, "nothing moves", num_frames=4).frames
    assert torch.allclose(last, still, atol=1e-4)


@pytest.mark.parametrize("prompt", ["snow falls", "the ship sails left", "rain and flicker"])
def test_held_back_words_alone_give_the_motion_of_no_words(model, prompt):
    gentle, found = (motion_of(model, words).parameters for words in ("", prompt))
    assert gentle.any()
    assert torch.allclose(found, gentle, atol=0.01)


def test_held_back_words_do_no_harm_to_others(model):
    assert motion_of(model, "snow falls while clouds drift left").parameters.count_nonzero() == 1


def test_no_words_give_gentle_motion(model):
    parameters = motion_of(model, "").parameters
    assert parameters.any()
    assert (parameters[0].abs() <= 0.6 * torch.tensor([*MOTION_PARAMETERS.values()])).all()


def test_it_finds_sky_water_and_a_ship(model):
    regions = motion_of(model, "waves", "ship").regions[0]
    height, width = regions.shape[1:]
    assert regions[SKY, : height // 4].mean() > 0.8
    assert regions[WATER, -height // 6 :].mean() > 0.8
    assert regions[OBJECT].amax() > 0.8


def test_the_first_frame_is_the_still(model):
    still = read_still(STILLS / "ship.jpg")
    assert torch.equal(next(iter(animate(model, still, "waves, zoom in").frames)), still)


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
@pytest.mark.parametrize("name", ["castle", "lake", "ship"])
def test_the_first_frame_of_the_file_is_the_still_too(model, name, suffix, tmp_path):
    still, path = read_still(STILLS / f"{name}.jpg"), tmp_path / f"clip{suffix}"
    write_video(path, animate(model, still, "the camera pans left", num_frames=3).frames, fps=8)
    error = (read_video(path)[0] - still).square().mean()
    assert -10 * error.log10() >= 38
