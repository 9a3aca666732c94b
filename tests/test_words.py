"""What people read is plain: no private words, no misspelling, short sentences, terms explained.

`.ci/words` lists the private words, and what to say in their place.
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
from functools import cache

import documents
import processes
import pytest
import textstat
import yaml

SITE = documents.ROOT / "mkdocs.yml"
EXAMPLES = sorted((documents.ROOT / "examples").glob("*/README.md"))
OTHERS = [documents.ROOT / name for name in ("CODE_OF_CONDUCT.md", "SECURITY.md", "CHANGELOG.md")]
DECISIONS = sorted((documents.DOCS / "adr").glob("*.md"))
READ = [*documents.PAGES, *EXAMPLES, *OTHERS]
PACKAGE = documents.ROOT / "target_outreach"
MODULES = sorted(PACKAGE.rglob("*.py"))
#: What browsers show: the pages of reports, of changes and of the sandbox, with their scripts.
SHOWN = sorted(path for path in PACKAGE.rglob("*") if path.suffix in {".html", ".js"})
CODE = sorted(
    path
    for folder in ("benchmarks", "examples", "target_outreach", "tests", "tools")
    for path in (documents.ROOT / folder).rglob("*.py")
)
#: What only developers read.
FOR_DEVELOPERS = [
    *DECISIONS,
    documents.ROOT / "CONTRIBUTING.md",
    *sorted((documents.ROOT / "tests").rglob("*.md")),
]
MOST_WORDS = 18  # of a sentence, on average
MOST_LINES = 250
MOST_LINES_OF_README = 180
#: Each term of the glossary, and how a page says it; in code where it is a value of a setting.
TERMS = {
    "drift": r"`(?:change_detection: )?drift`",
    "hold": r"`(?:on_reject: )?hold`",
    "key-properties": r"\bkey properties\b",
    "memory": r"\bmemory\b",
    "pending": r"\[`pending`\]",
    "rejects": r"\brejects\b",
    "s2s": r"\b(?:S2S|[Ss]erver-to-server)\b",
    "state": r"\bSTATE\b",
    "superseded": r"\bsuperseded\b",
}


def ids(path):
    return path.relative_to(documents.ROOT).as_posix()


def without_code(text):
    """A page without its blocks, comments and inline code."""
    text = re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    return re.sub(r"`[^`\n]+`", "code", text)


def plain(text):
    """Text without the targets of links and without emphasis."""
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    return re.sub(r"[*>]|^> ", "", text)


def prose(text):
    """The sentences of the paragraphs and lists of a page; headings and tables have none.

    A paragraph or an entry of a list ends with a full stop. A dot in a number or a name is no end.
    """
    kept = [line for line in without_code(text).splitlines() if not re.match(r"[#|!]", line)]
    parts = re.split(r"\n\s*\n|\n\s*(?:[*-]|\d+\.) ", "\n" + "\n".join(kept))
    said = [" ".join(re.sub(r"[.!?](?=\w)", " ", plain(part)).split()) for part in parts]
    return "\n".join(one if one[-1] in ".!?" else f"{one.rstrip(':')}." for one in said if one)


@cache
def private_words(*, for_users):
    """Patterns of private words, with what to say in their place."""
    text = (documents.ROOT / ".ci" / "words").read_text(encoding="utf-8")
    text = text if for_users else text.partition("#: only users\n")[0]
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    pairs = [line.split(" = ") for line in lines]
    return [(re.compile(rf"\b(?:{word})\b", re.IGNORECASE), instead) for word, instead in pairs]


def private(text, *, for_users=True):
    """The private words in a text, each with its line; not in code or in what a run prints."""
    text = re.sub(
        r"^```text\n.*?^```$",
        lambda found: "\n" * found[0].count("\n"),
        text,
        flags=re.MULTILINE | re.DOTALL,
    )
    return found_in(re.sub(r"`[^`\n]+`", "", text), for_users=for_users)


def found_in(text, *, for_users):
    """The private words in a text, each with its line."""
    return [
        f"line {number}: {found[0]!r}: say {instead}"
        for number, line in enumerate(text.splitlines(), 1)
        for pattern, instead in private_words(for_users=for_users)
        if (found := pattern.search(line))
    ]


@pytest.mark.parametrize("path", READ, ids=ids)
def test_no_private_word_is_in_what_users_read(path):
    assert private(path.read_text("utf-8")) == []


def messages(path):
    """The texts of a module that have several words and are no docstrings, each with its line."""
    tree = ast.parse(path.read_text("utf-8"))
    docstrings = {one.value for one in ast.walk(tree) if isinstance(one, ast.Expr)}
    for one in ast.walk(tree):
        if isinstance(one, ast.Constant) and one not in docstrings and " " in str(one.value):
            yield one.lineno, str(one.value)


def test_no_private_word_is_in_a_message():
    found = [
        (ids(path), line, words)
        for path in MODULES
        for line, text in messages(path)
        if (words := private(text))
    ]
    assert found == []


@pytest.mark.parametrize("path", SHOWN, ids=ids)
def test_no_private_word_is_on_a_page_in_a_browser(path):
    assert found_in(path.read_text("utf-8"), for_users=True) == []


@pytest.mark.parametrize("path", FOR_DEVELOPERS, ids=ids)
def test_no_private_word_is_in_what_developers_read(path):
    assert private(path.read_text("utf-8"), for_users=False) == []


def names_and_docstrings(text):
    """The names of classes and functions as words, and all docstrings, each with its line."""
    for one in ast.walk(ast.parse(text)):
        if isinstance(one, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield one.lineno, one.name.replace("_", " ")
        if isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant):
            yield one.lineno, str(one.value.value)


def comments(text):
    """The comments of a module, each with its line."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def private_in_code(text):
    """The private words in names, docstrings and comments of a module."""
    return [
        f"line {line}, {words}"
        for line, said in [*names_and_docstrings(text), *comments(text)]
        for words in private(said, for_users=False)
    ]


