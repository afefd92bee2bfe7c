"""Captions of the procedural world: what users type, and the motion it means.

Every caption carries its motion parameters, so that text and motion agree by construction. The
grammar gives each motion several wordings, speeds and combinations, and wraps them in the kind of
description that accompanies a picture.
"""

import random
import re
from dataclasses import dataclass

from ..nn.motion_field import GENTLE, MOTION_PARAMETERS
from .descriptions import DOES, STYLE, SUBJECTS, UNMOVED, WHERE, WHO
from .grammar import (
    ADJECTIVES,
    ADVERBS,
    AMBIENT,
    CAMERA,
    LOCAL,
    NOTHING,
    REST,
    SPEEDS,
    STATIC_CAMERA,
    Parameters,
)

_WORDINGS = {**CAMERA, **LOCAL}
KINDS: tuple[str, ...] = ("still", *_WORDINGS, "ambient", "gentle", "combined")


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
    elif kind == "combined":
        words, moves = _combination(rng)
    else:
        words, moves = _clause(rng, kind)
    return Caption(_dress(rng, words, kind, moves), kind, as_parameters(moves))


def plain_caption(kind: str) -> Caption:
    """Return the first, unadorned wording of a kind at ordinary speed (used by evaluations)."""
    if kind == "still":
        return Caption(NOTHING[0], kind, as_parameters({}))
    if kind in ("gentle", "combined", "ambient"):
        return sample_caption(random.Random(0), kind)
    moves, wordings = _WORDINGS[kind]
    return Caption(wordings[0].format(a="", v=""), kind, as_parameters(moves))


def as_parameters(moves: Parameters) -> tuple[float, ...]:
    """Turn ``{name: share of an ordinary move}`` into values for ``MOTION_PARAMETERS``."""
    return tuple(moves.get(name, 0.0) * size for name, size in MOTION_PARAMETERS.items())


def vocabulary() -> list[str]:
    """Return every word of the grammar, sorted: all that the text encoder knows."""
    parts = [w for _, wordings in _WORDINGS.values() for w in wordings]
    parts += [*NOTHING, *STATIC_CAMERA, *REST, *SUBJECTS, *SPEEDS, *WHO, *DOES, *WHERE]
    parts += [words for _, wordings in UNMOVED for words in wordings]
    parts += ["while and as the then with in of a an it is"]
    words = re.findall(r"[a-z]+", " ".join(parts).replace("{a}", "").replace("{v}", ""))
    return sorted(set(words))


_FREQUENCY = {"still": 2.0, "gentle": 3.0, "combined": 9.0, "clouds_left": 2.0}
_FREQUENCY |= {"clouds_right": 2.0, "waves": 3.0, "truck_left": 1.5, "truck_right": 1.5}


def _clause(rng: random.Random, kind: str) -> tuple[str, Parameters]:
    moves, wordings = _WORDINGS[kind]
    wording = rng.choice(wordings)
    speed = rng.choice(ADJECTIVES if "{a}" in wording else ADVERBS) if rng.random() < 0.5 else ""
    factor = rng.choice(SPEEDS[speed])
    words = wording.format(a=f"{speed} " if speed else "", v=f" {speed}" if speed else "")
    if speed and "{v}" in wording and rng.random() < 0.25:
        words = f"{speed} {wording.format(v='')}"  # "slowly the camera pans left"
    return words, {name: share * factor for name, share in moves.items()}


def _ambient(rng: random.Random) -> tuple[str, Parameters]:
    """Hold the camera, or one thing, still; the rest does what it does by itself."""
    if rng.random() < 0.5:
        return rng.choice(STATIC_CAMERA), AMBIENT
    names, wordings = rng.choice(UNMOVED)
    return rng.choice(wordings), {k: v for k, v in AMBIENT.items() if k not in names}


def _combination(rng: random.Random) -> tuple[str, Parameters]:
    """Join a camera move (or a static camera) and one or two local motions."""
    kinds = [rng.choice(list(CAMERA))] if rng.random() < 0.75 else []
    local = list(LOCAL) + ["clouds_left", "clouds_right", "waves"] * 4
    kinds += rng.sample(local, 1 if kinds and rng.random() < 0.7 else 2)
    words: list[str] = []
    moves: Parameters = {}
    for kind in kinds:
        clause, clause_moves = _clause(rng, kind)
        if moves.keys() & clause_moves.keys():
            continue  # one thing does not move two ways
        words.append(clause)
        moves |= clause_moves
    rng.shuffle(words)
    if not any(kind in CAMERA for kind in kinds) and rng.random() < 0.4:
        words.insert(rng.randrange(len(words) + 1), rng.choice(STATIC_CAMERA))
    joint = rng.choice((" while ", ", ", " and ", " as ", ", and ", ". "))
    return joint.join(words), moves


def _dress(rng: random.Random, words: str, kind: str, moves: Parameters) -> str:
    """Put a description of the picture around the motion, as users do."""
    parts = [words] if words else []
    if kind in LOCAL and rng.random() < 0.2:
        parts.append(rng.choice(REST))
    if moves and kind != "gentle" and rng.random() < 0.15:
        unmoved = [wordings for names, wordings in UNMOVED if moves.keys().isdisjoint(names)]
        parts.insert(rng.randrange(len(parts) + 1), rng.choice(rng.choice(unmoved)))
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
    return " ".join((rng.choice(WHO), rng.choice(DOES), rng.choice(WHERE))).rstrip()
