"""A change of every guided prediction of a MODEL, whichever guider makes it."""

from collections.abc import Callable
from typing import Any

from torch import Tensor


def after_guidance(
    patcher: Any, start: Callable[[Any], Callable[[Tensor, Tensor], Tensor] | None]
) -> None:
    """Change a MODEL's guided prediction, once in every step, whichever guider makes it.

    The host's post_cfg functions see one part of it only where a guider adds more afterwards, as
    DualCFGGuider does.

    Args:
        patcher: The MODEL.
        start: ``start(guider)`` is called when a sampling begins, the guider's conditionings bound
            to the model; returns ``change(x0, sigma) -> x0``, or None to leave it as it is.
    """

    def sample(sampler: Any, guider: Any, *args: Any, **kwargs: Any) -> Tensor:
        change = start(guider)
        return sampler(guider if change is None else _changed(guider, change), *args, **kwargs)

    from comfy.patcher_extension import WrappersMP

    patcher.add_wrapper_with_key(WrappersMP.SAMPLER_SAMPLE, "trip", sample)


def _changed(guider: Any, change: Callable[[Tensor, Tensor], Tensor]) -> Any:
    """Return the guider as the sampler calls it; what is set on either is set on both."""

    def call(_: Any, x: Tensor, sigma: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return change(guider(x, sigma, *args, **kwargs), sigma)

    kind = type(guider)
    view = object.__new__(type(kind.__name__, (kind,), {"__call__": call}))
    view.__dict__ = guider.__dict__
    return view
