"""The formats an artist chooses from, as data: what each is for, and how its quality is set."""

from dataclasses import dataclass, replace
from functools import cache

from av.codec import Codec as FFmpegCodec
from av.codec.codec import UnknownCodecError

from .formats import FORMATS, VideoFormat


@dataclass(frozen=True)
class Codec:
    """One choice of format.

    Attributes:
        suffix: File ending; empty for a folder of pictures.
        format: How it is written, at its own good quality.
        pixel_formats: Those it can be written with; the first is its own. Empty: RGB in 8 bits.
        quality_option: The encoder's name for quality; None if it has none (lossless).
        worst: The largest crf that the encoder knows.
        alpha: Pixel formats (or, if it has none, whether the format itself) that keep alpha.
        played: Pixel formats in which every browser plays it; pictures, which have none, are.
        carries_workflow: Whether ComfyUI reads the workflow back from the file itself.
    """

    suffix: str
    format: VideoFormat
    pixel_formats: tuple[str, ...] = ()
    quality_option: str | None = "crf"
    worst: int = 51
    alpha: bool = False
    played: tuple[str, ...] = ("yuv420p",)
    carries_workflow: bool = True

    def with_choices(self, crf: int = -1, pixel_format: str = "auto") -> VideoFormat:
        """Return the format at a quality and in a pixel format.

        Args:
            crf: 0 (best) .. ``worst``; -1 = the format's own.
            pixel_format: One of ``pixel_formats``, or "auto".

        Raises:
            ValueError: If the format cannot be written so.
        """
        if pixel_format not in ("auto", *self.pixel_formats):
            known = ", ".join(self.pixel_formats) or "8-bit RGB"
            raise ValueError(f"{self.suffix or 'PNG'} cannot store {pixel_format}; it has {known}")
        options = dict(self.format.options)
        if crf >= 0 and self.quality_option == "quality":  # WebP counts the other way round
            share = 1 - min(crf, self.worst) / self.worst
            options |= {"lossless": "1"} if crf == 0 else {"quality": str(round(100 * share))}
        elif crf >= 0 and self.quality_option is not None:
            options[self.quality_option] = str(min(crf, self.worst))
        chosen = self.format.pixel_format if pixel_format == "auto" else pixel_format
        return replace(self.format, options=options, pixel_format=chosen)

    def plays(self, format: VideoFormat) -> bool:
        """Return whether browsers play a file of ``with_choices``."""
        return format.codec is None or format.pixel_format in self.played


_MP4, _WEBM = FORMATS[".mp4"], FORMATS[".webm"]
_X265 = "log-level=error:info=0"
_LOSSLESS = {"level": "3", "g": "1", "slices": "4", "slicecrc": "1"}

#: Name as an artist reads it -> codec, in the order of the menu.
CODECS: dict[str, Codec] = {
    "mp4 (H.264)": Codec(".mp4", _MP4, ("yuv420p", "yuv444p", "yuv420p10le")),
    "mp4 (H.265)": Codec(
        ".mp4",
        replace(
            _MP4,
            codec="libx265",
            options={"crf": "20", "preset": "medium", "x265-params": _X265},
            # x265's cutree (x264's macroblock tree) writes beside its memory where frames are
            # stored at most 48 px wide. Wider ones keep it: at crf 20 a clip of 512x512 takes
            # half again to twice the bytes without it, and looks no better.
            narrow={"x265-params": f"{_X265}:cutree=0"},
            codec_tag="hvc1",  # what Apple's players look for
        ),
        ("yuv420p", "yuv420p10le", "yuv444p10le"),
        played=(),
    ),
    "webm (VP9)": Codec(
        ".webm",
        _WEBM,
        ("yuv420p", "yuva420p", "yuv444p"),
        worst=63,
        played=("yuv420p", "yuva420p"),
    ),
    "webm (AV1)": Codec(
        ".webm",
        replace(
            _WEBM,
            codec="libsvtav1",
            options={"crf": "26", "preset": "7", "svtav1-params": "lp=2"},
            least_width=32,  # SVT-AV1 4.1 reads a wild address at 24 px and less
        ),
        ("yuv420p", "yuv420p10le"),
        worst=63,
        played=("yuv420p", "yuv420p10le"),  # AV1's main profile has both
    ),
    "animated WebP": Codec(
        ".webp", FORMATS[".webp"], quality_option="quality", worst=63, alpha=True
    ),
    "GIF": Codec(".gif", FORMATS[".gif"], quality_option=None, carries_workflow=False),
    "animated PNG": Codec(".png", VideoFormat("PNG"), quality_option=None, alpha=True),
    "PNG sequence": Codec("", VideoFormat("PNG sequence"), quality_option=None, alpha=True),
    "mov (ProRes)": Codec(
        ".mov",
        VideoFormat(
            "mov",
            "prores_ks",
            {"profile": "auto", "vendor": "apl0"},
            {"movflags": "+faststart", "fflags": "+bitexact"},
            pixel_format="yuv422p10le",
            audio_codec="pcm_s16le",
        ),
        ("yuv422p10le", "yuv444p10le", "yuva444p10le"),
        quality_option=None,
        played=(),
    ),
    "mkv (FFV1 lossless)": Codec(
        ".mkv",
        VideoFormat(
            "matroska",
            "ffv1",
            _LOSSLESS,
            {"fflags": "+bitexact"},
            pixel_format="bgr0",
            audio_codec="flac",
        ),
        ("bgr0", "bgra", "gbrp16le", "yuv420p", "yuv444p"),
        quality_option=None,
        played=(),
        carries_workflow=False,
    ),
}


@cache
def available_codecs() -> tuple[str, ...]:
    """Return the names of the codecs that the installed FFmpeg can write, in menu order."""
    return tuple(name for name, codec in CODECS.items() if _can_write(codec.format))


def _can_write(format: VideoFormat) -> bool:
    if format.codec is None:
        return True
    try:
        FFmpegCodec(format.codec, "w")
    except UnknownCodecError:
        return False
    return True
