"""Names from a tap or a server forge no line of the log or of a command, and steer no terminal."""

from __future__ import annotations

import io
import json
import logging
import re
import unicodedata

import processes
import pytest
from conftest import lines, record, schema, state

from target_outreach.plain_text import PlainRecord, keep_log_plain, on_one_line
from target_outreach.sandbox import Fault, Sandbox

#: Line ends and control characters of all kinds, each with a line that would be believed.
FORGED = "2026-01-01 00:00:00,000 | ERROR | forged"
SIGNS = (
    "\r\n \x1b[2J\x1b]0;forged\x07 \x9b31m \x85 \u2028 \u2029 \u202e \u2066 \u200f \x00 \x0b \x7f"
)
EVIL = f"a{SIGNS}\n{FORGED}\nok       forged"
LOG_LINE = re.compile(r"\d{4}-\d\d-\d\d [\d:,]+ +\| [A-Z]+ +\| ")


@pytest.fixture
def sandbox(tmp_path):
    with Sandbox(tmp_path / "outreach.db") as running:
        yield running


def assert_plain(text):
    """Look for what moves a cursor or turns text around, and for lines that begin as forged."""
    odd = {one for one in text if unicodedata.category(one) in {"Cc", "Cf", "Zl", "Zp", "Cs"}}
    assert odd <= {"\n"}
    for line in text.splitlines():
        assert not line.startswith((FORGED, "ok       forged", "[2J"))


MESSAGES = [
    schema(
        EVIL,
        {
            "id": {"type": ["null", "integer"]},
            "emails": {"type": ["null", "array", "string"]},
            EVIL: {"type": ["null", "string"], "pattern": "("},
            f"email {EVIL}": {"type": "string"},
            "title": {"type": "string", "pattern": f"({EVIL}"},
        },
        keys=("id", EVIL),
    ),
    record(EVIL, id=1, emails="a@x.test", title="T", **{EVIL: "1"}),
    record(
        EVIL, id=2, emails=[f"b{EVIL}@x.test"], title=f"T{EVIL}", **{EVIL: "1", f"new{EVIL}": 1}
    ),
    record(EVIL, id=3, emails="nope", **{EVIL: EVIL}),
    state({EVIL: EVIL}),
]
OPTIONS = {"streams": [{"stream": "*", "object": "prospects"}]}


@pytest.mark.slow
@pytest.mark.parametrize("level", ["INFO", "DEBUG"])
def test_no_name_of_a_tap_forges_a_line_of_the_log(execute, monkeypatch, level):
    monkeypatch.setenv("TARGET_OUTREACH_LOGLEVEL", level)
    run = execute(MESSAGES, **OPTIONS)
    assert run.exit_code == 3
    assert "forged" in run.log  # as a part of names
    assert_plain(run.log)
    assert all(map(LOG_LINE.match, run.log.splitlines()))


@pytest.mark.slow
def test_state_on_standard_output_stays_as_it_came(execute):
    run = execute(MESSAGES, **OPTIONS)
    assert run.states == [{EVIL: EVIL}]
    assert run.stdout.count("\n") == 1


@pytest.mark.parametrize(
    "message",
    [
        schema(EVIL, {"id": {"$ref": EVIL}, "email": {"type": EVIL}}, keys=[EVIL]),
        record(EVIL, id=1),
        {"type": EVIL},
        EVIL + "\n",
    ],
)
def test_no_sentence_that_ends_a_run_forges_a_line(execute, message):
    run = execute([message, state({"n": 1})])
    assert_plain(run.log)
    assert all(map(LOG_LINE.match, run.log.splitlines()))


@pytest.mark.slow
@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422, 500])
def test_no_text_from_a_server_forges_a_line_of_the_log(sync, sandbox, status):
    error = {"id": EVIL, "title": EVIL, "detail": EVIL, "source": {"pointer": f"/data/{EVIL}"}}
    body = json.dumps({"errors": [error], "error": EVIL, "error_description": EVIL})
    for method in ("GET", "POST"):
        sandbox.add_fault(Fault("status", method=method, status=status, body=body, times=20))
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logging.root.addHandler(handler)
    try:
        sync([schema("prospects"), record("prospects", id=1, emails="a@x.test"), state({"n": 1})])
    finally:
        logging.root.removeHandler(handler)
    assert stream.getvalue()
    assert_plain(stream.getvalue())


def command(config, tmp_path, *words, stdin=""):
    """Run a command as a process; its output keeps every byte."""
    path = tmp_path / "of a command.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    done = processes.run([*words, "--config", str(path)], stdin.encode())
    return done.stdout.decode(), done.stderr.decode()


@pytest.mark.slow
@pytest.mark.parametrize("form", [(), ("--json",)])
def test_no_name_of_a_tap_forges_a_line_of_fields(config, tmp_path, form):
    tap = tmp_path / "tap.singer"
    tap.write_text(lines(MESSAGES[:1]), encoding="utf-8")
    out, err = command(config | OPTIONS, tmp_path, "fields", "--schema", str(tap), *form)
    assert "forged" in out
    assert_plain(out + err)
    if form:
        (described,) = json.loads(out)
        assert described["stream"] == EVIL


@pytest.mark.slow
@pytest.mark.parametrize("words", [("check",), ("check", "--probe"), ("fields",)])
def test_no_text_from_a_server_forges_a_line_of_a_command(config, sandbox, tmp_path, words):
    error = {"id": "x", "title": EVIL, "detail": EVIL}
    body = json.dumps({"errors": [error], "data": {"attributes": {"name": EVIL}}})
    for status in (200, 403, 422, 200):
        sandbox.add_fault(Fault("status", method="GET", status=status, body=body, times=3))
    out, err = command(config, tmp_path, *words)
    assert out + err
    assert_plain(out + err)


@pytest.mark.parametrize("sign", [*SIGNS.replace(" ", ""), "\ud800", "\ufeff", "\U000e0001"])
def test_a_sign_that_is_not_printable_is_written_as_json_escapes_it(sign):
    written = on_one_line(f"a{sign}b")
    assert written.isprintable()
    assert json.loads(f'"{written}"') == f"a{sign}b" or sign == "["
    assert on_one_line("Müller → 東京 🙂 \\n") == "Müller → 東京 🙂 \\n"


def _fail():
    raise ValueError(EVIL)


def test_a_traceback_keeps_its_lines_and_none_of_them_is_forged():
    keep_log_plain()
    stream = io.StringIO()
    logger = logging.getLogger(f"of {EVIL}")
    logger.addHandler(handler := logging.StreamHandler(stream))
    handler.setFormatter(
        logging.Formatter("{asctime} | {levelname} | {name} | {message}", style="{")
    )
    try:
        _fail()
    except ValueError:
        logger.exception("What %s is", EVIL)
    first, *rest = stream.getvalue().splitlines()
    assert "What a" in first
    assert len(rest) >= 4
    assert all(line.startswith("  ") for line in rest)
    assert_plain(stream.getvalue())
    assert logging.makeLogRecord({"msg": "from elsewhere"}).getMessage() == "from elsewhere"
    assert isinstance(logging.makeLogRecord({}), PlainRecord)
