"""Where the CRM is kept, for each of the taps: a PostgreSQL, an HTTP API of JSON, a warehouse."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType
from urllib.parse import parse_qs, urlsplit

from taps.crm import TABLES

HERE = Path(__file__).parent
PASSWORD = "invented"
PAGE = 25
#: Offsets are written in the zone of the session; this one needs no list of zones.
ZONE = "<+0530>-05:30"
#: What another process may have taken between our choice of a port and its use.
TRIES = 5
SNOWFLAKE_TYPES = {
    "uuid": "VARCHAR",
    "text": "VARCHAR",
    "smallint": "NUMBER(38, 0)",
    "integer": "NUMBER(38, 0)",
    "bigint": "NUMBER(38, 0)",
    "numeric": "NUMBER",
    "double precision": "FLOAT",
    "timestamp": "TIMESTAMP_NTZ",
    "timestamptz": "TIMESTAMP_TZ",
    "text[]": "ARRAY",
    "json": "VARIANT",
    "jsonb": "VARIANT",
}


def find_postgres():
    """Return the folder of PostgreSQL's programs, or None."""
    found = shutil.which("initdb")
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return (
        Path(found).resolve().parent
        if found
        else next((path.parent for path in reversed(places)), None)
    )


@contextmanager
def postgres(programs):
    """Run a temporary server, and remove all its files at the end."""
    folder = Path(tempfile.mkdtemp(prefix="crm-"))
    try:
        server = PostgresServer(programs, folder)
        server.make()
        server.start()
        try:
            yield server
        finally:
            server.control("stop", "--mode=immediate")
    finally:
        shutil.rmtree(folder)


@dataclass
class PostgresServer:
    programs: Path
    folder: Path
    port: int = 0

    def make(self):
        (self.folder / "password").write_text(PASSWORD, encoding="utf-8")
        if os.geteuid() == 0:
            account = pwd.getpwuid(self._account()["user"])
            for path in (self.folder, self.folder / "password"):
                os.chown(path, account.pw_uid, account.pw_gid)
        options = ["--username=crm", "--auth=scram-sha-256", f"--pwfile={self.folder}/password"]
        self._run("initdb", *options, "--no-sync", "--encoding=UTF8", "--locale=C", self.data)

    def start(self):
        settings = {"fsync": "off", "timezone": ZONE, "unix_socket_directories": ""}
        options = "".join(f" -c {name}='{value}'" for name, value in settings.items())
        for left in reversed(range(TRIES)):
            self.port = free_port()
            addressed = f"-h 127.0.0.1 -p {self.port}{options}"
            try:
                self.control("start", f"--log={self.folder}/log", f"--options={addressed}")
            except subprocess.CalledProcessError:
                if not left:
                    raise
            else:
                return

    def control(self, *arguments):
        self._run("pg_ctl", *arguments, "--wait", "--pgdata", self.data)

    @property
    def data(self):
        return self.folder / "data"

    def execute(self, database, sql):
        command = ["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--username=crm"]
        address = ["--host=127.0.0.1", f"--port={self.port}", f"--dbname={database}"]
        environment = os.environ | {"PGPASSWORD": PASSWORD, "PGCLIENTENCODING": "UTF8"}
        self._run("psql", *command, *address, input=sql, env=environment)

    def _run(self, program, *arguments, **options):
        subprocess.run(
            [self.programs / program, *arguments],
            cwd=self.folder,
            capture_output=True,
            check=True,
            encoding="utf-8",
            **self._account(),
            **options,
        )

    def _account(self):
        """Run as somebody else where we are root, for whom PostgreSQL does not run."""
        if os.geteuid() != 0:
            return {}
        names = {one.pw_name: one for one in pwd.getpwall()}
        account = names.get("postgres") or names["nobody"]
        return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@dataclass
class Postgres:
    """A database of a server; `tap-postgres` reads it."""

    server: PostgresServer
    database: str

    tap = "tap-postgres"
    prefix = "crm-"

    def __post_init__(self):
        self.server.execute("postgres", f"CREATE DATABASE {self.database}")
        tables = (
            f"CREATE TABLE crm.{name} ({_columns(columns)}, PRIMARY KEY (id));"
            for name, columns in TABLES.items()
        )
        self.server.execute(self.database, f"CREATE SCHEMA crm; {''.join(tables)}")

    @property
    def environment(self):
        return {
            "TAP_POSTGRES_PORT": str(self.server.port),
            "TAP_POSTGRES_PASSWORD": PASSWORD,
            "TAP_POSTGRES_DATABASE": self.database,
        }

    def write(self, **tables):
        """Put rows in, or in the place of those with the same id."""
        self.server.execute(self.database, "".join(map(self._write, tables, tables.values())))

    def _write(self, table, rows):
        given = f"jsonb_populate_recordset(NULL::crm.{table}, {_quoted(json.dumps(rows))})"
        return (
            f"DELETE FROM crm.{table} USING {given} AS new WHERE {table}.id = new.id;"  # noqa: S608
            f"INSERT INTO crm.{table} SELECT * FROM {given};"
        )


