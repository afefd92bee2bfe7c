"""Sentences that deny a motion: "the camera does not pan left", "no zooming", "keep it still"."""

import random
from dataclasses import dataclass

from .grammar import Parameters

_CAMERA_VERBS = (
    *("do not {}", "don't {}", "never {}", "the camera does not {}", "the camera doesn't {}"),
    *("camera does not {}", "camera doesn't {}", "does not {}", "doesn't {}", "it does not {}"),
    *("the camera should not {}", "the camera must not {}", "the camera won't {}", "it never {}s"),
    *(
        "the camera never {}s",
        "no camera that {}s",
        "the camera neither moves nor {}s",
        "cannot {}",
    ),
)
_CAMERA_NOUNS = (
    *(
        "no {}",
        "without {}",
        "not {}",
        "avoid {}",
        "zero {}",
        "without any {}",
        "instead of {}",
        "i don't want any {}",
        "i do not want {}",
    ),
    *("the camera is not {}", "the camera isn't {}", "no camera {}", "no more {}", "stop {}"),
)
_THING_VERBS = (
    *("{} do not {}", "{} don't {}", "{} never {}", "{} should not {}", "{} must not {}"),
    *("{} are not to {}", "{} will not {}", "{} cannot {}"),
)
_THING_STATES = (
    *(
        "{} stay still",
        "{} stay",
        "{} remain still",
        "{} are still",
        "{} are static",
        "{} are frozen",
    ),
    *("{} stay where they are", "{} hold still", "{} stay fixed", "{} are not moving", "freeze {}"),
    *("keep {} still", "hold {} still", "don't move {}", "do not move {}", "do not animate {}"),
    *("don't animate {}", "without moving {}", "not {}", "no motion of {}", "no movement in {}"),
    *("{} do not change", "leave {} alone", "{} are motionless", "{} aren't moving", "{} freeze"),
)


@dataclass(frozen=True)
class _Denied:
    """A motion that can be denied.

    Attributes:
        names: Motion parameters, none of which may be asked for beside the denial ...
        direction: ... in this direction: 0 either, else the sign.
        verbs: What is not done, in the infinitive.
        nouns: The same as nouns and gerunds (of the camera), or sentences' subjects (of things).
    """

    names: tuple[str, ...]
    direction: int
    verbs: tuple[str, ...]
    nouns: tuple[str, ...]

    def conflicts(self, moves: Parameters) -> bool:
        """Return whether the moves contain what is denied."""
        asked = [moves[name] for name in self.names if name in moves]
        return any(not self.direction or value * self.direction > 0 for value in asked)


_SIDEWAYS, _UPWARDS, _NEARER = ("pan", "truck"), ("tilt", "boom"), ("zoom", "dolly")
_CAMERA = (
    _Denied(_SIDEWAYS, 0, ("pan", "move sideways"), ("pan", "panning", "pans", "parallax")),
    _Denied(_SIDEWAYS, 0, ("truck", "slide"), ("sideways movement", "sliding", "tracking")),
    *(
        _Denied(
            _SIDEWAYS,
            sign,
            (f"pan {side}", f"pan to the {side}", f"turn {side}", f"move {side}", f"look {side}"),
            (f"pan {side}", f"panning {side}", f"panning to the {side}", f"moving {side}"),
        )
        for side, sign in (("left", -1), ("right", 1))
    ),
    _Denied(_UPWARDS, 0, ("tilt", "move up or down"), ("tilt", "tilting", "tilts")),
    *(
        _Denied(
            _UPWARDS,
            sign,
            (f"tilt {way}", f"tilt {way}wards", f"move {way}", f"look {way}", f"pan {way}", verb),
            (f"tilt {way}", f"tilting {way}", f"panning {way}", f"moving {way}"),
        )
        for way, sign, verb in (("up", 1, "rise"), ("down", -1, "sink"))
    ),
    _Denied(_NEARER, 0, ("zoom", "dolly"), ("zoom", "zooming", "zooms", "dolly", "change of zoom")),
    _Denied(
        _NEARER,
        1,
        ("zoom in", "move forward", "move closer", "push in", "dolly in", "fly forward"),
        ("zoom in", "zooming in", "push in", "moving forward", "moving closer", "dolly in"),
    ),
    _Denied(
        _NEARER,
        -1,
        ("zoom out", "move back", "pull back", "dolly out", "move away", "pull out"),
        ("zoom out", "zooming out", "pull back", "moving back", "dolly out"),
    ),
    _Denied(("roll",), 0, ("roll", "rotate", "spin"), ("roll", "rotation", "rotating", "rolling")),
    *(
        _Denied(
            ("roll",),
            sign,
            (f"roll {way}", f"rotate {way}", f"turn {way}"),
            (f"{way} roll", f"{way} rotation", f"rotating {way}"),
        )
        for way, sign in (("clockwise", 1), ("counterclockwise", -1), ("counter clockwise", -1))
    ),
)
_THINGS = (
    _Denied(
        ("sky_x", "sky_y"),
        0,
        ("move", "drift", "float", "move left", "drift to the right", "drift left", "move at all"),
        ("the clouds", "clouds", "the sky"),
    ),
    _Denied(
        ("sky_x", "sky_y", "ripple", "water_x"),
        0,
        ("move", "drift"),
        ("the clouds and the waves", "clouds and waves"),
    ),
    _Denied(
        ("ripple", "water_x"),
        0,
        ("move", "flow", "ripple", "flow left", "flow to the right", "move at all", "run"),
        ("the water", "the waves", "the sea", "the river", "the lake", "waves", "the ocean"),
    ),
    _Denied(
        ("object_x", "object_y", "object_turn", "sway"),
        0,
        ("move", "turn", "sway", "move left", "move at all"),
        ("the object", "the subject", "the ship", "the boat", "people", "the trees", "the woman"),
    ),
)
_OTHERS: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("sky_x", "sky_y"), ("no moving clouds", "without moving clouds", "no drifting clouds")),
    (("sky_x", "sky_y"), ("no clouds moving", "no cloud movement", "without drifting clouds")),
    (("ripple", "water_x"), ("no waves", "without waves", "no ripples", "without ripples")),
    (("ripple", "water_x"), ("no flowing water", "no moving water", "no water movement")),
    (("snow", "rain"), ("no snow", "no rain", "without rain", "it does not snow")),
    (("flicker",), ("no flicker", "without flicker", "the light does not flicker")),
)


