"""The report as a file: a page where its name ends in ``.html``, else JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from target_outreach.errors import OutputError
from target_outreach.private_files import replace_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from target_outreach.errors import ExitCode
    from target_outreach.report.figures import Report


def write_report(
    report: Report, path: str, exit_code: ExitCode, problems: Sequence[str] = ()
) -> None:
    """Write a report to a file; the problems are sentences without any value.

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
