"""Laws of the captions: words and motion agree."""

import random
import re

import pytest

from trip_core.data.captions import KINDS, plain_caption, sample_caption, vocabulary
from trip_core.data.denials import denial
from trip_core.data.grammar import facing
from trip_core.nn.motion_field import MOTION_PARAMETERS


def value(caption, name):
    return caption.parameters[list(MOTION_PARAMETERS).index(name)]


def test_the_same_seed_gives_the_same_captions():
    first = [sample_caption(random.Random(7)) for _ in range(3)]
    assert first == [sample_caption(random.Random(7)) for _ in range(3)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_captions_of_known_words(kind):
    rng = random.Random(1)
    known = set(vocabulary())
    for _ in range(20):
        caption = sample_caption(rng, kind)
        assert caption.kind == kind
        assert len(caption.parameters) == len(MOTION_PARAMETERS)
        assert kind == "gentle" or known & set(re.findall("[a-z]+", caption.text.lower()))


def test_opposite_words_mean_opposite_motion_and_slow_is_less_than_fast():
    for one, other, name in (
        ("pan_left", "pan_right", "pan"),
        ("zoom_out", "zoom_in", "zoom"),
        ("clouds_left", "clouds_right", "sky_x"),
    ):
        assert value(plain_caption(one), name) == -value(plain_caption(other), name) < 0
    rng = random.Random(0)
    speeds = {}
    for _ in range(200):
        caption = sample_caption(rng, "zoom_in")
        for word in ("slow", "fast"):
            if f"{word} " in caption.text and "very" not in caption.text:
                speeds[word] = value(caption, "zoom")
    assert speeds["slow"] < MOTION_PARAMETERS["zoom"] < speeds["fast"]


def test_still_captions_ask_for_nothing():
    rng = random.Random(0)
    assert all(not any(sample_caption(rng, "still").parameters) for _ in range(30))


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="one of still"):
        sample_caption(random.Random(0), "teleport")


def test_the_same_words_never_mean_two_things():
    rng, meanings = random.Random(2), {}
    for _ in range(20000):
        caption = sample_caption(rng)
        words = tuple(re.findall("[a-z]+", caption.text.lower()))
        assert meanings.setdefault(words, caption.parameters) == caption.parameters, words


def test_opposite_wordings_differ_in_direction_alone():
    assert facing(("from left to right{v}", "{a}crane up", "camera rising{v}")) == (
        *("from right to left{v}", "{a}crane down", "camera sinking{v}"),
    )


def test_several_camera_moves_are_all_asked_for_but_never_two_ways_at_once():
    rng = random.Random(3)
    moves = [sum(map(bool, sample_caption(rng, "cameras").parameters)) for _ in range(300)]
    assert min(moves) >= 1  # of two opposite ones only the first is said
    assert sum(n >= 2 for n in moves) > 0.85 * len(moves)


@pytest.mark.parametrize(
    ("moves", "denied"),
    [
        ({"pan": 1.0}, r"pan(?:ning)? right\b"),
        ({"zoom": -0.5}, r"zoom(?:ing)? out\b"),
        ({"zoom": -0.5}, r"(?:not|n't|never) zooms?\b(?! in\b| out\b)"),
        ({"sky_x": 1.0}, r"the clouds stay\b"),
    ],
)
def test_nothing_that_moves_is_denied(moves, denied):
    rng = random.Random(4)
    anything = [denial(rng, {})[0] for _ in range(2000)]
    assert any(re.search(denied, words) for words in anything)
    assert not any(re.search(denied, denial(rng, moves)[0]) for _ in range(5000))


def test_a_denial_alone_leaves_the_rest_to_move_by_itself():
    rng = random.Random(5)
    for _ in range(200):
        caption = sample_caption(rng, "ambient")
        assert not any(value(caption, name) for name in ("pan", "tilt", "zoom", "roll", "dolly"))
