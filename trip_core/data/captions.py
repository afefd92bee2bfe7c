"""Captions of the procedural world: what users type, and the motion it means.

Every caption carries its motion parameters, so that text and motion agree by construction. The
grammar gives each motion several wordings, speeds and combinations, denies others, and wraps them
in the kind of description that accompanies a picture.
"""

import random
import re
from dataclasses import dataclass

from ..nn.motion_field import GENTLE, MOTION_PARAMETERS
from .camera_words import CAMERA
from .denials import denial, denial_words
from .descriptions import DO, DOES, MANY, STYLE, SUBJECTS, WHERE, WHO
from .grammar import ADJECTIVES, ADVERBS, AMBIENT, NOTHING, REST, SPEEDS, STATIC_CAMERA, Parameters
from .local_words import LOCAL

_WORDINGS = {**CAMERA, **LOCAL}
#: Kinds that are not one motion: several at once, or what is left when something is held.
MIXED_KINDS: tuple[str, ...] = ("ambient", "gentle", "cameras", "combined", "denied")
KINDS: tuple[str, ...] = ("still", *_WORDINGS, *MIXED_KINDS)


@dataclass(frozen=True)
class Caption:
    """A sentence and the motion it asks for.

    Attributes:
        text: What a user might type.
        kind: One of ``KINDS``.
        parameters: Values for ``MOTION_PARAMETERS``, in its order and units.
    """

    text: str
    kind: str
    parameters: tuple[float, ...]


def sample_caption(rng: random.Random, kind: str | None = None) -> Caption:
    """Draw a caption.

    Args:
        rng: Source of randomness.
        kind: One of ``KINDS``; None draws one (more often those whose region is hard to learn).

    Raises:
        ValueError: If the kind is unknown.
    """
    if kind is None:
        kind = rng.choices(KINDS, [_FREQUENCY.get(k, 1.0) for k in KINDS])[0]
    if kind not in KINDS:
        raise ValueError(f"caption kind must be one of {', '.join(KINDS)}; got {kind!r}")
    if kind == "still":
        words, moves = rng.choice(NOTHING), {}
    elif kind == "ambient":
        words, moves = _ambient(rng)
    elif kind == "gentle":
        words, moves = "", GENTLE
    elif kind == "cameras":
        words, moves = _cameras(rng)
    elif kind == "combined":
        words, moves = _combination(rng)
    elif kind == "denied":
        words, moves = _denied(rng)
    else:
        words, moves = _clause(rng, kind)
    return Caption(_dress(rng, words, kind, moves), kind, as_parameters(moves))


def plain_caption(kind: str) -> Caption:
    """Return the first, unadorned wording of a kind at ordinary speed (used by evaluations)."""
    if kind == "still":
        return Caption(NOTHING[0], kind, as_parameters({}))
    if kind in MIXED_KINDS:
        return sample_caption(random.Random(0), kind)
    moves, wordings = _WORDINGS[kind]
    return Caption(wordings[0].format(a="", v=""), kind, as_parameters(moves))


def as_parameters(moves: Parameters) -> tuple[float, ...]:
    """Turn ``{name: share of an ordinary move}`` into values for ``MOTION_PARAMETERS``."""
    return tuple(moves.get(name, 0.0) * size for name, size in MOTION_PARAMETERS.items())


def vocabulary() -> list[str]:
    """Return every word of the grammar, sorted: all that the text encoder knows."""
    parts = [w.format(a="", v="") for _, wordings in _WORDINGS.values() for w in wordings]
    parts += [*NOTHING, *STATIC_CAMERA, *REST, *SUBJECTS, *STYLE, *SPEEDS]
    parts += [*WHO, *DOES, *MANY, *DO, *WHERE]
    parts += [*denial_words(), *_JOINTS, *(w for row in _DIAGONALS for w in row[1])]
    parts += ["while and as the then with in of a an it is"]
    return sorted({word for part in parts for word in re.findall(r"[a-z]+", part)})


_FREQUENCY = {"still": 2.0, "gentle": 3.0, "combined": 9.0, "clouds_left": 2.0}
_FREQUENCY |= {"clouds_right": 2.0, "waves": 3.0, "truck_left": 1.5, "truck_right": 1.5}
_FREQUENCY |= {"ambient": 1.5, "cameras": 3.0, "denied": 2.0}

_JOINTS = (" while ", ", ", " and ", " as ", ", and ", ". ", " then ", ", then ", " with ")
_JOINTS += (" plus ",)
# Shares of the two parameters when it goes right and up, and how sentences about both begin.
_DIAGONALS: tuple[tuple[Parameters, tuple[str, ...]], ...] = (
    ({"pan": 1, "tilt": 1}, ("pan", "the camera pans", "pans", "panning", "look", "camera pans")),
    ({"truck": 1, "boom": 1}, ("move", "the camera moves", "moving", "camera moves", "moves")),
    ({"sky_x": 1, "sky_y": -1}, ("the clouds drift", "clouds move", "clouds drifting")),
)
_SUBJECT = re.compile(
    r"^((?:the )?(?:camera|clouds|sky|water|river|stream|waves|wind|sea|ocean|lake|drone|view)"
    r"(?: is| are)?) (?!to |in |on |at )"
)


def _clause(rng: random.Random, kind: str) -> tuple[str, Parameters]:
    """Say one motion, at some speed."""
    moves, wordings = _WORDINGS[kind]
    wording = rng.choice(wordings)
    speed = rng.choice(ADJECTIVES if "{a}" in wording else ADVERBS) if rng.random() < 0.5 else ""
    words = wording.format(a=f"{speed} " if speed else "", v=f" {speed}" if speed else "")
    if speed and "{v}" in wording:
        plain, place = wording.format(v=""), rng.random()
        if place < 0.25:
            words = f"{speed} {plain}"  # "slowly the camera pans left"
        elif place < 0.6:
            words = _SUBJECT.sub(rf"\1 {speed} ", plain) if _SUBJECT.match(plain) else words
    elif "{a}" in wording and rng.random() < 0.25:
        words = f"a {words}"
    return words, {name: share * SPEEDS[speed] for name, share in moves.items()}


