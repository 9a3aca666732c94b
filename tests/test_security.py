"""Attacks: what an input, a web page, another user or another server might try."""

from __future__ import annotations

import http.server
import json
import os
import socket
import stat
import threading
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import documents
import processes
import pytest
import requests
import yaml
from conftest import record, schema, state

from target_outreach.connection import Connection
from target_outreach.delivery.earlier_rejects import unresolved
from target_outreach.errors import ExitCode, SettingsError
from target_outreach.object_store import public_name
from target_outreach.outreach.auth.credentials_file import Chain
from target_outreach.outreach.auth.tokens import Tokens
from target_outreach.outreach.pacing import Pacer
from target_outreach.sandbox import SANDBOX_APP, Fault, Sandbox
from target_outreach.settings import Settings

TOKEN = "invented-token-7f3a"
SECRET = "hunter2"
GOOD = [schema("prospects"), record("prospects", id=1, emails="a@x.test"), state({"n": 1})]
BAD = [schema("prospects"), record("prospects", id=1, emails="nope"), state({"n": 1})]

#: Some user who is neither root nor the one that runs the tests.
SOMEBODY = 54321
only_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give files away"
)


@pytest.fixture
def open_umask():
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path):
    return stat.S_IMODE(Path(path).stat().st_mode)


# Who may talk to the sandbox


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v2"),
        ("GET", "/api/v2/prospects"),
        ("POST", "/api/v2/prospects"),
        ("POST", "/oauth/token"),
        ("GET", "/oauth/authorize"),
        ("POST", "/oauth/authorize"),
        ("POST", "/api/app/installs/1/actions/accessToken"),
        ("DELETE", "/"),
    ],
)
@pytest.mark.parametrize("host", ["evil.test", "127.0.0.1.evil.test:8765", "192.0.2.7", ""])
def test_no_name_that_somebody_pointed_here_reaches_the_api(sandbox, method, path, host):
    headers = {"Host": host, "Authorization": f"Bearer {TOKEN}"}
    content = {"data": {"type": "prospect", "attributes": {"emails": ["a@x.test"]}}}
    answer = requests.request(method, sandbox.url + path, json=content, headers=headers, timeout=20)
    assert answer.status_code == 403
    assert sandbox.store.count("prospects") == 0
    assert sandbox.token_requests == []


@pytest.fixture
def inside(tmp_path):
    """The sandbox that a run has inside it, with the address that another process may find."""
    settings = Settings.read({"sandbox": str(tmp_path / "inside.db")})
    with Connection(settings, Pacer()) as connection:
        yield connection


def test_nobody_but_the_run_gets_into_the_sandbox_inside_it(inside, tmp_path):
    url = inside.api_url.removesuffix("/api/v2")
    with Sandbox(tmp_path / "another.db") as another:  # a token that any other sandbox takes
        known = another.issue_refresh_token()
    content = {"data": {"type": "prospect", "attributes": {"emails": ["a@x.test"]}}}
    for token in ("", "token", known, "\u00e9".encode().decode("latin-1")):
        for headers in ({"Authorization": f"Bearer {token}"}, {"Content-Type": "text/plain"}):
            answer = requests.post(
                f"{inside.api_url}/prospects", json=content, headers=headers, timeout=20
            )
            assert answer.status_code == 401
    for path in ("/", "/_sandbox/live", "/_sandbox/records/prospects"):
        assert requests.get(url + path, timeout=20).status_code == 404
    assert inside.client.get("/prospects").document["data"] == []


def test_no_login_at_the_sandbox_inside_a_run_gives_a_token_that_is_good(inside):
    url = inside.api_url.removesuffix("/api/v2")
    app = {"client_id": SANDBOX_APP.client_id, "client_secret": SANDBOX_APP.client_secret}
    for grant in (
        {"grant_type": "refresh_token", "refresh_token": "r"},
        {"grant_type": "authorization_code", "code": "c", "redirect_uri": "https://localhost/"},
    ):
        answer = requests.post(f"{url}/oauth/token", data=app | grant, timeout=20).json()
        token = answer.get("access_token", "none")
        headers = {"Authorization": f"Bearer {token}"}
        assert requests.get(inside.api_url, headers=headers, timeout=20).status_code == 401


