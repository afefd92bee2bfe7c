"""What an artist asks of Image Noise Prior, for any system."""

from dataclasses import MISSING, dataclass, fields

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Wishes:
    """The node's inputs beside the wires that it passes on; see its tooltips.

    Attributes:
        image: IMAGE, the still, ``[B, H, W, C]`` in 0..1.
        width: Of the clip in pixels; 0 keeps the still's (or what the model was trained at).
        height: Likewise.
        fit: One of ``still_fit.FITS``.
        length: Frames of the clip.
        motion_strength: Multiple of what the text says.
        prior_strength: 0..1.
        decay_over_frames: 0..1.
        decay_over_time: 0 or more.
        mask: MASK, painted = kept, ``[B, H, W]`` in 0..1.
        end_still: IMAGE, the last frame.
        loop: The clip returns to the still.
        fs: Pace of the clip, in the model's own measure; 0 is the model's own.
    """

    image: Tensor
    width: int
    height: int
    fit: str
    length: int
    motion_strength: float
    prior_strength: float
    decay_over_frames: float
    decay_over_time: float
    mask: Tensor | None = None
    end_still: Tensor | None = None
    loop: bool = False
    fs: int = 0

    def refuse(self, system: str, *names: str) -> None:
        """Say that a system cannot follow a wish, if it was made.

        Args:
            system: For people.
            names: Optional wishes that it has no use for.

        Raises:
            ValueError: Naming the first wish that was made.
        """
        usual = {f.name: f.default for f in fields(self) if f.default is not MISSING}
        for name in names:
            if getattr(self, name) is not usual[name]:
                back = "disconnect it" if usual[name] is None else f"set it back to {usual[name]}"
                raise ValueError(
                    f"{name} is for DynamiCrafter models, and this is a {system} model; {back}, or "
                    "load a DynamiCrafter file"
                )

    def refuse_motion(self, system: str) -> None:
        """Say that a system cannot follow the wishes for its motion network: it has none.

        Args:
            system: For people.

        Raises:
            ValueError: Naming the first wish that was made.
        """
        if self.motion_strength != 1:
            raise ValueError(
                f"motion_strength is for models with a motion network, and this {system} has none; "
                f"got {self.motion_strength}: set it back to 1, or load the built-in model"
            )
        if self.fit == "overscan":
            raise ValueError(
                f"the fit overscan follows the camera of a motion network, and this {system} has "
                "none; choose crop, pad or stretch, or load the built-in model"
            )
