"""All errors, by what has to happen next.

::

    singer_sdk SyncError
    ├── FatalSyncError            the run stops
    │   └── RunError              one sentence for the user, and an exit code
    │       ├── InputError        a line of stdin that is not a Singer message
    │       ├── CredentialsError  no valid token, or a scope is missing
    │       │   └── GrantRefused  a code or a refresh token is not accepted any more
    │       ├── OutputError       STATE or rejects cannot be written
    │       ├── OutreachError     Outreach cannot be reached or refuses everything
    │       │   ├── UriTooLong    a list of values is too long for an address
    │       │   └── Unanswered    no try brought a usable answer
    │       ├── RejectsError      more rejects than the settings allow
    │       ├── Interrupted       SIGINT or SIGTERM
    │       └── EndedEarly        a limit of the settings; the next run goes on from STATE
    ├── RetriableSyncError        the request is repeated
    │   └── Retriable             with the wait that Outreach asked for, if it did
    │       └── OutcomeUnknown    it may have been carried out: look before repeating
    └── SkippableSyncError        this record is not delivered, the others are
        └── RecordFault           code, field, status and Outreach's words, for the rejects file
            └── AddressTaken      another record has the address or the name: look it up again
    singer_sdk ConfigurationError
    └── SettingsError             a setting is wrong; exit code 1

Messages name the setting or the field, the status, Outreach's code and what to do, never a value of
a record and never a token. Only `RecordFault.detail` may hold Outreach's own words, which can
repeat a value; it goes into the rejects file and nowhere else.
"""

from __future__ import annotations

import enum
import signal
from typing import TYPE_CHECKING, Literal

from singer_sdk.exceptions import (
    ConfigValidationError,
    FatalSyncError,
    RetriableSyncError,
    SkippableSyncError,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


class ExitCode(enum.IntEnum):
    """The exit codes of a run."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    REJECTS = 3
    ENDED_EARLY = 4
    INTERRUPTED = 130
    TERMINATED = 143


class SettingsError(ConfigValidationError):
    """A setting is wrong, or does not fit its stream."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems), errors=list(problems))


class RunError(FatalSyncError):
    """The run cannot go on.

    Attributes:
        status: The HTTP status of the refusal behind it, if there was one.
    """

    exit_code = ExitCode.FAILED
    status: int | None = None


class InputError(RunError):
    """A line of stdin is not a valid Singer message."""


class CredentialsError(RunError):
    """Outreach does not accept the token, or the token lacks a scope."""


class GrantRefused(CredentialsError):  # noqa: N818 - named for what happened
    """A code or a refresh token is not accepted any more.

    Attributes:
        after_lost_answer: Whether an earlier request with it may have been carried out.
    """

    after_lost_answer = False


class OutputError(RunError):
    """STATE or the rejects file cannot be written."""


class OutreachError(RunError):
    """Outreach cannot be reached, stays unavailable, or refuses everything."""


class UriTooLong(OutreachError):  # noqa: N818 - named for what happened
    """The address of a request is too long; with fewer values it is not."""


class Unanswered(OutreachError):  # noqa: N818 - named for what happened
    """No try brought a usable answer."""


class RejectsError(RunError):
    """The settings allow no more rejected records."""


class Interrupted(RunError):  # noqa: N818 - named for what happened
    """A signal asks the run to end."""

    def __init__(self, signum: int) -> None:
        sent = "Ctrl-C" if signum == signal.SIGINT else signal.Signals(signum).name
        super().__init__(
            f"Ended by {sent}, after the requests in flight. Run again: the next run continues "
            "from the last STATE."
        )
        self.exit_code = ExitCode(128 + signum)


class EndedEarly(RunError):  # noqa: N818 - named for what happened
    """A limit of the settings is reached; the next run goes on from the last STATE."""

    exit_code = ExitCode.ENDED_EARLY


class Retriable(RetriableSyncError):  # noqa: N818 - named for what happened
    """A request failed temporarily.

    Attributes:
        wait: Seconds that Outreach asks to wait, or None if it does not say.
        status: The HTTP status, or None if no answer came.
    """

    def __init__(
        self, message: str, *, wait: float | None = None, status: int | None = None
    ) -> None:
        super().__init__(message)
        self.wait = wait
        self.status = status


class Outdated(Exception):  # noqa: N818 - named for what happened
    """A request was not sent, or not repeated, because its data had become too old."""


class OutcomeUnknown(Retriable):
    """A request was sent and may have been carried out, but no usable answer came."""


class RecordFault(SkippableSyncError):  # noqa: N818 - named for what happened
    """One record cannot be delivered.

    Attributes:
        code: A stable word for the kind of fault, such as ``invalid_value``.
        message: A sentence without any value of the record.
        field: The attribute or column at fault, if it is known.
        status: The HTTP status of Outreach's refusal, if there was one.
        detail: Outreach's own words, for the rejects file only.
        attempts: How many requests tried to write the record.
        opt_out: What happened to the opt-out of the rejected row, if it has one.
        is_of_update: Whether Outreach refused to change an existing record.
    """

    is_of_update = False
    opt_out: Literal["delivered", "in Outreach already", "not delivered"] | None = None

    def __init__(  # noqa: PLR0913 - each is a column of the rejects file
        self,
        code: str,
        message: str,
        *,
        field: str | None = None,
        status: int | None = None,
        detail: str | None = None,
        attempts: int = 0,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.field = field
        self.status = status
        self.detail = detail
        self.attempts = attempts


class AddressTaken(RecordFault):
    """Another record already has an address, name or key that must be unique."""


class AmbiguousMatch(RecordFault):
    """A record fits several records in Outreach.

    Attributes:
        ids: Their Outreach ids.
    """

    def __init__(self, ids: Sequence[int]) -> None:
        found = ", ".join(map(str, ids))
        message = f"The record fits {len(ids)} records in Outreach: {found}."
        super().__init__("ambiguous_match", message)
        self.ids = tuple(ids)


def reason_of(error: Exception) -> str:
    """Say in a few words, without any value, why a file or a store could not be used."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
