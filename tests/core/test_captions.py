"""Laws of the captions: words and motion agree."""

import random
import re

import pytest

from trip_core.data.captions import KINDS, plain_caption, sample_caption, vocabulary
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
