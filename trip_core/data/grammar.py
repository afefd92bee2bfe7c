"""The words of the procedural world: wordings of every motion, speeds, subjects, styles."""

#: Name of a motion parameter -> share of an ordinary move.
Parameters = dict[str, float]

#: How far an ordinary move goes when a speed word is said.
SPEEDS: dict[str, tuple[float, ...]] = {
    "": (1.0,),
    "slowly": (0.5,),
    "slow": (0.5,),
    "gently": (0.5,),
    "gentle": (0.5,),
    "softly": (0.5,),
    "slightly": (0.4,),
    "very slowly": (0.3,),
    "fast": (1.7,),
    "quickly": (1.7,),
    "quick": (1.7,),
    "rapidly": (1.7,),
    "very fast": (2.2,),
}
ADJECTIVES = ("slow", "gentle", "quick", "fast")
ADVERBS = ("slowly", "gently", "softly", "slightly", "very slowly", "fast", "quickly", "rapidly")
ADVERBS += ("very fast",)

# Kind -> (parameters of the ordinary move, wordings). {a} takes an adjective and a blank or
# nothing; {v} a blank and an adverb or nothing. A wording holds exactly one of them.
CAMERA: dict[str, tuple[dict[str, float], tuple[str, ...]]] = {
    "pan_left": (
        {"pan": -1},
        (
            "the camera pans left{v}",
            "camera pans to the left{v}",
            "{a}pan left",
            "{a}pan to the left",
            "panning left{v}",
            "{a}camera pan left",
            "{a}left pan",
            "the camera turns left{v}",
            "the view moves to the left{v}",
            "camera panning left{v}",
        ),
    ),
    "pan_right": (
        {"pan": 1},
        (
            "the camera pans right{v}",
            "camera pans to the right{v}",
            "{a}pan right",
            "{a}pan to the right",
            "panning right{v}",
            "{a}camera pan right",
            "{a}right pan",
            "the camera turns right{v}",
            "the view moves to the right{v}",
            "camera panning right{v}",
        ),
    ),
    "tilt_up": (
        {"tilt": 1},
        (
            "the camera tilts up{v}",
            "{a}tilt up",
            "tilting up{v}",
            "{a}camera tilt upward",
            "the camera looks up{v}",
            "the camera tilts upwards{v}",
            "{a}pan up",
            "the camera pans up{v}",
        ),
    ),
    "tilt_down": (
        {"tilt": -1},
        (
            "the camera tilts down{v}",
            "{a}tilt down",
            "tilting down{v}",
            "{a}camera tilt downward",
            "the camera looks down{v}",
            "the camera tilts downwards{v}",
            "{a}pan down",
            "the camera pans down{v}",
        ),
    ),
    "zoom_in": (
        {"zoom": 1},
        (
            "the camera zooms in{v}",
            "{a}zoom in",
            "zooming in{v}",
            "{a}zoom into the picture",
            "camera zooms closer{v}",
            "{a}camera zoom in",
            "zoom in{v}",
            "the view zooms in{v}",
        ),
    ),
    "zoom_out": (
        {"zoom": -1},
        (
            "the camera zooms out{v}",
            "{a}zoom out",
            "zooming out{v}",
            "{a}zoom out of the picture",
            "{a}camera zoom out",
            "zoom out{v}",
            "the view zooms out{v}",
        ),
    ),
    "rotate_cw": (
        {"roll": 1},
        (
            "the camera rolls clockwise{v}",
            "{a}clockwise roll",
            "the camera rotates clockwise{v}",
            "camera rotating clockwise{v}",
            "{a}clockwise rotation of the camera",
            "rotate the camera clockwise{v}",
            "roll clockwise{v}",
            "rotate clockwise{v}",
        ),
    ),
    "rotate_ccw": (
        {"roll": -1},
        (
            "the camera rolls counterclockwise{v}",
            "{a}counterclockwise roll",
            "the camera rotates counterclockwise{v}",
            "camera rotating counter clockwise{v}",
            "the camera rolls anticlockwise{v}",
            "rotate the camera counter clockwise{v}",
            "roll counterclockwise{v}",
            "rotate counterclockwise{v}",
        ),
    ),
    "truck_left": (
        {"truck": -1},
        (
            "the camera moves left{v}",
            "{a}dolly left",
            "the camera trucks left{v}",
            "{a}tracking shot to the left",
            "the camera slides left{v}",
            "{a}parallax to the left",
            "the camera moves sideways to the left{v}",
            "{a}sideways move left",
        ),
    ),
    "truck_right": (
        {"truck": 1},
        (
            "the camera moves right{v}",
            "{a}dolly right",
            "the camera trucks right{v}",
            "{a}tracking shot to the right",
            "the camera slides right{v}",
            "{a}parallax to the right",
            "the camera moves sideways{v}",
            "{a}sideways move",
            "{a}parallax",
            "{a}sideways dolly",
        ),
    ),
    "boom_up": (
        {"boom": 1},
        (
            "the camera rises{v}",
            "{a}crane up",
            "the camera moves up{v}",
            "{a}boom up",
            "the camera cranes up{v}",
        ),
    ),
    "boom_down": (
        {"boom": -1},
        (
            "the camera sinks{v}",
            "{a}crane down",
            "the camera moves down{v}",
            "{a}boom down",
            "the camera lowers{v}",
        ),
    ),
    "dolly_in": (
        {"dolly": 1},
        (
            "the camera moves forward{v}",
            "{a}dolly in",
            "{a}push in",
            "the camera pushes in{v}",
            "the camera dollies in{v}",
            "the camera flies forward{v}",
            "dolly in{v}",
            "{a}dolly",
            "the camera moves closer{v}",
        ),
    ),
    "dolly_out": (
        {"dolly": -1},
        (
            "the camera moves back{v}",
            "{a}dolly out",
            "{a}pull out",
            "the camera pulls back{v}",
            "the camera dollies out{v}",
            "the camera moves backward{v}",
        ),
    ),
}
LOCAL: dict[str, tuple[dict[str, float], tuple[str, ...]]] = {
    "clouds_left": (
        {"sky_x": -1},
        (
            "clouds drift left{v}",
            "the clouds move to the left{v}",
            "{a}clouds drifting left",
            "the sky drifts to the left{v}",
            "clouds float left{v}",
            "the clouds are moving left{v}",
            "the wind carries the clouds left{v}",
            "clouds pass to the left{v}",
        ),
    ),
    "clouds_right": (
        {"sky_x": 1},
        (
            "clouds drift right{v}",
            "the clouds move to the right{v}",
            "{a}clouds drifting right",
            "the sky drifts to the right{v}",
            "clouds float right{v}",
            "clouds drift{v}",
            "drifting clouds{v}",
            "the clouds are moving{v}",
            "clouds move across the sky{v}",
            "{a}moving clouds",
        ),
    ),
    "waves": (
        {"ripple": 1},
        (
            "the water ripples{v}",
            "{a}waves",
            "waves on the water{v}",
            "the sea moves{v}",
            "rippling water{v}",
            "{a}waves on the sea",
            "the lake shimmers{v}",
            "the ocean waves move{v}",
            "the water moves{v}",
            "{a}ripples on the lake",
            "waves roll{v}",
            "shimmering water{v}",
        ),
    ),
    "flow_left": (
        {"water_x": -1, "ripple": 0.7},
        ("the river flows left{v}", "the water flows to the left{v}", "{a}stream flowing left"),
    ),
    "flow_right": (
        {"water_x": 1, "ripple": 0.7},
        (
            "the river flows right{v}",
            "the water flows to the right{v}",
            "the river flows{v}",
            "{a}flowing water",
            "the water flows{v}",
            "the stream runs{v}",
        ),
    ),
    "object_left": (
        {"object_x": -1},
        (
            "the object moves left{v}",
            "the ship sails left{v}",
            "the subject moves to the left{v}",
            "the boat drifts left{v}",
            "it slides to the left{v}",
        ),
    ),
    "object_right": (
        {"object_x": 1},
        (
            "the object moves right{v}",
            "the ship sails right{v}",
            "the subject moves to the right{v}",
            "the boat drifts right{v}",
            "it slides to the right{v}",
            "the ship sails{v}",
        ),
    ),
    "object_turn": (
        {"object_turn": 1},
        ("the object turns{v}", "the subject turns{v}", "{a}turning object", "it spins{v}"),
    ),
    "sway": (
        {"sway": 1},
        (
            "the subject sways{v}",
            "it sways in the wind{v}",
            "{a}swaying",
            "swaying in the breeze{v}",
        ),
    ),
    "snow": (
        {"snow": 1},
        ("snow falls{v}", "falling snow{v}", "it is snowing{v}", "snowfall{v}", "{a}snow falling"),
    ),
    "rain": ({"rain": 1}, ("rain falls{v}", "falling rain{v}", "it is raining{v}", "{a}rainfall")),
    "flicker": (
        {"flicker": 1},
        ("the light flickers{v}", "flickering light{v}", "{a}flicker", "the lights flicker{v}"),
    ),
}
NOTHING = (
    "nothing moves",
    "completely still",
    "a still picture",
    "frozen",
    "motionless",
    "no motion",
    "no movement",
    "everything is still",
    "everything stays still",
    "a frozen moment",
    "standing still",
    "keep still",
    "a still image",
    "still",
)
STATIC_CAMERA = (
    "static camera",
    "the camera is static",
    "the camera stays still",
    "no camera movement",
    "fixed camera",
    "locked off shot",
    "static shot",
    "tripod shot",
)
REST = (
    "the rest is still",
    "everything else stays still",
    "while the ground stays still",
    "while the shore stays",
    "while nothing else moves",
)
SUBJECTS = (
    "a ship at sea",
    "a castle above a river",
    "clouds over hills",
    "a lake in the mountains",
    "a city at night",
    "a portrait of a woman",
    "a bottle on a table",
    "the ocean at sunset",
    "a stormy sky over the sea",
    "an old town by the water",
    "a forest in the snow",
    "a rainy street",
    "a boat on calm water",
    "waves and rocks",
    "a waterfall",
    "a man in a hat",
    "a cat",
    "a house under a cloudy sky",
    "a field of flowers",
    "a dragon over the mountains",
    "an astronaut in space",
    "a river in autumn",
    "a sailing ship under clouds",
    "a beach with palm trees",
)
STYLE = (
    "highly detailed",
    "cinematic lighting",
    "masterpiece",
    "best quality",
    "golden hour",
    "digital painting",
    "photorealistic",
    "moody light",
    "wide shot",
    "soft light",
    "sharp focus",
)
#: What a picture does when the words ask for nothing in particular.
GENTLE: Parameters = {"zoom": 0.35, "sky_x": 0.4, "ripple": 0.5}
AMBIENT: Parameters = {"sky_x": 0.4, "ripple": 0.5}
