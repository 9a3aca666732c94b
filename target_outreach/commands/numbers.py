"""Options that take a number, and refuse anything else in words."""

from __future__ import annotations

import re
from typing import Any

import click


class Whole(click.IntRange):
    """A whole number, also as people write it: ``200,000``."""

    name = "whole number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401 - click's
        """Read it, without the commas between thousands."""
        if isinstance(value, str) and re.fullmatch(r"\s*\d{1,3}(,\d{3})+\s*", value, re.ASCII):
            value = value.replace(",", "")
        return super().convert(value, param, ctx)


class Number(click.FloatRange):
    """A number."""

    name = "number"
