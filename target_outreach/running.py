"""Running a target to its end, and saying in a sentence how it ended.

Nothing that goes wrong leaves here as a traceback: each error becomes one line of the log and an
exit code.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
from dataclasses import replace
from pathlib import Path
from textwrap import wrap
from typing import IO, TYPE_CHECKING

from singer_sdk.exceptions import ConfigValidationError

from target_outreach.delivery.tally import counted
from target_outreach.errors import (
    EndedEarly,
    ExitCode,
    OutputError,
    RunError,
    SettingsError,
    Unanswered,
)
from target_outreach.plain_text import COMMAND, say
from target_outreach.private_files import replace_file
from target_outreach.report.closing import last_line, log_report
from target_outreach.report.resend import replay_command
from target_outreach.target import TargetOutreach

if TYPE_CHECKING:
    from collections.abc import Sequence

    import click

    from target_outreach.report import Report
    from target_outreach.run import Run

logger = logging.getLogger("target-outreach")

LOG_CONFIG = "SINGER_SDK_LOG_CONFIG"


def set_up_logging() -> click.Command:
    """Set up the log, as one for a person where standard error is a terminal.

    Returns:
        The SDK's command, the making of which has the SDK set up its log.

    Raises:
        SettingsError: `SINGER_SDK_LOG_CONFIG` names what does not configure a log.
    """
    if not os.environ.get(LOG_CONFIG, "").strip():
        os.environ.pop(LOG_CONFIG, None)  # the SDK would read the folder that it is in
    try:
        command: click.Command = TargetOutreach.cli
    except Exception as error:  # whatever a file of another kind leads to
        name = os.environ.get(LOG_CONFIG)
        if name is None:
            raise
        raise SettingsError(
            f"{LOG_CONFIG} is {name!r}, which cannot configure the log "
            f"({type(error).__name__}): name a YAML file for Python's logging.config.dictConfig, "
            "or unset the variable."
        ) from None
    if sys.stderr is not None and sys.stderr.isatty():
        # Imported here, since it takes time and most runs have no terminal.
        from target_outreach.delivery.display import take_over_log  # noqa: PLC0415

        take_over_log()
    return command


def run(target: TargetOutreach, file_input: IO[str] | None, *, recurs: bool = True) -> ExitCode:
    """Run a target to its end, whatever happens, and say how it ended.

    The input is by default standard input. If runs like this one may follow (it `recurs`), the
    report may say what they cost.
    """
    errors: list[Exception] = []
    life = target.run
    try:
        life.refuse_to_overwrite(file_input or sys.stdin)
    except (ConfigValidationError, RunError) as error:
        life.parts.close()
        return explain(error)  # not even the report may be written
    try:
        life.prepare()
        life.check_entries()
        target.listen(file_input)
    except Exception as raised:  # noqa: BLE001 - the last one who can say what happened
        reason = life.cause_of(raised)
        errors.append(reason)
        explain(reason)
        try:
            life.wind_up(reason)
        except Exception as later:  # noqa: BLE001 - idem
            if later is not reason:
                errors.append(later)
                explain(later)
    report, code = _conclude(life, errors, recurs=recurs)
    if code == ExitCode.ENDED_EARLY:
        if not life.parts.states.has_emitted:
            logger.warning(
                "No STATE could be passed on, so the next run begins where this one did. If that "
                "happens each time, let the tap send STATE more often, or raise the limit."
            )
        try:
            life.discard_rest()
        except RunError as signal:
            code = signal.exit_code
    try:
        life.parts.close()
    except RunError as error:
        code = explain(error)
    _say_ending(life, report, code, errors, recurs=recurs)
    return code


def _conclude(life: Run, errors: Sequence[Exception], *, recurs: bool) -> tuple[Report, ExitCode]:
    """Report on the run, successful or not; its first error decides the exit code."""
    life.parts.progress.close()
    report, settings = life.report(), life.settings
    failure = _exit_code(errors[0]) if errors else None
    count = settings.fail_on_rejects if settings.dry_run else settings.on_reject != "ignore"
    code = report.exit_code(failure, rejects_count=count)
    # What a run cost that did not get to its end says nothing of those to come.
    report = replace(report, recurs=recurs and code in {ExitCode.DONE, ExitCode.REJECTS})
    if not report.adds_up:
        logger.error("Internal error: the counts do not add up. Please report it.")
    log_report(report, _columns())
    if settings.report_path:
        problems = [sentence for error in errors for sentence in _sentences(error)]
        try:
            _write_report(report, settings.report_path, code, problems)
        except RunError as error:
            code = explain(error)
    return report, code


def _write_report(
    report: Report, path: str, exit_code: ExitCode, problems: Sequence[str] = ()
) -> None:
    """Write a report to a file: a page where its name ends in ``.html``, else JSON.

    Raises:
        OutputError: It cannot be written.
    """
    figures = report.as_json(exit_code, problems)
    if path.endswith(".html"):
        from target_outreach.report.page import render  # noqa: PLC0415 - few runs need it

        text = render(figures)
    else:
        text = json.dumps(figures, indent=2) + "\n"
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        replace_file(Path(path), text.encode(), mode=0o666)  # it holds no values of records
    except OSError as error:
        raise OutputError(
            f"The report cannot be written ({error.strerror}): {path}. All else is done; check "
            "report_path."
        ) from None


def _columns() -> int | None:
    """Return the width of the terminal where a person reads the log, if there is one."""
    if sys.stderr is None or not sys.stderr.isatty():
        return None
    from target_outreach.delivery.display import find_console  # noqa: PLC0415 - as above

    console = find_console()
    return None if console is None else console.width


def _say_ending(
    life: Run, report: Report, code: ExitCode, errors: Sequence[Exception], *, recurs: bool
) -> None:
    """Say what an exit code means that whoever started the run may have no words for."""
    failed = recurs and "MELTANO_LOADER_NAME" in os.environ
    verdict = " meltano run calls this a failed loader." if failed else ""
    if code == ExitCode.REJECTS:
        _say_rejects(life, report, verdict)
    elif code == ExitCode.ENDED_EARLY:
        goes_on = (
            "goes on from the last STATE"
            if life.parts.states.has_emitted
            else "begins where this one did"
        )
        logger.warning("The run has ended early, exit code 4: the next one %s.%s", goes_on, verdict)
    elif any(isinstance(error, Unanswered) for error in errors):
        logger.info("The next run goes on from STATE.")
    if (columns := _columns()) is not None:
        # On a terminal the last line says it all, so that nobody has to read upwards.
        reasons = [sentence for error in errors[:1] for sentence in _sentences(error)]
        line = last_line(report, code, reasons)
        say(*wrap(line, columns, break_long_words=False), err=True)


def _say_rejects(life: Run, report: Report, verdict: str) -> None:
    rejected = report.total("rejected")
    records, policy = counted(rejected, "record"), life.settings.on_reject
    if life.settings.dry_run:
        logger.warning(
            "%s would be rejected: exit code 3 (fail_on_rejects is set).%s", records, verdict
        )
        return
    were, them = ("was", "it") if rejected == 1 else ("were", "them")
    command = replay_command(report.rejects_file or "FILE")
    logger.warning(
        "%s %s rejected, all others are delivered: exit code 3 (on_reject is %s).%s Fix %s in the "
        "rejects file, then send %s again by: %s",
        records,
        were,
        policy,
        verdict,
        them,
        them,
        command,
        extra={COMMAND: command},
    )


def explain(error: Exception) -> ExitCode:
    """Say in one sentence what went wrong, and return the exit code that fits it."""
    level = logging.WARNING if isinstance(error, EndedEarly) else logging.ERROR
    for sentence in _sentences(error):
        logger.log(level, "%s", sentence)
    return _exit_code(error)


def _exit_code(error: Exception) -> ExitCode:
    return error.exit_code if isinstance(error, RunError) else ExitCode.FAILED


def _sentences(error: Exception) -> list[str]:
    """Word what went wrong, without any value."""
    if isinstance(error, ConfigValidationError):
        return list(error.errors)
    if isinstance(error, RunError):
        return [str(error)]
    what = f"Internal error ({type(error).__name__})."
    return [f"{what} Please report it with this line: {_frames(error)}"]


def _frames(error: Exception) -> str:
    """Name the lines of code that an error has passed, the outermost first, without values."""
    frames = traceback.extract_tb(error.__traceback__)
    return " > ".join(
        f"{'/'.join(Path(frame.filename).parts[-2:])}:{frame.lineno} {frame.name}"
        for frame in frames
    )