def denial(rng: random.Random, moves: Parameters) -> tuple[str, tuple[str, ...]]:
    """Draw a sentence that denies something else than these moves.

    Returns:
        (the sentence, the motion parameters that it denies).
    """
    cameras = [d for d in _CAMERA if not d.conflicts(moves)]
    things = [d for d in _THINGS if not d.conflicts(moves)]
    others = [o for o in _OTHERS if moves.keys().isdisjoint(o[0])]
    choice = rng.random()
    if cameras and choice < 0.55:
        return _camera_denial(rng, cameras)
    if things and (choice < 0.9 or not others):
        return _thing_denial(rng, things)
    names, wordings = rng.choice(others)
    return rng.choice(wordings), names


def _camera_denial(rng: random.Random, options: list[_Denied]) -> tuple[str, tuple[str, ...]]:
    """Deny a move of the camera, at times two: "do not pan or zoom", "no pan, no zoom"."""
    first, second = rng.choice(options), rng.choice(options)
    pair = rng.random() < 0.2 and second is not first
    if rng.random() < 0.55:
        verb = rng.choice(first.verbs) + (f" or {rng.choice(second.verbs)}" if pair else "")
        words = _said(rng.choice(_CAMERA_VERBS), verb)
    else:
        joint = rng.choice((" or ", ", no ", " and no "))
        noun = rng.choice(first.nouns) + (joint + rng.choice(second.nouns) if pair else "")
        words = rng.choice(_CAMERA_NOUNS).format(noun)
    return words, first.names + (second.names if pair else ())


def _thing_denial(rng: random.Random, options: list[_Denied]) -> tuple[str, tuple[str, ...]]:
    """Deny that something moves: "the clouds do not drift", "keep the water still"."""
    denied = rng.choice(options)
    subject = rng.choice(denied.nouns)
    if rng.random() < 0.5:
        words = rng.choice(_THING_VERBS).format(subject, rng.choice(denied.verbs))
    else:
        words = rng.choice(_THING_STATES).format(subject)
    return _agree(words, subject), denied.names


def denial_words() -> list[str]:
    """Return every phrase that denials are made of."""
    phrases = [*_CAMERA_VERBS, *_CAMERA_NOUNS, *_THING_VERBS, *_THING_STATES]
    phrases += [p for d in (*_CAMERA, *_THINGS) for p in (*d.verbs, *d.nouns)]
    phrases += [_said("{}s", verb) for d in _CAMERA for verb in d.verbs]
    phrases += [p for _, wordings in _OTHERS for p in wordings]
    return [*phrases, "does is stays it was remains holds isn't doesn't but"]


def _said(form: str, verb: str) -> str:
    """Put a verb into a form, in the third person where the form asks for it."""
    if "{}s" not in form:
        return form.format(verb)
    first, *rest = verb.split(" ")
    third = {"dolly": "dollies", "push": "pushes", "fly": "flies"}.get(first, first + "s")
    return form.replace("{}s", " ".join((third, *rest)))


def _agree(words: str, subject: str) -> str:
    """Make a sentence about one thing singular."""
    if subject.endswith("s") or subject == "people":
        return words
    start = f"{subject} "
    for many, one in (
        *(("do not", "does not"), ("don't", "doesn't"), ("are ", "is "), ("aren't", "isn't")),
        *(("stay where they are", "stays where it is"), ("stay", "stays"), ("remain", "remains")),
        *(("hold", "holds"), ("freeze", "freezes")),
    ):
        if words.startswith(start + many):
            return start + one + words.removeprefix(start + many)
    return words
