"""The pages `docs/outreach-api*.md`, which comments and tests cite as "API reference 6.2".

Each citation has its section, and each fact says how sure it is and where it can be seen.
"""

from __future__ import annotations

import re
from functools import cache
from itertools import pairwise

import documents
import pytest
from test_contested import FACTS

from target_outreach.records.catalog import load_catalog
from target_outreach.records.model import CUSTOM_NAME

#: The pages of the reference, in the order of their sections.
NAMES = ("outreach-api", *(f"outreach-api-{one}" for one in ("resources", "requests", "behaviour")))
REFERENCE = [documents.DOCS / f"{name}.md" for name in NAMES]
NUMBER = r"\d+[a-z]?(?:\.\d+)?"
NUMBERS = rf"{NUMBER}(?:(?:,? and |, ){NUMBER})*"
CITED = re.compile(rf"API\s+reference,?\s(?:#\s*)?\(?({NUMBERS})")
#: Where numbers in brackets are sections too, since the head of the file says so.
IN_BRACKETS = ("target_outreach/sandbox/profile.py", "tests/openapi_answers.py", "tests/README.md")
BRACKETED = re.compile(rf"\(({NUMBERS})\)")
#: Numbers in brackets of those files that are something else: statuses, years.
NO_SECTIONS = re.compile(r"\d{3,4}")
WORDS = {"specification", "documented", "seen", "assumed", "contested"}
HEADING = re.compile(rf"^(#{{2,3}}) ({NUMBER})\.? (\S.*)$")
#: The attributes that a section lists, by the object of the catalogue.
LISTED = {"2.1": "prospects", "2.3": "accounts", "2.6": "sequenceStates"}


@cache
def reference():
    return "\n".join(page.read_text(encoding="utf-8") for page in REFERENCE)


@cache
def sections():
    """The lines of each section, by its number."""
    found = {}
    number = None
    for line in reference().splitlines():
        if heading := HEADING.match(line):
            number = heading[2]
            assert number not in found, f"{number} is there twice"
            found[number] = []
        elif number:
            found[number].append(line)
    return found


@cache
def items():
    """The numbers of the facts and questions that have one of their own, in order."""
    return re.findall(r"^\| (\d+\.\d+) \|", reference(), re.MULTILINE)


def tables(number):
    """The tables of a section, each as rows by the names of their columns."""
    rows = []
    for line in [*sections()[number], ""]:
        if line.startswith("|"):
            rows.append([cell.strip() for cell in line.split("|")[1:-1]])
        elif rows:
            names, _, *cells = rows
            yield [dict(zip(names, row, strict=True)) for row in cells]
            rows = []


@cache
def tags():
    (table,) = tables("0")
    assert all(row["what"] and row["where"] for row in table)
    return [row["tag"] for row in table]


def cited():
    """Each section that is cited, with a file that does."""
    root = documents.ROOT
    folders = ("target_outreach", "tests", "benchmarks", "docs")
    paths = [path for name in folders for path in (root / name).rglob("*")]
    for path in sorted([*paths, *root.glob("*.md")]):
        if path.suffix not in {".py", ".md", ".json", ".js"}:
            continue
        text = path.read_text(encoding="utf-8")
        name = path.relative_to(root).as_posix()
        found = CITED.findall(text)
        if name in IN_BRACKETS or path.is_relative_to(documents.DOCS):
            found += [one for one in BRACKETED.findall(text) if not NO_SECTIONS.fullmatch(one)]
        for numbers in found:
            for number in re.findall(NUMBER, numbers):
                yield number, name


def test_each_citation_has_its_section():
    found = set(cited())
    assert len({number for number, _ in found}) > 30  # the pattern still finds them
    assert sorted(one for one in found if one[0] not in {*sections(), *items()}) == []


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.switch)
def test_each_contested_fact_has_its_sections_and_one_of_them_calls_it_contested(fact):
    numbers = fact.sections.split(", ")
    assert set(numbers) <= {*sections(), *items()}
    lines = [line for number in numbers for line in sections()[parent(number)]]
    assert any("contested" in line for line in lines)


def parent(number):
    """The section that a number is in, or is."""
    return number if number in sections() else number.partition(".")[0]


def test_sections_are_in_order_and_none_is_empty():
    parts = [
        re.fullmatch(r"(\d+)([a-z]?)(?:\.(\d+))?", number).groups("0") for number in sections()
    ]
    order = [(int(chapter), letter, int(part)) for chapter, letter, part in parts]
    assert all(one < other for one, other in pairwise(order))
    for number, lines in sections().items():
        assert any(lines) or f"{number}.1" in sections(), number


@pytest.mark.parametrize("chapter", ["8", "10"])
def test_numbered_facts_count_on(chapter):
    numbers = [number for number in items() if number.startswith(f"{chapter}.")]
    assert numbers == [f"{chapter}.{place}" for place in range(1, len(numbers) + 1)]
    assert not set(numbers) & set(sections())


@pytest.mark.parametrize("number", sections())
def test_each_fact_says_how_sure_it_is_and_where_it_can_be_seen(number):
    for table in tables(number):
        for row in table:
            assert all(row)  # each column has a name
            if "how sure" not in row:
                continue
            sure = set(row["how sure"].split(", "))
            sources = [one.split()[0] for one in row["where"].split(", ") if one]
            assert sure <= WORDS, row
            assert set(sources) <= set(tags()), row
            assert sources or sure <= {"assumed", "contested"}, row


def test_each_source_is_used():
    used = {
        one.split()[0]
        for number in sections()
        for table in tables(number)
        for row in table
        for one in row.get("where", "").split(", ")
        if one and "how sure" in row
    }
    assert sorted(set(tags()) - used) == []


@pytest.mark.parametrize(("number", "name"), LISTED.items())
def test_the_attributes_are_those_of_the_catalogue(number, name):
    (rows,) = [table for table in tables(number) if "attributes" in table[0]]
    listed = [
        (attribute, row["access"], row["max"], row["list"])
        for row in rows
        for attribute in re.findall(r"`(\w+)`", row["attributes"])
    ]
    known = {
        (
            attribute.name,
            "read" if attribute.read_only else "write",
            str(attribute.max_length or ""),
            ", ".join(["filter"] * attribute.filterable + ["sort"] * attribute.sortable),
        )
        for attribute in load_catalog()[name].attributes.values()
        if not CUSTOM_NAME.fullmatch(attribute.name)
    }
    assert set(listed) == known
    assert len(listed) == len(known)


def test_readers_are_led_to_it():
    for name in ("README.md", "CONTRIBUTING.md"):
        path = documents.ROOT / name
        assert "](docs/outreach-api.md)" in path.read_text(encoding="utf-8"), name


@pytest.mark.parametrize("page", sorted(documents.DOCS.rglob("*.md")), ids=lambda page: page.name)
def test_links_between_the_pages_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target
