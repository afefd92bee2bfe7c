"""The words of motion that belong to no single motion: speeds, directions, stillness."""

import re

#: Name of a motion parameter -> share of an ordinary move.
Parameters = dict[str, float]
#: A kind of motion: the ordinary move, and how it is said.
Kind = tuple[Parameters, tuple[str, ...]]

#: How far an ordinary move goes when a speed word is said.
SPEEDS: dict[str, float] = {
    "": 1.0,
    **dict.fromkeys(("slow", "slowly", "gentle", "gently", "soft", "softly"), 0.5),
    **dict.fromkeys(("gradual", "gradually", "calm", "calmly"), 0.5),
    **dict.fromkeys(("slight", "slightly", "subtle", "subtly", "a little", "a bit"), 0.4),
    **dict.fromkeys(("very slow", "very slowly", "very gentle", "very gently"), 0.3),
    **dict.fromkeys(("extremely slow", "extremely slowly"), 0.3),
    **dict.fromkeys(("fast", "quick", "quickly", "rapid", "rapidly", "swift", "swiftly"), 1.7),
    **dict.fromkeys(("very fast", "very quick", "very quickly", "extremely fast"), 2.2),
}
ADJECTIVES = ("slow", "gentle", "soft", "gradual", "calm", "slight", "subtle", "very slow")
ADJECTIVES += ("very gentle", "extremely slow", "fast", "quick", "rapid", "swift", "very fast")
ADVERBS = tuple(w for w in SPEEDS if w.endswith("ly") or w in ("fast", "a little", "a bit"))
ADVERBS += ("very fast",)

_FACING = {"left": "right", "leftward": "rightward", "up": "down", "upward": "downward"}
_FACING |= {"upwards": "downwards", "rises": "sinks", "rising": "sinking", "rise": "sink"}
_FACING |= {"ascends": "descends", "lifts": "goes"}
_FACING |= {there: here for here, there in _FACING.items() if here != "lifts"}


def facing(wordings: tuple[str, ...]) -> tuple[str, ...]:
    """Return the same wordings in the opposite direction."""
    return tuple(
        re.sub(r"[a-z]+", lambda word: _FACING.get(word[0], word[0]), wording)
        for wording in wordings
    )


NOTHING = (
    "nothing moves",
    "completely still",
    "a still picture",
    "frozen",
    "motionless",
    "no motion",
    "no motion at all",
    "no movement",
    "everything is still",
    "everything stays still",
    "everything remains still",
    "a frozen moment",
    "frozen in time",
    "freeze",
    "freeze frame",
    "freeze the picture",
    "freeze everything",
    "the picture freezes",
    "time stands still",
    "standing still",
    "keep still",
    "stay still",
    "keep everything still",
    "a still image",
    "a static image",
    "a still frame",
    "still",
    "nothing at all moves",
    "nothing should move",
    "nothing is moving",
    "it does not move",
    "without any motion",
    "without movement",
    "no animation",
    "do not move anything",
    "don't move anything",
    "do not animate",
    "don't move",
)
STATIC_CAMERA = (
    "static camera",
    "the camera is static",
    "camera static",
    "the camera stays still",
    "the camera remains still",
    "the camera holds still",
    "keep the camera still",
    "no camera movement",
    "no camera motion",
    "no camera moves",
    "fixed camera",
    "camera fixed",
    "locked off shot",
    "locked camera",
    "the camera is locked",
    "stationary camera",
    "the camera is stationary",
    "static shot",
    "static camera shot",
    "still shot",
    "tripod shot",
    "on a tripod",
    "static",
    "fixed",
    "the camera is fixed",
    "the camera does not move",
    "the camera doesn't move",
    "the camera is not moving",
    "the camera never moves",
    "the camera should not move",
    "do not move the camera",
    "don't move the camera",
    "without moving the camera",
    "without camera movement",
    "without any camera motion",
    "still camera",
)
REST = (
    "the rest is still",
    "the rest stays still",
    "everything else is still",
    "everything else stays still",
    "while the ground stays still",
    "while the shore stays",
    "while nothing else moves",
    "nothing else moves",
    "nothing else",
    "the ground does not move",
    "everything else does not move",
    "keep the rest still",
)
#: What a picture does by itself when only its camera, or one thing in it, is told to hold still.
AMBIENT: Parameters = {"sky_x": 0.4, "ripple": 0.5}
