"""The time of day, as messages say it."""

from __future__ import annotations

from datetime import datetime, timedelta


def clock_time(later: timedelta) -> str:
    """Say what time it will be, as ``17:59:00 -05:00`` or ``22:59:00 UTC``.

    The local time needs its offset: whoever shows the log may put another one before each line.

    Args:
        later: From now.
    """
    then = datetime.now().astimezone() + later
    zone = f"{then:%z}"
    return f"{then:%H:%M:%S} {f'{zone[:3]}:{zone[3:5]}' if then.utcoffset() else 'UTC'}"