def test_two_runs_with_a_sandbox_share_no_token(inside, tmp_path):
    settings = Settings.read({"sandbox": str(tmp_path / "inside.db")})
    with Connection(settings, Pacer()) as other:
        assert other.credentials.token() != inside.credentials.token()


def test_the_sandbox_refuses_a_long_body_before_it_reads_it(sandbox):
    address = urlsplit(sandbox.url)
    with socket.create_connection((address.hostname, address.port), timeout=20) as connection:
        head = b"POST /api/v2/prospects HTTP/1.1\r\nHost: localhost\r\n"
        connection.sendall(head + b"Content-Length: 300000000\r\n\r\n")
        assert connection.makefile("rb").readline().startswith(b"HTTP/1.1 413 ")


@pytest.mark.usefixtures("open_umask")
def test_only_its_owner_may_read_the_file_of_the_sandbox(tmp_path):
    new, old = tmp_path / "new.db", tmp_path / "old.db"
    old.touch(0o644)
    for path in (new, old):
        with Sandbox(path) as sandbox:
            sandbox.store.seed("prospects", {"emails": ["a@x.test"]})
            assert {mode(file) for file in tmp_path.glob(f"{path.name}*")} == {0o600}


@pytest.mark.slow
def test_a_run_delivers_into_the_sandbox_inside_it(execute, tmp_path):
    path = tmp_path / "inside.db"
    assert execute(GOOD, access_token=None, api_url=None, sandbox=str(path)).exit_code == 0
    with Sandbox(path) as sandbox:
        assert sandbox.store.count("prospects") == 1


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("name", ["client_id", "redirect_uri", "scope", "state", "other"])
def test_no_page_of_the_sandbox_runs_a_script_from_an_address(sandbox, method, name):
    asked = {
        "client_id": SANDBOX_APP.client_id,
        "redirect_uri": "https://localhost:8766/callback",
        "response_type": "code",
        "scope": "prospects.all",
        "state": "s",
    }
    asked[name] = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>"
    place = {"GET": "params", "POST": "data"}[method]
    url = f"{sandbox.oauth_url}/authorize"
    answer = requests.request(method, url, **{place: asked}, allow_redirects=False, timeout=20)
    assert "<script" not in answer.text
    assert "<img" not in answer.text
    assert answer.headers.get("Location", "https://localhost:8766/").startswith(
        "https://localhost:8766/"
    )


# Where tokens are sent


@pytest.mark.parametrize("setting", ["api_url", "oauth_url"])
@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.2:1\\@127.0.0.1:2/",
        "http://evil.test\\@localhost/",
        "http://localhost@evil.test/",
        "http://evil.test#@localhost/",
        "http://evil.test?@localhost/",
        "http://127.0.0.1:80@evil.test/",
        "http://localhost\t.evil.test/",
        "http://local\nhost/",
        " http://localhost/",
        "http://localhost/ ",
        "http://localhost\u3002evil.test/",
        "http://localhost\u2100evil.test/",
        "http://localhost%2f.evil.test/",
        "http://localhost.evil.test/",
        "http://[::1].evil.test/",
        "http:evil.test",
        "http:///localhost",
        "https://",
        "https://ada:hunter2@api.outreach.io/api/v2",
        "https://api.outreach.io/api/v2?key=hunter2",
        "https://api.outreach.io/api/v2#hunter2",
        "https://api.outreach.io:99999/api/v2",
        "file:///etc/passwd",
    ],
)
def test_an_address_that_two_parsers_may_read_in_two_ways_is_refused(setting, address):
    with pytest.raises(SettingsError) as raised:
        Settings.read({"access_token": TOKEN, setting: address})
    said = " ".join(raised.value.errors)
    assert setting in said
    assert SECRET not in said


