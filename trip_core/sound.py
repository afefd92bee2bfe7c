"""The sound of a clip: written beside its pictures, so that neither waits for the other."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import av
import numpy as np
import torch
from av.codec import Codec
from torch import Tensor

Fit = Literal["fit", "keep"]

_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}


@dataclass(frozen=True)
class Sound:
    """What is heard.

    Attributes:
        waveform: ``[channels, samples]``, -1..1; 1, 2 or 6 channels.
        sample_rate: Samples per second.
        fit: "fit" makes it as long as the pictures (cut, or filled up with silence), "keep"
            leaves its length.
    """

    waveform: Tensor
    sample_rate: int
    fit: Fit = "fit"

    def __post_init__(self) -> None:
        """Check what no encoder could write."""
        if self.waveform.ndim != 2 or self.waveform.shape[0] not in _LAYOUTS:
            raise ValueError(
                "sound must be [channels, samples] with 1, 2 or 6 channels; "
                f"got {tuple(self.waveform.shape)}"
            )
        if self.sample_rate < 1:
            raise ValueError(f"sound needs a sample rate above 0; got {self.sample_rate}")

    @property
    def seconds(self) -> Fraction:
        """How long it lasts."""
        return Fraction(self.waveform.shape[1], self.sample_rate)


class SoundTrack:
    """One audio stream of a container, fed in step with the frames."""

    def __init__(self, container: Any, codec: str, sound: Sound, fps: Fraction) -> None:
        """Add the stream; must come before the first packet of any stream."""
        rates = Codec(codec, "w").audio_rates
        rate = sound.sample_rate if not rates or sound.sample_rate in rates else 48000
        layout = _LAYOUTS[sound.waveform.shape[0]]
        self._stream = container.add_stream(codec, rate=rate, layout=layout)
        if codec in ("aac", "libopus"):
            self._stream.bit_rate = 96_000 * sound.waveform.shape[0]
        self._container, self._sound, self._fps = container, sound, fps
        self._layout, self._done, self._frames = layout, 0, 0
        self._resampler = av.AudioResampler(
            format=self._stream.codec_context.format.name, layout=layout, rate=rate
        )

    def add_frame(self) -> None:
        """Write the sound of one more picture."""
        self._frames += 1
        self._write(round(self._frames * self._sound.sample_rate / self._fps))

    def close(self) -> None:
        """Write what is left, if its length is kept, and what waits in the encoder."""
        if self._sound.fit == "keep":
            self._write(max(self._sound.waveform.shape[1], self._done))
        for frame in [*self._resampler.resample(None)]:
            self._container.mux(self._stream.encode(frame))
        self._container.mux(self._stream.encode(None))

    def _write(self, end: int) -> None:
        """Encode samples up to ``end``; beyond the sound's own end, silence."""
        waveform, start = self._sound.waveform, self._done
        if self._sound.fit == "keep":
            end = min(end, waveform.shape[1])
        if end <= start:
            return
        samples = waveform[:, start:end].float()
        silence = samples.new_zeros(len(samples), end - start - samples.shape[1])
        samples = torch.cat((samples, silence), dim=1).clamp(-1, 1).cpu()
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples.numpy()), format="fltp", layout=self._layout
        )
        frame.sample_rate = self._sound.sample_rate
        frame.pts = start
        frame.time_base = Fraction(1, self._sound.sample_rate)
        for resampled in self._resampler.resample(frame):
            self._container.mux(self._stream.encode(resampled))
        self._done = end
