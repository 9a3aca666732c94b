"""The tables of the sandbox's file, and what a fresh file holds."""

from __future__ import annotations

import uuid
import zlib
from typing import TYPE_CHECKING

from target_outreach.records.catalog import load_catalog
from target_outreach.sandbox.resources import FOLDED_KINDS

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    from target_outreach.records.model import Attribute

# Object, attributes and related ids; the ids of each object count from 1.
DEFAULTS: tuple[tuple[str, dict[str, object], dict[str, int]], ...] = (
    ("users", {"email": "ada@example.com", "firstName": "Ada", "lastName": "Byron"}, {}),
    ("users", {"email": "grace@example.com", "firstName": "Grace", "lastName": "Hopper"}, {}),
    ("stages", {"name": "New", "order": 1}, {}),
    ("stages", {"name": "Working", "order": 2}, {}),
    ("stages", {"name": "Customer", "order": 3}, {}),
    ("opportunityStages", {"name": "Open", "order": 1, "isClosed": False}, {}),
    ("opportunityStages", {"name": "Won", "order": 2, "isClosed": True}, {}),
    ("opportunityStages", {"name": "Lost", "order": 3, "isClosed": True}, {}),
    ("personas", {"name": "Buyer"}, {}),
    ("personas", {"name": "User"}, {}),
    ("mailboxes", {"email": "ada@example.com"}, {"user": 1}),
    ("mailboxes", {"email": "grace@example.com"}, {"user": 2}),
    ("sequences", {"name": "Welcome", "enabled": True}, {"owner": 1}),
)

_TABLES = (
    """CREATE TABLE emails (
        prospect INTEGER NOT NULL REFERENCES prospects (id),
        address TEXT NOT NULL,
        folded TEXT NOT NULL,
        shared INTEGER NOT NULL
    )""",
    # One owner per address in the whole organisation, whoever races whom (API reference 3.4).
    "CREATE UNIQUE INDEX emails_owner ON emails (folded) WHERE NOT shared",
    "CREATE INDEX emails_folded ON emails (folded)",
    "CREATE INDEX emails_prospect ON emails (prospect)",
    """CREATE TABLE writes (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        object TEXT NOT NULL,
        record INTEGER NOT NULL,
        method TEXT NOT NULL,
        at TEXT NOT NULL,
        sent TEXT NOT NULL,
        changed INTEGER NOT NULL
    )""",
    "CREATE INDEX writes_record ON writes (object, record)",
    """CREATE TABLE custom_fields (
        object TEXT NOT NULL,
        name TEXT NOT NULL,
        validation TEXT NOT NULL,
        PRIMARY KEY (object, name)
    )""",
    "CREATE TABLE organisation (guid TEXT NOT NULL)",
)

# Files from before these tables get them too.
_ADDED_TABLES = (
    """CREATE TABLE IF NOT EXISTS issued (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        digest TEXT NOT NULL UNIQUE,
        kind TEXT NOT NULL,
        client_id TEXT NOT NULL,
        scope TEXT NOT NULL,
        redirect_uri TEXT NOT NULL,
        expires_at REAL NOT NULL,
        dead INTEGER NOT NULL DEFAULT 0
    )""",
    "CREATE TABLE IF NOT EXISTS challenges (digest TEXT PRIMARY KEY, challenge TEXT NOT NULL)",
    """CREATE TABLE IF NOT EXISTS token_requests (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        at REAL NOT NULL,
        grant_type TEXT NOT NULL,
        client_id TEXT NOT NULL,
        outcome TEXT NOT NULL
    )""",
    """CREATE TABLE IF NOT EXISTS imports (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        at REAL NOT NULL,
        dupe_method TEXT NOT NULL,
        file_name TEXT,
        total INTEGER NOT NULL,
        everything INTEGER NOT NULL,
        error TEXT,
        state TEXT NOT NULL,
        changed_at REAL NOT NULL
    )""",
    """CREATE TABLE IF NOT EXISTS import_records (
        import INTEGER NOT NULL REFERENCES imports (id),
        position INTEGER NOT NULL,
        sent TEXT NOT NULL,
        outcome TEXT,
        reason TEXT,
        existed INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (import, position)
    ) WITHOUT ROWID""",
)


def create_tables(connection: sqlite3.Connection) -> bool:
    """Create what is missing, inside the caller's transaction.

    The version of a file is a checksum of its tables for objects, so that a file from before an
    object or an index gets it.

    Returns:
        Whether the file was fresh.
    """
    for statement in _ADDED_TABLES:
        connection.execute(statement)
    statements = list(_object_tables())
    wanted = zlib.crc32("".join(statements).encode()) >> 1 or 1
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == wanted:
        return False
    for statement in statements:
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {wanted}")
    if version:
        return False
    for statement in _TABLES:
        connection.execute(statement)
    connection.execute("INSERT INTO organisation VALUES (?)", (str(uuid.uuid4()),))
    return True


def _object_tables() -> Iterator[str]:
    for name, kind in load_catalog().items():
        yield (
            f"CREATE TABLE IF NOT EXISTS {name} (id INTEGER PRIMARY KEY AUTOINCREMENT,"
            " body TEXT NOT NULL, trashed INTEGER NOT NULL DEFAULT 0)"
        )
        for attribute in kind.attributes.values():
            yield from _attribute_index(name, attribute)
        for link in kind.relationships:
            yield f"CREATE INDEX IF NOT EXISTS {name}_{link} ON {name} ({related(link)})"


def _attribute_index(name: str, attribute: Attribute) -> Iterator[str]:
    """Index what lookups go by; texts only where they are set, so that most rows cost nothing."""
    if not attribute.filterable:
        return
    index = f"CREATE INDEX IF NOT EXISTS {name}_{attribute.name} ON {name}"
    if attribute.kind in FOLDED_KINDS:
        text = folded_text(attribute.name)
        yield f"{index} ({text}) WHERE {text} IS NOT NULL"
    elif attribute.kind == "date-time":
        yield f"{index} ({value(attribute.name)})"


def value(attribute: str) -> str:
    """Return the SQL expression of an attribute."""
    return f"json_extract(body, '$.attributes.{attribute}')"


def folded_text(attribute: str) -> str:
    """Return the SQL expression of a text attribute in the form in which it is compared."""
    return f"json_extract(body, '$.folded.{attribute}')"


def related(relationship: str) -> str:
    """Return the SQL expression of a related id."""
    return f"json_extract(body, '$.relationships.{relationship}')"