@pytest.mark.parametrize(
    "address",
    [
        "https://api.outreach.io/api/v2",
        "HTTPS://API.Outreach.IO:443/api/v2/",
        "http://localhost:8765/api/v2",
        "http://127.0.0.1:8765",
        "http://[::1]:8765/api/v2",
        "https://[2001:db8::1]/api/v2",
    ],
)
def test_an_address_that_everybody_reads_in_one_way_is_taken(address):
    settings = {"access_token": TOKEN, "api_url": address, "oauth_url": address}
    assert Settings.read(settings).api_url == address


@pytest.mark.parametrize("text", ["tool/1\r\nX: y", "tool/1\n", "\ttool/1", "tool/1\r", "t\u00f6"])
def test_no_line_end_gets_into_a_header(text):
    with pytest.raises(SettingsError, match="user_agent must be"):
        Settings.read({"access_token": TOKEN, "user_agent": text})


def test_blanks_around_a_user_agent_are_not_sent(sync):
    assert sync(GOOD, user_agent=" tool/1 ").exit_code == 0


class _Hears(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.heard.append((self.path, dict(self.headers)))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_PATCH = do_GET  # noqa: N815 - the names that the server calls

    def log_message(self, *_arguments):
        pass


@contextmanager
def listener():
    """A server of somebody else, which keeps what it hears."""
    with http.server.ThreadingHTTPServer(("127.0.0.2", 0), _Hears) as server:
        server.heard = []
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server, f"http://127.0.0.2:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_no_redirect_takes_the_token_to_another_host(sync, sandbox, status, method):
    with listener() as (server, url):
        headers = [("Location", f"{url}/api/v2/prospects")]
        sandbox.add_fault(
            Fault("status", method=method, status=status, headers=headers, times=None)
        )
        run = sync(GOOD)
    assert run.exit_code != ExitCode.DONE
    assert server.heard == []
    assert TOKEN not in run.log


@pytest.mark.parametrize("form", ["{}/x", "//{host}/x", "{}@127.0.0.1/x"])
def test_no_link_to_the_next_page_takes_the_token_to_another_host(sync, sandbox, form):
    with listener() as (server, url):
        link = form.format(url, host=url.removeprefix("http://"))
        body = json.dumps({"data": [], "links": {"next": link}})
        sandbox.add_fault(Fault("status", method="GET", status=200, body=body, times=1))
        run = sync(GOOD)
    assert server.heard == []
    assert TOKEN not in run.log


# Files of this machine


def tokens():
    return Tokens.read({"access_token": SECRET, "expires_in": 60}, used=None, asked_at=0.0)


@pytest.mark.usefixtures("open_umask")
@pytest.mark.parametrize("form", ["{}", "file://{}", "local://{}"])
def test_whatever_leads_to_a_local_file_of_tokens_makes_it_private(tmp_path, form):
    path = tmp_path / "folder" / "credentials.json"
    chain = Chain(form.format(path), "name")
    with chain.locked():
        chain.write(tokens())
    assert mode(path) == 0o600
    assert mode(path.parent) == 0o700


@pytest.mark.usefixtures("open_umask")
@pytest.mark.parametrize("form", ["{}", "file://{}", "local://{}"])
def test_whatever_leads_to_a_local_folder_of_rejects_makes_them_private(sync, tmp_path, form):
    folder = tmp_path / "some rejects"
    run = sync(BAD, rejects_path=form.format(folder))
    assert run.exit_code == ExitCode.REJECTS
    (file,) = folder.glob("*.jsonl")
    assert mode(file) == 0o600
    assert run.report["rejects_file"] == str(file)


@pytest.mark.parametrize("setting", ["credentials_path", "rejects_path"])
@pytest.mark.parametrize(
    "form",
    [
        "simplecache::file://{}",
        "simplecache::local://{}",
        "filecache::{}/x.json",
        "zip::{}/x.zip",
        "filecache::memory://x",
        "zip://x.json::file://{}/x.zip",
        "zip://x.json::{}/x.zip",
        "dir://x::file://{}",
        "file://{}::simplecache::memory://x",
        "asynclocal://{}",
        "dir://{}",
    ],
)
def test_no_chain_or_other_protocol_writes_a_local_file_that_all_may_read(
    sync, sandbox, tmp_path, setting, form
):
    place = tmp_path / "place"
    place.mkdir()
    config = {"access_token": None, **APP} if setting == "credentials_path" else {}
    run = sync(BAD, **config, oauth_url=sandbox.oauth_url, **{setting: form.format(place)})
    readable = [one for one in tmp_path.rglob("*.json*") if one.name != "report.json"]
    assert not any(mode(one) & 0o077 for one in readable if one.is_file())
    assert run.exit_code == ExitCode.FAILED
    assert setting in run.log
    assert list(place.iterdir()) == []


APP = {
    "client_id": SANDBOX_APP.client_id,
    "client_secret": SANDBOX_APP.client_secret,
    "refresh_token": "r",
}


def test_a_plan_and_a_report_replace_a_link_and_leave_what_it_leads_to(sync, tmp_path):
    plan, report, victim = tmp_path / "plan", tmp_path / "a.json", tmp_path / "victim"
    victim.write_text("precious", encoding="utf-8")
    victim.chmod(0o644)
    plan.symlink_to(victim)
    report.symlink_to(victim)
    run = sync(GOOD, dry_run=True, changes_path=str(plan), report_path=str(report))
    assert run.exit_code == ExitCode.DONE
    assert victim.read_text(encoding="utf-8") == "precious"
    assert mode(victim) == 0o644
    assert not plan.is_symlink()
    assert mode(plan) == 0o600
    assert json.loads(report.read_text(encoding="utf-8"))["exit_code"] == 0
    assert not list(tmp_path.glob(".*"))


def test_what_holds_an_old_plan_open_does_not_see_the_new_one(sync, tmp_path):
    plan = tmp_path / "plan"
    plan.touch(0o666)
    with plan.open(encoding="utf-8") as spy:
        sync(GOOD, dry_run=True, changes_path=str(plan))
        assert spy.read() == ""
    assert "a@x.test" in plan.read_text(encoding="utf-8")
    assert mode(plan) == 0o600


@only_root
@pytest.mark.parametrize("kind", ["file", "link"])
@pytest.mark.parametrize(
    "setting", ["changes_path", "report_path", "credentials_path", "memory_path"]
)
def test_a_file_that_somebody_else_put_there_is_not_used(sync, tmp_path, setting, kind, caplog):
    folder = tmp_path / "for all"
    folder.mkdir()
    folder.chmod(0o1777)
    planted, victim = folder / "planted.json", tmp_path / "victim"
    victim.write_text("", encoding="utf-8")
    if kind == "link":
        planted.symlink_to(victim)
    else:
        planted.write_text("", encoding="utf-8")
    os.chown(planted, SOMEBODY, SOMEBODY, follow_symlinks=False)
    config = {"dry_run": True} if setting == "changes_path" else {}
    if setting == "credentials_path":
        config = {"access_token": None, **APP}
    if setting == "report_path":
        with pytest.raises((FileNotFoundError, ValueError)):  # there is no report to read
            sync(GOOD, report_path=str(planted))
        said = caplog.text
    else:
        run = sync(GOOD, **config, **{setting: str(planted)})
        assert run.exit_code == ExitCode.FAILED
        said = run.log
    assert "it belongs to another user" in said
    assert planted.lstat().st_uid == SOMEBODY
    assert victim.read_text(encoding="utf-8") == ""


@pytest.mark.slow
@pytest.mark.parametrize("form", ["file://{}", "local://{}"])
def test_rejects_in_the_folder_of_a_url_are_sent_again(execute, sandbox, tmp_path, form):
    folder = tmp_path / "rejects"
    folder.mkdir()
    text = "".join(json.dumps(message) + "\n" for message in GOOD)
    (folder / "20260331T093000Z-1f2e3d4c.jsonl").write_text(text, encoding="utf-8")
    run = execute([], retry_rejects=True, rejects_path=form.format(folder))
    assert run.exit_code == ExitCode.DONE
    assert sandbox.store.count("prospects") == 1


@pytest.mark.slow
@only_root
def test_rejects_that_somebody_else_put_into_the_folder_are_not_sent(execute, sandbox, tmp_path):
    folder = tmp_path / "rejects"
    folder.mkdir()
    planted = folder / "20260331T093000Z-1f2e3d4c.jsonl"
    planted.write_text("".join(json.dumps(message) + "\n" for message in GOOD), encoding="utf-8")
    os.chown(planted, SOMEBODY, SOMEBODY)
    run = execute([], retry_rejects=True)
    assert run.exit_code == ExitCode.DONE
    assert "belong to other users of this machine" in run.log
    assert sandbox.store.count("prospects") == 0
    os.chown(planted, os.geteuid(), os.getegid())
    assert execute([], retry_rejects=True).exit_code == ExitCode.DONE
    assert sandbox.store.count("prospects") == 1


@pytest.mark.parametrize("name", ["../../../escaped", "/etc/escaped", "a\0b", "..", "x" * 5000])
def test_no_name_of_a_stream_leads_out_of_the_folder_of_rejects(sync, tmp_path, name):
    entry = {"stream": "*", "object": "prospects"}
    rows = [schema(name, BAD[0]["schema"]["properties"]), record(name, id=1, emails="nope")]
    before = set(tmp_path.parent.iterdir())
    run = sync(rows, streams=[entry])
    assert run.exit_code == ExitCode.REJECTS
    assert set(tmp_path.parent.iterdir()) == before
    file = Path(run.report["rejects_file"])
    assert file.parent == tmp_path / "rejects"
    assert [one.name for one in file.parent.iterdir()] == [file.name]
    assert not list(tmp_path.rglob("*escaped*"))


def test_unresolved_rejects_are_looked_for_in_one_folder_only(tmp_path):
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "20260331T093000Z-1f2e3d4c.jsonl").touch()
    assert unresolved(str(tmp_path), lambda: pytest.fail("nothing to ask for"), Path) == []