def _ambient(rng: random.Random) -> tuple[str, Parameters]:
    """Hold the camera, or one thing, still; the rest does what it does by itself."""
    held = [rng.choice(STATIC_CAMERA)] if rng.random() < 0.5 else []
    if held and rng.random() < 0.7:
        return held[0], AMBIENT
    words, names = denial(rng, {})
    words = rng.choice((", ", ". ", " and ")).join([*held, words])
    return words, {k: v for k, v in AMBIENT.items() if k not in names}


def _cameras(rng: random.Random) -> tuple[str, Parameters]:
    """Join two or three moves of the camera, at times with something local."""
    if rng.random() < 0.2:
        words, moves = _diagonal(rng)
        extra = rng.random() < 0.3
        return _joined(rng, [words], moves, [rng.choice(list(CAMERA))] if extra else [])
    kinds = rng.sample(list(CAMERA), 3 if rng.random() < 0.2 else 2)
    if rng.random() < 0.25:
        kinds.append(rng.choice(list(LOCAL)))
    return _joined(rng, [], {}, kinds)


def _diagonal(rng: random.Random) -> tuple[str, Parameters]:
    """Say two directions with one verb: "pan up and to the left"."""
    moves, beginnings = rng.choice(_DIAGONALS)
    signs = [rng.choice((-1, 1)), rng.choice((-1, 1))]
    across = rng.choice(("", "to the ")) + ("right" if signs[0] > 0 else "left")
    upright = ("up" if signs[1] > 0 else "down") + rng.choice(("", "", "wards"))
    ways = [across, upright] if rng.random() < 0.4 else [upright, across]
    speed = rng.choice(ADVERBS) if rng.random() < 0.4 else ""
    words = " ".join(
        (rng.choice(beginnings), rng.choice((" and ", " ")).join(ways), speed)
    ).rstrip()
    shares = zip(moves.items(), signs, strict=True)
    return words, {name: share * sign * SPEEDS[speed] for (name, share), sign in shares}


def _combination(rng: random.Random) -> tuple[str, Parameters]:
    """Join a camera move (or a static camera) and one or two local motions."""
    kinds = [rng.choice(list(CAMERA))] if rng.random() < 0.75 else []
    local = list(LOCAL) + ["clouds_left", "clouds_right", "waves"] * 4
    kinds += rng.sample(local, 1 if kinds and rng.random() < 0.7 else 2)
    held = [] if kinds[0] in CAMERA or rng.random() >= 0.4 else [rng.choice(STATIC_CAMERA)]
    return _joined(rng, held, {}, kinds)


def _denied(rng: random.Random) -> tuple[str, Parameters]:
    """Ask for one motion or more and deny another: "pan right, but don't zoom"."""
    choice = rng.random()
    if choice < 0.7:
        words, moves = _clause(rng, rng.choice(list(_WORDINGS)))
    else:
        words, moves = _combination(rng) if choice < 0.85 else _cameras(rng)
    no = denial(rng, moves)[0]
    if rng.random() < 0.5:
        return (
            f"{no}{rng.choice((', ', '. ', ' but ', ', but ', ' and ', ', only '))}{words}",
            moves,
        )
    return f"{words}{rng.choice((', ', '. ', ' but ', ', but ', ' and ', ' '))}{no}", moves


def _joined(
    rng: random.Random, words: list[str], moves: Parameters, kinds: list[str]
) -> tuple[str, Parameters]:
    """Join clauses of these kinds to words and moves; one thing does not move two ways."""
    words = list(words)
    for kind in kinds:
        clause, clause_moves = _clause(rng, kind)
        if moves.keys().isdisjoint(clause_moves):
            words.append(clause)
            moves = moves | clause_moves
    rng.shuffle(words)
    for k, earlier in enumerate(words[:-1], start=1):
        if "camera" in earlier and rng.random() < 0.6:  # "the camera pans left and moves up"
            words[k] = words[k].removeprefix("the camera ")
    return rng.choice(_JOINTS).join(words), moves


def _dress(rng: random.Random, words: str, kind: str, moves: Parameters) -> str:
    """Put a description of the picture around the motion, as users do."""
    parts = [words] if words else []
    if kind in LOCAL and rng.random() < 0.2:
        parts.append(rng.choice(REST))
    if (moves or kind == "still") and kind not in ("gentle", "denied") and rng.random() < 0.1:
        parts.insert(rng.randrange(len(parts) + 1), denial(rng, moves)[0])
    if kind == "gentle" or rng.random() < 0.4:
        subject = rng.choice(SUBJECTS) if rng.random() < 0.6 else _deed(rng)
        parts = [subject, *parts] if rng.random() < 0.7 else [*parts, subject]
    if rng.random() < 0.3:
        parts += rng.sample(STYLE, rng.randint(1, 3))
    if kind == "gentle" and rng.random() < 0.15:
        parts = []  # an empty prompt is one, too
    text = rng.choice((", ", ", ", ". ")).join(parts)
    return text.capitalize() if rng.random() < 0.3 else text


def _deed(rng: random.Random) -> str:
    """Say what somebody does, which the world has no motion for: the words do no harm."""
    who, does = rng.choice(((WHO, DOES), (WHO, DOES), (MANY, DO)))
    return " ".join((rng.choice(who), rng.choice(does), rng.choice(WHERE))).rstrip()
