"""A Singer target that writes prospects, accounts and opportunities into Outreach.

What is in `__all__` here and in `target_outreach.sandbox` may be imported by other programs and
keeps its meaning within a major version. Everything else is internal.
"""

from __future__ import annotations

TYPE_CHECKING = False  # `typing` is not imported, so that signals are heard the sooner
if TYPE_CHECKING:
    from typing import Any

    from target_outreach.target import TargetOutreach

__all__ = ["TargetOutreach"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - as Python asks for
    """Import the target when it is first used, since that takes half a second."""
    if name != "TargetOutreach":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from target_outreach.target import TargetOutreach  # noqa: PLC0415

    return TargetOutreach
