"""What commands print at a terminal is no wider than that."""

from __future__ import annotations

import pytest

from target_outreach.commands.tables import lines_of_table
from target_outreach.plain_text import fitted

ROWS = [
    ("attribute", "type", "label and options"),
    ("firstName", "text", ""),
    ("custom1", "one option", "Segment: Small business | Middle of the market | Enterprise"),
]


def test_a_table_of_a_pipe_is_as_wide_as_its_cells():
    header, ruler, first, second = lines_of_table(ROWS, None)
    assert header == "attribute  type        label and options"
    assert ruler == f"{'-' * 9}  {'-' * 10}  {'-' * 59}"
    assert first == "firstName  text"
    assert second.endswith("Segment: Small business | Middle of the market | Enterprise")


def test_the_last_column_is_broken_between_words():
    assert lines_of_table(ROWS, 60) == [
        "attribute  type        label and options",
        f"{'-' * 9}  {'-' * 10}  {'-' * 37}",
        "firstName  text",
        "custom1    one option  Segment: Small business | Middle of",
        "                       the market | Enterprise",
    ]


def test_where_there_is_no_room_for_it_each_row_has_lines_of_its_own():
    assert lines_of_table(ROWS, 40) == [
        "firstName",
        "  type: text",
        "custom1",
        "  type: one option; label and options:",
        "  Segment: Small business | Middle of",
        "  the market | Enterprise",
    ]


@pytest.mark.parametrize("columns", range(10, 100))
def test_no_line_of_a_table_is_wider_than_the_terminal(columns):
    assert max(map(len, lines_of_table(ROWS, columns))) <= columns


def test_words_go_on_below_the_words_above():
    assert fitted("problem  a stage of the account is unknown here", 36).splitlines() == [
        "problem  a stage of the account is",
        "         unknown here",
    ]


@pytest.mark.parametrize("line", ["  tap | target-outreach --config a.json", "https://a.test/" * 9])
def test_what_is_to_be_copied_stays_whole(line):
    assert fitted(line, 30) == line
