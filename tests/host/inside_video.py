"""How Video Combine reads the host's own VIDEO; runs in the host's Python.

``python inside_video.py PACK FILE`` in the host's folder reads a video with sound both ways and
writes what it found to standard output.
"""

from without_server import FILE  # isort: skip  first: it makes the others importable
import sys

import torch
from comfy_api.input_impl import VideoFromFile
from trip.nodes.sources import source

video = VideoFromFile(FILE)
clip, parts = source(None, None, None, video), video.get_components()
frames = torch.stack(list(clip.frames())).movedim(1, -1)
same = torch.equal(frames, parts.images) and clip.fps == parts.frame_rate
heard = torch.equal(clip.audio["waveform"], parts.audio["waveform"])
words = (
    "loaded" if clip.held else "streamed",
    "equal" if same and clip.num_frames == len(parts.images) else "different",
    "heard" if heard and clip.audio["sample_rate"] == 44100 else "misheard",
)
sys.stdout.write(" ".join(words))