# What is in logs and reports


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("s3://bucket/a/b", "s3://bucket/a/b"),
        ("s3://bucket/mail@acme/b", "s3://bucket/mail@acme/b"),
        ("ftp://u:hunter2@host/a", "ftp://host/a"),
        ("ftp://hunter2@host/a", "ftp://host/a"),
        ("ftp://u:hun/hunter2@host/a", "ftp://host/a"),
        ("ftp://u:hun?hunter2@host/a", "ftp://…"),
        ("ftp://u:hun#hunter2@host/a", "ftp://…"),
        ("s3://bucket/a?token=hunter2", "s3://bucket/a"),
        ("s3://bucket/a?token=x:y@hunter2", "s3://bucket/a"),
        ("zip://a::ftp://u:hunter2@host/b", "zip://a::ftp://host/b"),
        ("ftp://u:hunter2@host::memory://v:hunter2@x?hunter2", "ftp://host::memory://x"),
        ("/a/path", "/a/path"),
    ],
)
def test_what_is_secret_in_a_url_is_in_no_name_of_it(url, name):
    assert public_name(url) == name


@pytest.mark.parametrize("setting", ["rejects_path", "credentials_path"])
@pytest.mark.parametrize(
    "url",
    [
        "memory://u:hunter2@host/dir",
        "simplecache::ftp://u:hunter2@127.0.0.1:9/dir",
        "zip://a::ftp://u:hunter2@127.0.0.1:hunter2/dir",
        "ftp://u:hunter2@127.0.0.1:9/dir",
        "ftp://u:x@[hunter2/dir",
        "nowhere://u:hunter2@host/dir",
        "zip://a::nowhere://u:hunter2@host",
    ],
)
def test_no_password_in_a_url_is_logged_at_any_level(sync, sandbox, setting, url, monkeypatch):
    config = {"access_token": None, **APP} if setting == "credentials_path" else {}
    with monkeypatch.context() as patch:
        patch.setattr("conftest._rejects", lambda _config: [])
        run = sync(BAD, **config, oauth_url=sandbox.oauth_url, **{setting: url})
    assert SECRET not in run.log
    assert SECRET not in json.dumps(run.report)


