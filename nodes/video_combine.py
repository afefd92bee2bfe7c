"""Video Combine: pictures, latents or a video into one file, with its sound and its workflow."""

from typing import Any, ClassVar

from torch import Tensor

from ..trip_core.codecs import CODECS, available_codecs
from . import host
from .animation_video import animation_video
from .clip_file import Wishes, write_clip
from .sources import AUDIO_FITS, source

_PIXEL_FORMATS = [
    "auto",
    *sorted({name for codec in CODECS.values() for name in codec.pixel_formats}),
]


class VideoCombine:
    """Node ``TRIP_VideoCombine``."""

    CATEGORY = "TRIP"
    DESCRIPTION = (
        "Writes a clip into exactly one file, sound and workflow included, and plays it on the "
        "node. Takes pictures, or latents (frames are decoded as they are written, so that a long "
        "clip never fills the memory), or a video."
    )
    SEARCH_ALIASES: ClassVar = [
        "save video",
        "export video",
        "mp4",
        "gif",
        "webm",
        "combine frames",
    ]
    FUNCTION = "combine"
    OUTPUT_NODE = True
    RETURN_TYPES = ("VIDEO", "STRING")
    RETURN_NAMES = ("video", "filename")
    OUTPUT_TOOLTIPS = (
        "The written clip, for nodes that take a video.",
        "Its name, with folders below the output (or temp) folder.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Return the inputs."""
        return {
            "required": {
                "fps": (
                    "FLOAT",
                    {
                        "default": 8.0, "min": 0.01, "max": 240.0, "step": 0.01,
                        "tooltip": "Frames per second. A connected video keeps its own rate.",
                    },
                ),
                "format": (
                    list(available_codecs()),
                    {
                        "tooltip": "mp4 (H.264) in pixel format auto plays everywhere. ProRes and "
                        "FFV1 are for editing. Only formats that this machine can write are listed."
                    },
                ),
                "crf": (
                    "INT",
                    {
                        "default": -1, "min": -1, "max": 63,
                        "tooltip": "Quality: lower is better and larger. -1 takes the format's own "
                        "good value (H.264 18, H.265 20, VP9 20, AV1 26, WebP quality 90). 0 makes "
                        "a WebP lossless. H.264 and H.265 end at 51: more is 51. GIF, PNG, ProRes "
                        "and FFV1 have no such choice.",
                    },
                ),
                "pixel_format": (
                    _PIXEL_FORMATS,
                    {
                        "tooltip": "How pixels are stored. auto is what most players of the format "
                        "know, with transparency where it can hold it. 10le stands for 10 bits a "
                        "colour. What browsers cannot play is shown here by a copy that they can."
                    },
                ),
                "loop": (
                    "INT",
                    {
                        "default": 0, "min": 0, "max": 100,
                        "tooltip": "How often a WebP, GIF or animated PNG plays; 0 is for ever. "
                        "Video files hold no such number.",
                    },
                ),
                "pingpong": (
                    "BOOLEAN",
                    {"default": False, "tooltip": "Play the clip forwards, then backwards."},
                ),
                "save_output": (
                    "BOOLEAN",
                    {
                        "default": True, "label_on": "save", "label_off": "preview only",
                        "tooltip": "Save into the output folder, or only show the clip here (temp "
                        "folder, emptied when ComfyUI starts).",
                    },
                ),
                "filename_prefix": (
                    "STRING",
                    {
                        "default": "TRIP/clip",
                        "tooltip": "Name of the file, with folders below the output folder. "
                        "%date:yyyy-MM-dd% becomes the date. A number is added.",
                    },
                ),
                "save_workflow": (
                    "BOOLEAN",
                    {
                        "default": True,
                        "tooltip": "Store the workflow in the file: drop it on the canvas to get "
                        "the graph back. GIF and mkv get a PNG beside them for that.",
                    },
                ),
                "audio_fit": (
                    list(AUDIO_FITS),
                    {
                        "tooltip": "Sound of another length: cut it or fill it up with silence, or "
                        "end the video with the sound, or keep both as they are."
                    },
                ),
            },
            "optional": {
                "images": ("IMAGE", {"tooltip": "The frames."}),
                "latent": ("LATENT", {"tooltip": "Or their latents; they need the vae."}),
                "vae": ("VAE", {"tooltip": "Decodes the latents."}),
                "video": ("VIDEO", {"tooltip": "Or a video, with its rate and sound."}),
                "audio": (
                    "AUDIO",
                    {
                        "tooltip": "Sound for the clip, instead of a video's own: the first of a "
                        "batch. 1, 2 or 6 channels stay as they are; any other number is mixed to "
                        "one."
                    },
                ),
            },
            "hidden": {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"},
        }  # fmt: skip

    @classmethod
    def VALIDATE_INPUTS(cls, format: str | None, pixel_format: str | None) -> bool | str:
        """Refuse what cannot be written before anything runs; what is linked comes as None."""
        try:
            if format is not None:
                _check_format(format, pixel_format or "auto")
        except ValueError as error:
            return str(error)
        return True

    def combine(
        self, fps: float, format: str, crf: int, pixel_format: str, loop: int, pingpong: bool,
        save_output: bool, filename_prefix: str, save_workflow: bool, audio_fit: str,
        images: Tensor | None = None, latent: Any = None, vae: Any = None, video: Any = None,
        audio: Any = None, prompt: Any = None, extra_pnginfo: Any = None,
    ) -> dict[str, Any]:  # fmt: skip
        """Write the clip; return it and what the node shows."""
        _check_format(format, pixel_format)
        wishes = Wishes(
            fps, format, crf, pixel_format, loop, pingpong, save_output, filename_prefix, audio_fit
        )
        texts = host.workflow_texts(prompt, extra_pnginfo, save_workflow)
        clip = write_clip(source(images, latent, vae, video), wishes, audio, texts)
        return {"ui": clip.ui, "result": (animation_video(clip.path, clip.fps), clip.name)}


def _check_format(format: str, pixel_format: str) -> None:
    """Refuse formats that this machine cannot write, and pixel formats that they cannot store."""
    if format not in available_codecs():
        known = ", ".join(available_codecs())
        raise ValueError(f"this machine cannot write {format!r}; it can write {known}")
    CODECS[format].with_choices(pixel_format=pixel_format)