@dataclass
class Warehouse:
    """The demo's Snowflake of DuckDB; `tap-snowflake` reads it."""

    project: Path

    tap = "tap-snowflake"
    prefix = "crm-"
    environment = MappingProxyType({})

    def write(self, **tables):
        """Put rows in, or in the place of those with the same id; make the tables first."""
        folder = self.project / ".meltano" / "demo" / "warehouse"
        sql = "".join(map(self._write, tables, tables.values()))
        if not folder.exists():
            made = (
                f"CREATE TABLE crm.{name} ({_columns(columns, snowflake_type)}, PRIMARY KEY (id));"
                for name, columns in TABLES.items()
            )
            sql = f"CREATE SCHEMA crm; {''.join(made)} {sql}"
        python = self.project / ".meltano" / "extractors" / self.tap / "venv" / "bin" / "python"
        command = [python, HERE / "warehouse.py", folder]
        subprocess.run(command, input=sql, capture_output=True, check=True, encoding="utf-8")

    def _write(self, table, rows):
        ids = ", ".join(_quoted(str(row["id"])) for row in rows)
        columns = TABLES[table]
        taken = (_snowflake_value(name, kind) for name, kind in columns.items())
        given = ", ".join(f"({', '.join(map(_literal, row.values()))})" for row in rows)
        return (
            f"DELETE FROM crm.{table} WHERE id::VARCHAR IN ({ids});"  # noqa: S608
            f"INSERT INTO crm.{table} SELECT {', '.join(taken)} "
            f"FROM VALUES {given} AS given ({', '.join(columns)});"
        )


def snowflake_type(kind):
    """Translate a type of PostgreSQL."""
    name, bracket, size = kind.partition("(")
    return SNOWFLAKE_TYPES.get(name, name) + bracket + size


def _snowflake_value(name, kind):
    kind = snowflake_type(kind)
    return f"PARSE_JSON({name})::{kind}" if kind in {"ARRAY", "VARIANT"} else f"{name}::{kind}"


def _columns(columns, translated=str):
    return ", ".join(f"{name} {translated(kind)}" for name, kind in columns.items())


def _literal(value):
    """Write a value as text; in Snowflake a backslash escapes."""
    if value is None:
        return "NULL"
    text = json.dumps(value) if isinstance(value, dict | list) else str(value)
    return _quoted(text.replace("\\", "\\\\"))


def _quoted(text):
    return "'" + text.replace("'", "''") + "'"


class RestApi:
    """An HTTP API that gives JSON by the page; `tap-rest-api-msdk` reads it.

    Attributes:
        asked: The table, the moment since which and the page, for each request.
    """

    tap = "tap-rest-api-msdk"
    prefix = ""

    def __init__(self):
        self.rows = {table: {} for table in TABLES}
        self.asked = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_exception):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def environment(self):
        return {
            "TAP_REST_API_MSDK_API_URL": f"http://127.0.0.1:{self._server.server_port}",
            "TAP_REST_API_MSDK_BEARER_TOKEN": PASSWORD,
        }

    def write(self, **tables):
        """Put rows in, or in the place of those with the same id."""
        for table, rows in tables.items():
            self.rows[table] |= {row["id"]: row for row in rows}

    def page(self, table, query):
        """Return a page of the rows that changed since a moment, the oldest first."""
        since = query.get("updated_since", [""])[0]
        number = int(query.get("page", ["1"])[0])
        rows = sorted(self.rows[table].values(), key=lambda row: row["updated_at"])
        rows = [row for row in rows if row["updated_at"][:19] >= since[:19]]
        self.asked.append((table, since, number))
        upto = number * PAGE
        page = [_nested(row) for row in rows[upto - PAGE : upto]]
        return {"data": page, "next_page": number + 1 if rows[upto:] else None}


def _nested(row):
    """Put a link as such APIs do, as an object."""
    if "company_id" not in row:
        return row
    return {name: value for name, value in row.items() if name != "company_id"} | {
        "company": {"id": row["company_id"]}
    }


def _handler(api):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            address = urlsplit(self.path)
            table = address.path.strip("/")
            if self.headers["Authorization"] != f"Bearer {PASSWORD}" or table not in TABLES:
                self.send_error(HTTPStatus.UNAUTHORIZED)
                return
            body = json.dumps(api.page(table, parse_qs(address.query))).encode()
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_): ...

    return Handler
