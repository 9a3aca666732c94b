"""Running a target to its end, and saying in a sentence how it ended.

Nothing that goes wrong leaves here as a traceback: each error becomes one line of the log and an
exit code.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from singer_sdk.exceptions import ConfigValidationError

from target_outreach.delivery.tally import counted
from target_outreach.errors import EndedEarly, ExitCode, RunError, Unanswered
from target_outreach.report.closing import log_report
from target_outreach.report.file import write_report
from target_outreach.target import TargetOutreach

if TYPE_CHECKING:
    from collections.abc import Sequence

    from target_outreach.run import Run

logger = logging.getLogger("target-outreach")


def make_target(config: Any) -> TargetOutreach:  # noqa: ANN401 - a private type of the SDK
    """Make a target from what ``--config`` says.

    Raises:
        SettingsError: A setting, or its environment variable, is wrong.
    """
    if config.parse_env:
        TargetOutreach.check_environment(os.environ)
    return TargetOutreach(config=config.config, parse_env_config=config.parse_env)


def run(target: TargetOutreach, file_input: IO[str] | None, *, recurs: bool = True) -> ExitCode:
    """Run a target to its end, whatever happens, and say how it ended.

    Args:
        target: The target.
        file_input: Its input, or None for standard input.
        recurs: Whether runs like it may follow, so that the report may say what they cost.
    """
    errors: list[Exception] = []
    life = target.run
    try:
        life.refuse_to_overwrite(file_input or sys.stdin)
    except (ConfigValidationError, RunError) as error:
        life.close()
        return explain(error)  # not even the report may be written
    try:
        life.prepare()
        life.check_entries()
        target.listen(file_input)
    except Exception as error:  # noqa: BLE001 - the last one who can say what happened
        errors.append(error)
        explain(error)
        try:
            life.wind_up(error)
        except Exception as later:  # noqa: BLE001 - idem
            if later is not error:
                errors.append(later)
                explain(later)
    code = _conclude(life, errors, recurs=recurs)
    if code == ExitCode.ENDED_EARLY:
        if not life.has_emitted:
            logger.warning(
                "No STATE could be passed on, so the next run begins where this one did. If that "
                "happens each time, let the tap send STATE more often, or raise the limit."
            )
        try:
            life.discard_rest()
        except RunError as signal:
            code = signal.exit_code
    try:
        life.close()
    except RunError as error:
        code = explain(error)
    _say_ending(life, code, errors, recurs=recurs)
    return code


def _conclude(life: Run, errors: Sequence[Exception], *, recurs: bool) -> ExitCode:
    """Report on the run, whatever became of it; its first error decides the exit code."""
    life.parts.progress.close()
    report = life.report()
    code = life.exit_code(report, _exit_code(errors[0]) if errors else None)
    # What a run cost that did not get to its end says nothing of those to come.
    report = replace(report, recurs=recurs and code in {ExitCode.DONE, ExitCode.REJECTS})
    if not report.adds_up:
        logger.error("The counts do not add up; please report this as a fault of target-outreach.")
    log_report(report)
    if life.settings.report_path:
        problems = [sentence for error in errors for sentence in _sentences(error)]
        try:
            write_report(report, life.settings.report_path, code, problems)
        except RunError as error:
            code = explain(error)
    return code


def _say_ending(life: Run, code: ExitCode, errors: Sequence[Exception], *, recurs: bool) -> None:
    """Say what an exit code means that whoever started the run may have no words for."""
    failed = recurs and "MELTANO_LOADER_NAME" in os.environ
    verdict = " meltano run calls this a failed loader." if failed else ""
    if code == ExitCode.REJECTS:
        _say_rejects(life, verdict)
    elif code == ExitCode.ENDED_EARLY:
        goes_on = "goes on from the last STATE" if life.has_emitted else "begins where this one did"
        logger.warning("The run has ended early, exit code 4: the next one %s.%s", goes_on, verdict)
    elif any(isinstance(error, Unanswered) for error in errors):
        logger.info("The next run goes on from STATE.")


def _say_rejects(life: Run, verdict: str) -> None:
    rejected = life.report().total("rejected")
    records, policy = counted(rejected, "record"), life.settings.on_reject
    if life.settings.dry_run:
        logger.warning(
            "%s would be rejected: exit code 3 (on_reject is %s).%s", records, policy, verdict
        )
        return
    were, them = ("was", "it") if rejected == 1 else ("were", "them")
    logger.warning(
        "%s %s rejected, all others are delivered: exit code 3 (on_reject is %s). Mend %s in the "
        "rejects file and send %s by target-outreach replay FILE.%s",
        records,
        were,
        policy,
        them,
        them,
        verdict,
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