@pytest.mark.slow  # parses and reads all code
def test_no_private_word_is_in_names_docstrings_and_comments():
    found = {ids(path): private_in_code(path.read_text("utf-8")) for path in CODE}
    assert {path: words for path, words in found.items() if words} == {}


def test_a_private_word_in_code_is_noticed():
    text = 'def test_it_is_mended():\n    """It is held back."""\n    # in vain, `in vain`\n'
    found = private_in_code(text)
    assert [words.partition(": say")[0] for words in found] == [
        "line 1, line 1: 'mended'",
        "line 2, line 1: 'held back'",
        "line 3, line 1: 'in vain'",
    ]
    assert private("It is settled.", for_users=False) == []
    assert private("It is settled.") != []


@pytest.mark.parametrize("command", ["", "sandbox", "login", "check", "fields", "cost", "replay"])
def test_no_private_word_is_in_the_help_of_a_command(command):
    arguments = [*filter(None, [command]), "--help"]
    done = processes.run(arguments, encoding="utf-8")
    assert done.returncode == 0
    assert private(done.stdout) == []


def test_a_private_word_is_noticed():
    assert private("One.\nIt was mended.\n")[0].startswith("line 2: 'mended'")
    assert private("It says `mended`.") == []


def test_what_users_read_is_spelled_as_it_should_be():
    command = [sys.executable, "-m", "codespell_lib", "--ignore-words-list=customN"]
    done = subprocess.run(
        [*command, *map(str, [*READ, *DECISIONS])],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.stdout == ""
    assert done.returncode == 0


@pytest.mark.parametrize("path", [*documents.PAGES, *EXAMPLES, *DECISIONS], ids=ids)
def test_sentences_are_short_on_average(path):
    said = prose(path.read_text("utf-8"))
    found = re.split(r"(?<=[.!?])\s", said)
    longest = "\n".join(sorted(found, key=lambda one: -len(one.split()))[:5])
    mean = textstat.words_per_sentence(said)
    assert mean <= MOST_WORDS, f"{mean:.1f} words a sentence; the longest:\n{longest}"


def test_sentences_are_found():
    text = "# Title\n\nOne 2.5 two `a.b`. Three\nfour `five. six`!\n\n* Seven eight nine\n* Ten:\n"
    assert prose(text) == "One 2 5 two code. Three four code!\nSeven eight nine.\nTen."
    assert textstat.words_per_sentence("One two three. Four five six seven eight!") == 4.0


@pytest.mark.parametrize("path", documents.PAGES, ids=ids)
def test_a_page_begins_with_what_it_is_for_has_an_example_and_is_not_long(path):
    text = path.read_text("utf-8")
    lines = text.splitlines()
    most = MOST_LINES_OF_README if path == documents.README else MOST_LINES
    assert len(lines) <= most
    if path == documents.README:
        return
    assert lines[0].startswith("# ")
    first = lines[2]
    assert re.match(r"This (page|site) ", first), first
    assert first.endswith("."), "one sentence, on one line"
    assert re.search(r"^```(?!text)", text, re.MULTILINE), "an example that can be copied"


@pytest.mark.parametrize("path", documents.PAGES, ids=ids)
def test_each_term_is_linked_to_the_glossary_where_it_first_occurs(path):
    if path.name == "glossary.md":
        return
    text = path.read_text("utf-8")
    missing = []
    for term, pattern in TERMS.items():
        if (found := first_use(text, pattern)) and f"glossary.md#{term})" not in found:
            missing.append(f"{term}: {found}")
    assert missing == []


def first_use(text, pattern):
    """The line in which a term is first used outside headings, blocks and other links."""
    text = re.sub(r"^( *)```.*?^\1```$|<!--.*?-->", "", text, flags=re.MULTILINE | re.DOTALL)
    for line in text.splitlines():
        shown = re.sub(r"!?\[[^\]]*\]\((?!\S*glossary\.md)[^)]*\)", "", line)
        if pattern[0] != "`":
            shown = re.sub(r"`[^`]+`", "", shown)
        if not line.startswith("#") and re.search(pattern, shown):
            return line
    return None


@pytest.mark.parametrize("name", ["questions.md", "questions-runs.md", "troubleshooting.md"])
def test_each_question_has_one_paragraph_and_links_that_lead_to_a_heading(name):
    page = documents.DOCS / name
    _, *questions = page.read_text("utf-8").split("\n### ")
    assert len(questions) >= 20
    for question in questions:
        asked, answer, *others = question.partition("\n## ")[0].strip().split("\n\n")
        assert asked.endswith("?"), asked
        assert others == [], f"{asked}: one paragraph"
        links = re.findall(r"\]\(([^)#]+)(?:#([^)]+))?\)", answer)
        assert links, f"{asked}: a link"
        for linked, heading in links:
            assert not heading or heading in anchors(documents.DOCS / linked), f"{asked}: {heading}"


def anchors(path):
    """The names of the headings of a page, as MkDocs makes them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text("utf-8"), re.MULTILINE)
    return [
        re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", one).strip().lower()) for one in headings
    ]


def pages_of(nav):
    for entry in nav:
        for value in entry.values():
            if isinstance(value, list):
                yield from pages_of(value)
            else:
                yield value


def test_the_site_lists_each_page_once_and_loads_nothing_from_the_network():
    site = yaml.safe_load(SITE.read_text("utf-8"))
    listed = sorted(pages_of(site["nav"]))
    there = sorted(
        path.relative_to(documents.DOCS).as_posix() for path in documents.DOCS.rglob("*.md")
    )
    assert listed == there
    assert site["theme"]["font"] is False
    assert "repo_url" not in site  # each page would ask GitHub how many stars there are
    (polyfill,) = site["extra"]["polyfills"]  # else the plugin `offline` names one on a server
    assert (documents.DOCS / polyfill).exists()
