"""What a run did: in the log for people, as JSON for programs, as a page to look at and keep."""

from target_outreach.report.figures import Report

__all__ = ["Report"]