@pytest.mark.parametrize("setting", ["memory_path", "changes_path", "report_path", "sandbox"])
@pytest.mark.parametrize("scheme", ["memory", "ftp", "file"])
def test_no_url_is_taken_for_a_path_so_that_its_password_names_a_file(setting, scheme):
    url = f"{scheme}://u:{SECRET}@host/x.json"
    access = {} if setting == "sandbox" else {"access_token": TOKEN}
    with pytest.raises(SettingsError, match=f"{setting} must be a path of this machine") as raised:
        Settings.read({**access, "dry_run": True, setting: url})
    assert SECRET not in str(raised.value)


@pytest.mark.slow
@pytest.mark.parametrize("words", [(), ("check",)])
@pytest.mark.parametrize("setting", ["rejects_path", "credentials_path", "memory_path"])
def test_no_process_that_logs_all_it_can_shows_the_password_of_a_url(
    config, tmp_path, monkeypatch, setting, words
):
    for name in ("TARGET_OUTREACH_LOGLEVEL", "LOGLEVEL"):
        monkeypatch.setenv(name, "DEBUG")
    url = f"memory://u:{SECRET}@host/dir"
    monkeypatch.setenv("TARGET_OUTREACH_REJECTS_PATH", url)  # which nobody reads here
    monkeypatch.chdir(tmp_path)
    access = {"access_token": None, **APP} if setting == "credentials_path" else {}
    path = tmp_path / "config.json"
    settings = {"oauth_url": config["api_url"].replace("/api/v2", "/oauth")} | config | access
    given = {name: one for name, one in settings.items() if one is not None} | {setting: url}
    path.write_text(json.dumps(given), encoding="utf-8")
    text = "".join(json.dumps(message) + "\n" for message in BAD)
    done = processes.run([*words, "--config", str(path)], text, encoding="utf-8")
    path.unlink()
    report = Path(config["report_path"])
    shown = done.stdout + done.stderr + (report.read_text("utf-8") if report.exists() else "")
    assert shown
    assert SECRET not in shown
    assert not any(SECRET in str(one) for one in tmp_path.rglob("*"))


# How releases are made


def test_a_release_installs_nothing_but_by_hash_and_builds_where_nothing_else_runs():
    path = documents.ROOT / ".github" / "workflows" / "release.yml"
    jobs = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]
    runs = {name: [step.get("run", "") for step in job["steps"]] for name, job in jobs.items()}
    installs = [run for steps in runs.values() for run in steps if "install" in run]
    assert len(installs) == 2
    for install in installs:
        assert "--require-hashes --only-binary :all: --requirement .ci/release/" in install
        requirements = documents.ROOT / install.split()[-1]
        for line in requirements.read_text(encoding="utf-8").replace("\\\n", "").splitlines():
            assert "==" in line
            assert "--hash=sha256:" in line
    building = " ".join(runs["build"])
    assert "hatchling build" in building
    assert not any(word in building for word in ("pytest", "uv ", "test"))
    assert set(jobs["publish"]["needs"]) == {"test", "build"}
    assert jobs["publish"]["permissions"] == {"id-token": "write"}
    assert not any(run for run in runs["publish"])
