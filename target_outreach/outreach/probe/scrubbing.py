"""Showing the words of Outreach's refusals without anything that identifies an organisation."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from target_outreach.outreach.refusals import ERROR

if TYPE_CHECKING:
    from collections.abc import Iterator

    from target_outreach.outreach.answers import Answer

#: The members of an error that are named.
MEMBERS = frozenset(
    {
        "id",
        "title",
        "detail",
        "details",
        "source",
        "status",
        "code",
        "links",
        "meta",
        "error",
        "description",
    }
)
ID = re.compile(r"[A-Za-z_.]{1,80}")
LONGEST_SENTENCE = 200
#: Letters of a text that is read at all: the time that the expressions take grows with its square,
#: and a text that is cut could end within a quotation or a name.
LONGEST_TEXT = 2000
HIDDEN = "..."
SCRUBBED = (
    (
        re.compile(r"(?<!\w)'.*?'(?!\w)|(?<!\w)`.*?[`'](?!\w)|\".*?\"|\u201c.*?\u201d"),
        f"'{HIDDEN}'",
    ),
    (re.compile(r"\S+@\S+|\b\w+://\S+|\b[0-9a-f]{8}-[0-9a-f-]{27}\b", re.IGNORECASE), HIDDEN),
    (re.compile(r"\b[\w-]+(?:\.[\w-]+)+\b"), HIDDEN),
    (re.compile(r"\w*\d\w*(?:[.,:/-]\w*\d\w*)*"), "#"),
)


class Scrubber:
    """Removes from a sentence all that could identify an organisation or a person."""

    def __init__(self) -> None:
        self._secrets: set[str] = set()

    def learn(self, document: Any) -> None:  # noqa: ANN401 - JSON
        """Remember every text of a document as one that must not be repeated."""
        self._secrets.update(text for text in _texts(document) if len(text) > 1)

    def sentence(self, text: str) -> str:
        """Remove names, addresses, quotations and numbers from Outreach's words."""
        if text.lstrip().startswith("<"):
            return "a page of HTML"
        if len(text) > LONGEST_TEXT:
            return "a long text"
        text = self._hidden(text)
        for pattern, stands_for in SCRUBBED:
            text = pattern.sub(stands_for, text)
        return " ".join(text.split())[:LONGEST_SENTENCE]

    def _hidden(self, text: str) -> str:
        """Remove the texts that were learned, the longest first."""
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", HIDDEN, text, flags=re.IGNORECASE)
        return text

    def refusal(self, answer: Answer) -> dict[str, Any]:
        """Describe an answer by its status and, where it is a refusal, its scrubbed words."""
        said: dict[str, Any] = {"status": answer.status}
        if answer.status < ERROR:
            return said
        words = answer.error
        form, members = _form_of_error(answer.document)
        return said | {
            "body": form,
            "members": members,
            "id": self._hidden(words.id) if ID.fullmatch(words.id) else self.sentence(words.id),
            "title": self.sentence(words.title),
            "detail": self.sentence(words.detail),
        }


def _texts(document: Any) -> Iterator[str]:  # noqa: ANN401 - JSON
    if isinstance(document, dict | list):
        for part in document.values() if isinstance(document, dict) else document:
            yield from _texts(part)
    elif isinstance(document, str) and document.strip():
        yield document.strip()


def _form_of_error(document: Any) -> tuple[str, list[str]]:  # noqa: ANN401 - JSON
    if not isinstance(document, dict):
        return ("text" if document is None else "other"), []
    errors = document.get("errors")
    listed = isinstance(errors, list) and bool(errors) and isinstance(errors[0], dict)
    error = errors[0] if listed and isinstance(errors, list) else document
    form = "errors" if listed else "gateway" if "error" in document else "other"
    return form, sorted(MEMBERS.intersection(error))
