"""`target-outreach login` as a process, and a plain HTTP client in the place of the browser."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import ssl
import stat
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import logins
import processes
import pytest
import requests
from conftest import record, schema
from cryptography import x509
from logins import APP, Login, browse, decide, kept, visit

from target_outreach.errors import CredentialsError, SettingsError
from target_outreach.outreach.auth.authorization import Authorization
from target_outreach.outreach.auth.listener import Listener, Page
from target_outreach.sandbox import Fault, Profile, Sandbox

AGAIN = "log in again"
PERSON = [schema("prospects"), record("prospects", emails="a@x.test")]
SCOPES = "prospects.read prospects.write accounts.read accounts.write"


@pytest.fixture
def sandbox(tmp_path, watcher):
    profile = Profile(apps=[APP], strict_rotation=True)
    with Sandbox(tmp_path / "outreach.db", profile, observer=watcher) as running:
        yield running


@pytest.fixture
def port():
    with logins.free_port() as port:
        yield port


@pytest.fixture
def config(sandbox, tmp_path, port):
    return logins.oauth_config(sandbox, tmp_path, port)


@pytest.fixture
def login(tmp_path, config):
    """Start a login; settings that are None are not passed."""
    started = []

    def start(
        *options,
        browser=None,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        **settings,
    ):
        merged = {name: value for name, value in (config | settings).items() if value is not None}
        folder = tmp_path / f"login {len(started)}".replace(" ", "-")
        folder.mkdir()
        started.append(Login(folder, merged, *options, browser=browser, stdin=stdin, stdout=stdout))
        return started[-1]

    yield start
    for one in started:
        one.close()


def grants(sandbox):
    return [(request.grant_type, request.outcome) for request in sandbox.token_requests]


def query(address):
    return {name: value for name, (value,) in parse_qs(urlsplit(address).query).items()}


# In the browser


@pytest.mark.slow
def test_who_authorizes_the_app_is_logged_in_and_runs_need_no_refresh_token(
    login, config, sandbox, execute
):
    running = login()
    led_to = decide(running.opened(), "authorize")
    assert led_to.startswith(config["redirect_uri"])
    status, title, text = visit(led_to)
    assert (status, title) == (200, "Logged in")
    assert "close this page" in text
    code, out, err = running.end()
    path = Path(config["credentials_path"])
    assert code == 0
    assert err == ""
    assert "Logged in as ada@example.com in organisation Sandbox.\nLogged in. The tokens" in out
    assert f"Logged in. The tokens are kept in {path}" in out
    assert "Next, run `target-outreach check` with the same configuration." in out
    assert query(led_to)["code"] not in out
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert grants(sandbox) == [("authorization_code", "issued")]

    run = execute(PERSON)
    assert run.exit_code == 0
    assert run.counts("prospects") == {"received": 1, "created": 1}
    assert len(grants(sandbox)) == 1


def test_who_denies_is_not_logged_in(login, sandbox, config):
    running = login()
    status, title, text = visit(decide(running.opened(), "deny"))
    assert (status, title) == (400, "Not logged in")
    assert "denied" in text
    code, _, err = running.end()
    assert code == 1
    assert err.count("\n") == 1
    assert "The authorization was denied in the browser; nothing is kept." in err
    assert grants(sandbox) == []
    assert kept(config) == {}


@pytest.mark.slow
def test_an_answer_without_the_state_of_this_login_is_not_used_nor_does_it_end_the_login(
    login, config, sandbox
):
    running = login()
    address = running.opened()
    for answer in ("code=of-a-stranger", "error=access_denied"):
        for state in ("&state=of-another", "&state=", "", "&state=%FF%00", "&state=ü"):
            status, title, text = visit(f"{config['redirect_uri']}?{answer}{state}")
            assert (status, title) == (400, "Not this login")
            assert "nothing was done with it" in text
    assert grants(sandbox) == []
    assert visit(decide(address, "authorize"))[0] == 200
    code, out, _ = running.end()
    assert code == 0
    assert out.count("An answer to another login came, and was not used") == 10
    assert grants(sandbox) == [("authorization_code", "issued")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            "invalid_scope",
            f"(invalid_scope): give the app all of these scopes in Outreach: {SCOPES}",
        ),
        ("server_error", "(server_error): try again later."),
        ("odd", "(odd): check the app's settings in Outreach, and log in again."),
        ("<b>{scopes}", "(no code): check"),
        (None, "(no code): check"),
    ],
)
def test_an_answer_with_an_error_says_what_it_was_and_what_to_do(login, config, error, words):
    running = login()
    given = {"state": query(running.opened())["state"], "error": error}
    answer = requests.Request("GET", config["redirect_uri"], params=given).prepare()
    status, title, text = visit(answer.url)
    assert (status, title) == (400, "Not logged in")
    code, _, err = running.end()
    assert code == 1
    assert f"gave no authorization {words}" in err
    assert "no authorization" in text
    assert "<b>" not in text + err


@pytest.mark.slow
def test_what_else_a_browser_asks_for_does_not_end_or_hold_up_the_login(login, config, port):
    running = login()
    address = running.opened()
    with socket.create_connection(("127.0.0.1", port)) as idle:  # as browsers do ahead of time
        for path in ("favicon.ico", "", "callback/", "callbac"):
            status, title, _ = visit(f"https://127.0.0.1:{port}/{path}?code=c&state=s")
            assert (status, title) == (404, "Nothing here")
        for method in ("HEAD", "POST", "OPTIONS"):
            assert browse(method, config["redirect_uri"]).status_code == 501
        led_to = decide(address, "authorize")
        assert browse("HEAD", led_to).status_code == 501  # a scanner of links
        idle.settimeout(0)
        with pytest.raises(BlockingIOError):  # nobody has lost patience with it yet
            idle.recv(1)
        assert visit(led_to)[0] == 200
    code, out, _ = running.end()
    assert code == 0
    assert "another login" not in out


@pytest.mark.slow
def test_a_browser_in_the_terminal_may_stay_until_its_page_is_there(login):
    running = login(browser=f"{shlex.join([sys.executable, logins.__file__])} %s")
    running.printed("200 Logged in")
    assert running.end()[0] == 0


def test_without_any_browser_the_address_can_be_opened_by_hand(login):
    running = login(browser="/nowhere/browser %s")
    assert visit(decide(running.printed("/oauth/authorize?"), "authorize"))[0] == 200
    assert running.end()[0] == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "scopes"),
    [
        (
            {"streams": [{"stream": "crm-*", "object": "accounts"}, {"stream": "marts-prospects"}]},
            "prospects.read prospects.write accounts.read accounts.write",
        ),
        ({}, SCOPES),
        ({"outreach_object": "accounts"}, "accounts.read accounts.write"),
        (
            {"streams": [{"stream": "*", "object": "prospects"}]},
            "prospects.read prospects.write",
        ),
    ],
)
def test_the_scopes_that_the_configured_sync_needs_are_asked_for(login, config, settings, scopes):
    running = login(**settings)
    address = running.opened()
    asked = query(address)
    assert asked.pop("state")
    assert re.fullmatch(r"[\w-]{43}", asked.pop("code_challenge"))
    assert asked.pop("code_challenge_method") == "S256"
    assert asked == {
        "client_id": APP.client_id,
        "redirect_uri": config["redirect_uri"],
        "response_type": "code",
        "scope": scopes,
    }
    assert visit(decide(address, "authorize"))[0] == 200
    assert running.end()[0] == 0
    (chain,) = kept(running.config).values()
    assert chain["scopes"] == scopes.split()


def test_a_scope_that_was_not_granted_is_named(login, sandbox):
    tokens = {"access_token": "invented", "refresh_token": "next", "scope": "accounts.all"}
    headers = (("Content-Type", "application/json"),)
    sandbox.add_fault(
        Fault("garbage", path="/oauth/token", body=json.dumps(tokens), headers=headers)
    )
    running = login()
    assert visit(decide(running.opened(), "authorize"))[0] == 200
    code, out, _ = running.end()
    assert code == 0
    assert re.findall(r"did not grant the scope (\S+),", out) == [
        "prospects.read",
        "prospects.write",
    ]


@pytest.mark.slow
def test_the_browser_may_look_for_localhost_at_either_of_its_addresses(login, port):
    running = login(redirect_uri=f"https://localhost:{port}/callback")
    address = running.opened()
    hosts = ["127.0.0.1", "[::1]"] if socket.has_ipv6 and _has_ipv6_loopback() else ["127.0.0.1"]
    for host in hosts:
        assert visit(f"https://{host}:{port}/callback?code=c")[1] == "Not this login"
    assert visit(decide(address, "authorize"))[0] == 200
    assert running.end()[0] == 0


def _has_ipv6_loopback():
    with socket.socket(socket.AF_INET6) as probe:
        return probe.connect_ex(("::1", 9)) != 99


@pytest.mark.slow
@pytest.mark.skipif(not _has_ipv6_loopback(), reason="this machine has no ::1")
def test_a_redirect_uri_may_be_an_address_of_ipv6(login, port):
    running = login(redirect_uri=f"https://[::1]:{port}/callback")
    assert visit(decide(running.opened(), "authorize"))[0] == 200
    assert running.end()[0] == 0


# Over https


@pytest.mark.slow
def test_before_the_browser_opens_it_is_said_that_it_will_warn_and_why(login):
    running = login()
    assert visit(decide(running.opened(), "authorize"))[0] == 200
    _, out, _ = running.end()
    warning = out.index("the browser will warn that the connection is not private")
    assert warning < out.index("The browser is back")
    assert "Go on to the page: Advanced, Proceed to" in out


@pytest.mark.slow
def test_plain_http_serves_where_the_app_has_it(login, sandbox, port):
    redirect_uri = f"http://127.0.0.1:{port}/callback"
    sandbox.profile = Profile(apps=[APP], http_redirects=True)
    running = login(redirect_uri=redirect_uri)
    led_to = decide(running.opened(), "authorize")
    assert led_to.startswith(redirect_uri)
    assert visit(led_to)[:2] == (200, "Logged in")
    code, out, _ = running.end()
    assert code == 0
    assert "warn" not in out


def test_without_a_redirect_uri_the_usual_one_is_used(login):
    running = login("--no-browser", stdin=subprocess.PIPE, redirect_uri=None)
    led_to = decide(running.printed("/oauth/authorize?"), "authorize")
    assert led_to.startswith("https://localhost:8766/callback?")
    code, out, _ = running.end(f"{led_to}\n")
    assert code == 0
    assert "* The redirect URI must be https://localhost:8766/callback, letter for letter.\n" in out
    assert f"* All of these scopes must be ticked: {SCOPES}\n" in out


def test_a_certificate_is_for_this_machine_and_this_hour_and_its_key_is_kept_nowhere(
    port, tmp_path, monkeypatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    shown = []
    for _ in range(2):
        with Listener(f"https://127.0.0.1:{port}/callback"):
            shown.append(ssl.get_server_certificate(("127.0.0.1", port), timeout=30))
        assert list(tmp_path.iterdir()) == []
    assert shown[0] != shown[1]
    certificate = x509.load_pem_x509_certificate(shown[0].encode())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    addresses = map(str, names.get_values_for_type(x509.IPAddress))
    assert list(addresses) == ["127.0.0.1", "::1"]
    lifetime = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    assert lifetime.total_seconds() == 7200
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


# Attacks by others on the same machine


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="lists processes by /proc")
def test_no_list_of_processes_shows_the_state(login):
    running = login()
    address = running.printed("/oauth/authorize?")
    seen = b""
    while b"login.html" not in seen:  # until the browser runs
        seen = b"\n".join(_command_lines())
    for secret in (query(address)["state"], query(address)["code_challenge"], "/oauth/authorize"):
        assert secret.encode() not in seen
    page = Path(urlsplit(running.page()).path)
    assert logins.leads_to(page.as_uri()) == address
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    assert stat.S_IMODE(page.parent.stat().st_mode) == 0o700
    assert visit(decide(address, "authorize"))[0] == 200
    assert running.end()[0] == 0
    assert not page.parent.exists()


def _command_lines():
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield path.read_bytes()
        except OSError:  # it has ended
            continue


@pytest.mark.slow
@pytest.mark.parametrize("challenge", ["none", "another"])
def test_a_code_of_another_login_is_refused_even_with_the_right_state(
    login, config, sandbox, challenge
):
    running = login()
    state = query(running.opened())["state"]
    redirect_uri = config["redirect_uri"]
    url = f"{sandbox.oauth_url}/authorize"
    another = Authorization(url, APP.client_id, redirect_uri, ["prospects.all"]).url
    if challenge == "none":
        another = re.sub("&code_challenge.*", "", another)
    code = query(decide(another, "authorize"))["code"]
    assert visit(f"{redirect_uri}?code={code}&state={state}")[:2] == (400, "Not logged in")
    ended, _, err = running.end()
    assert ended == 1
    assert "Outreach does not take the code of this login" in err
    assert kept(config) == {}


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_hundreds_of_stalled_connections_do_not_delay_the_right_one(port, scheme):
    redirect_uri = f"{scheme}://127.0.0.1:{port}/callback"
    authorization = Authorization("https://outreach.test/authorize", "app", redirect_uri, [])
    beginnings = [b"", b"GET /callback?code=c HTTP/1.1\r\nHost: ", b"\x16\x03\x01\x02"]
    with ExitStack() as stack, Listener(redirect_uri) as listener, ThreadPoolExecutor() as pool:
        waiting = pool.submit(
            listener.wait, authorization, lambda _path: Page("Back", "Here."), pytest.fail, 60
        )
        for number in range(300):
            stalled = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            stalled.sendall(beginnings[number % 3])
        began = time.monotonic()
        assert visit(f"{redirect_uri}?code=c&state={authorization.state}")[1] == "Back"
        assert time.monotonic() - began < 4  # who stalls is given 5 seconds
        waiting.result()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_who_sends_a_byte_now_and_then_is_hung_up_on_in_time(port, scheme):
    with Listener(f"{scheme}://127.0.0.1:{port}/callback"), ExitStack() as stack:
        slow = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        if scheme == "https":
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            slow = stack.enter_context(context.wrap_socket(slow))
        began = time.monotonic()
        with suppress(OSError):  # each system has its own for this
            while time.monotonic() - began < 60:
                slow.sendall(b"a")
                time.sleep(0.2)
        assert time.monotonic() - began < 20


def test_a_request_that_is_too_long_is_hung_up_on(port):
    with (
        Listener(f"http://127.0.0.1:{port}/callback"),
        socket.create_connection(("127.0.0.1", port)) as endless,
    ):
        endless.settimeout(4)  # sooner than who is slow is hung up on
        endless.sendall(b"GET /" + b"a" * 65536)
        with suppress(ConnectionResetError):
            assert endless.recv(1) == b""


def test_a_request_may_come_in_pieces(port):
    with (
        Listener(f"http://127.0.0.1:{port}/callback"),
        socket.create_connection(("127.0.0.1", port)) as slow,
    ):
        for piece in (b"GET /else", b"where HTTP/1.1\r\nHost: x\r", b"\n\r", b"\n"):
            slow.sendall(piece)
            time.sleep(0.05)
        slow.settimeout(30)
        assert slow.recv(100).startswith(b"HTTP/1.0 404 ")


# Whose tokens they are


class Terminal:
    """What a user sees and types."""

    def __init__(self):
        self.ours, self.theirs = os.openpty()
        self.shown = ""

    def until(self, words):
        while words not in self.shown:
            self.shown += os.read(self.ours, 4096).decode()

    def enter(self, text):
        os.write(self.ours, text.encode())

    def close(self):
        os.close(self.ours)
        os.close(self.theirs)


@pytest.fixture
def terminal():
    terminal = Terminal()
    yield terminal
    terminal.close()


@pytest.fixture
def login_at(login, terminal):
    def _login_at(*options, **settings):
        terminal.shown = ""
        return login(*options, stdin=terminal.theirs, stdout=terminal.theirs, **settings)

    return _login_at


QUESTION = "Should runs write to Outreach with this login? [y/n]:"


@pytest.mark.slow
def test_on_a_terminal_the_first_login_of_a_file_is_asked_about(login_at, terminal, config):
    running = login_at()
    status, title, text = visit(decide(running.opened(), "authorize"))
    assert (status, title) == (200, "One more step")
    assert "Go back to the terminal" in text
    terminal.until(QUESTION)
    assert "Logged in as ada@example.com in organisation Sandbox." in terminal.shown
    assert kept(config) == {}
    terminal.enter("y\n")
    terminal.until("The tokens are kept in")
    assert running.process.wait(60) == 0
    assert len(kept(config)) == 1

    again = login_at()  # the same organisation
    assert visit(decide(again.opened(), "authorize"))[:2] == (200, "Logged in")
    assert again.process.wait(60) == 0
    terminal.until("The tokens are kept in")
    assert QUESTION not in terminal.shown


@pytest.mark.parametrize("answer", ["n\n", "\x04"])
@pytest.mark.parametrize("options", [(), ("--no-browser",)])
def test_tokens_that_the_user_does_not_want_are_not_kept(
    login_at, terminal, config, answer, options
):
    running = login_at(*options)
    if options:
        terminal.until("paste it here:")
        address = re.search(r"\S+/oauth/authorize\?\S+", terminal.shown)[0]
        terminal.enter(decide(address, "authorize") + "\n")
    else:
        visit(decide(running.opened(), "authorize"))
    terminal.until(QUESTION)
    terminal.enter(answer)
    assert running.process.wait(60) == 1
    err = running.process.stderr.read()
    assert err.endswith("The tokens of this login were not kept: log in again.\n")
    assert err.count("\n") == 1
    assert kept(config) == {}


def test_a_signal_ends_a_login_that_asks(login_at, terminal, config):
    running = login_at()
    visit(decide(running.opened(), "authorize"))
    terminal.until(QUESTION)
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(60) == 143
    assert running.process.stderr.read() == "Stopped.\n"
    assert kept(config) == {}


def test_nobody_is_asked_with_yes(login_at, terminal, config):
    running = login_at("--yes")
    assert visit(decide(running.opened(), "authorize"))[:2] == (200, "Logged in")
    assert running.process.wait(60) == 0
    terminal.until("The tokens are kept in")
    assert QUESTION not in terminal.shown
    assert len(kept(config)) == 1


def test_where_outreach_does_not_say_whose_tokens_they_are_that_is_said(login, sandbox):
    sandbox.add_fault(Fault("status", path=r"/api/v2/$", status=403))
    running = login()
    assert visit(decide(running.opened(), "authorize"))[0] == 200
    code, out, _ = running.end()
    assert code == 0
    assert "does not say of which user and organisation it is.\n" in out


# What goes wrong


def test_a_port_in_use_is_said_before_the_browser_opens(login, port):
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        code, out, err = login().end()
    assert code == 1
    assert "Opening the browser" not in out
    assert f"redirect_uri cannot be listened on (Address already in use): free port {port}, " in err
    assert "set another redirect_uri that the app has in Outreach, or use --no-browser." in err


@pytest.mark.parametrize("path", ["a file/credentials.json", "a folder"])
def test_a_credentials_path_that_cannot_be_written_is_found_before_the_browser_opens(
    login, tmp_path, sandbox, path
):
    (tmp_path / "a file").touch()
    (tmp_path / "a folder").mkdir()
    code, out, err = login(credentials_path=str(tmp_path / path)).end()
    assert code == 1
    assert "authorize" not in out
    assert "check credentials_path" in err
    assert err.count("\n") == 1
    assert sandbox.request_count == 0


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"redirect_uri": "localhost:8765/callback"}, "redirect_uri must be a whole address"),
        ({"redirect_uri": "http://[nonsense"}, "redirect_uri must be a whole address"),
        ({"redirect_uri": "http://127.0.0.1:99999/"}, "redirect_uri must be a whole address"),
        ({"client_secret": None}, "set client_secret"),
        (
            {"client_id": None, "client_secret": None, "redirect_uri": None, "access_token": "t"},
            "client_id, client_secret and redirect_uri instead of access_token.",
        ),
        (
            {"sandbox": "outreach.db"},
            "login is for an OAuth app, and sandbox is set, which needs no credentials: leave it",
        ),
    ],
)
def test_what_a_login_lacks_is_said_in_one_sentence(login, sandbox, settings, words):
    code, out, err = login(**settings).end()
    assert code == 1
    assert out == ""
    assert err.count("\n") == 1
    assert words in err
    assert sandbox.request_count == 0


def test_an_oauth_url_elsewhere_for_an_api_on_this_machine_is_worth_a_warning(login):
    running = login("--no-browser", stdin=subprocess.PIPE, oauth_url=None)
    assert running.printed("/oauth/authorize?").startswith("https://api.outreach.io/")
    _, _, err = running.end("nothing\n")
    assert "api_url is on this machine, but tokens are asked for at api.outreach.io: set" in err
    assert err.count("WARNING") == 1


def test_a_configuration_that_cannot_be_read_is_one_sentence(tmp_path):
    command = ["login", "--config", "missing.json"]
    done = processes.run(command, encoding="utf-8", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.endswith(
        "The configuration cannot be read: there is no file missing.json.\n"
    )
    assert done.stderr.count("\n") == 1


def test_an_app_that_outreach_does_not_know_is_said_in_the_browser_too(login):
    running = login(client_secret="another-secret")
    status, title, text = visit(decide(running.opened(), "authorize"))
    assert (status, title) == (400, "Not logged in")
    assert "check client_id and client_secret" in text
    code, _, err = running.end()
    assert code == 1
    assert "check client_id and client_secret" in err


@pytest.mark.slow
def test_an_answer_that_was_lost_on_the_way_is_requested_again(login, sandbox):
    sandbox.add_fault(Fault("reset_before", path="/oauth/token"))
    running = login()
    assert visit(decide(running.opened(), "authorize"))[0] == 200
    assert running.end()[0] == 0


@pytest.mark.slow
def test_a_code_whose_tokens_were_lost_needs_another_login(login, sandbox, config):
    sandbox.add_fault(Fault("reset_after", path="/oauth/token"))
    running = login()
    status, title, text = visit(decide(running.opened(), "authorize"))
    assert (status, title) == (400, "Not logged in")
    assert AGAIN in text
    code, _, err = running.end()
    assert code == 1
    retry, last = err.splitlines()
    assert "Retrying 1 of 8" in retry
    assert (
        f"does not take the code of this login, which is good for one use within minutes: {AGAIN}"
        in last
    )
    assert grants(sandbox)[0] == ("authorization_code", "issued")
    assert kept(config) == {}

    again = login()
    assert visit(decide(again.opened(), "authorize"))[0] == 200
    assert again.end()[0] == 0


@pytest.mark.slow
def test_a_login_takes_the_place_of_a_configured_refresh_token_that_is_dead(
    login, config, sandbox, execute
):
    config["refresh_token"] = "dead-since-march"
    run = execute(PERSON)
    assert run.exit_code == 1
    assert "log in with `target-outreach login`" in run.log
    running = login()
    assert visit(decide(running.opened(), "authorize"))[0] == 200
    code, out, _ = running.end()
    assert code == 0
    assert "Leave refresh_token configured as it is" in out
    assert execute(PERSON).counts("prospects") == {"received": 1, "created": 1}
    assert grants(sandbox) == [
        ("refresh_token", "invalid_grant"),
        ("authorization_code", "issued"),
    ]


@pytest.mark.slow
def test_a_later_login_replaces_the_tokens_of_an_earlier_one(login, config, sandbox):
    for _ in range(2):
        running = login()
        assert visit(decide(running.opened(), "authorize"))[0] == 200
        assert running.end()[0] == 0
    assert len(kept(config)) == 1
    assert len(grants(sandbox)) == 2


def test_a_browser_that_never_comes_back_is_not_waited_for_for_ever(port):
    redirect_uri = f"http://127.0.0.1:{port}/callback"
    authorization = Authorization("https://outreach.test/authorize", "app", redirect_uri, [])
    with Listener(redirect_uri) as listener, pytest.raises(CredentialsError) as raised:
        listener.wait(authorization, pytest.fail, pytest.fail, 0)
    assert "use --no-browser" in str(raised.value)


def test_a_port_that_is_none_is_a_matter_of_the_settings():
    with pytest.raises(SettingsError, match="redirect_uri cannot be listened on"):
        Listener("http://127.0.0.1:65536/")


# Without a browser on this machine


def test_without_a_browser_the_address_that_it_ended_at_is_pasted(login, config, sandbox):
    running = login("--no-browser", stdin=subprocess.PIPE)
    led_to = decide(running.printed("/oauth/authorize?"), "authorize")
    code, out, err = running.end(f"\n  {led_to}  \n")
    assert (code, err) == (0, "")
    assert f"begins with\n{config['redirect_uri']} (it may show an error there" in out
    assert "Logged in." in out
    assert query(led_to)["code"] not in out
    assert grants(sandbox) == [("authorization_code", "issued")]
    assert len(kept(config)) == 1


@pytest.mark.parametrize(
    "redirect_uri", ["https://client.example.test/oauth", "http://client.example.test/oauth"]
)
def test_a_redirect_uri_that_cannot_be_listened_on_is_pasted_too(login, sandbox, redirect_uri):
    app = logins.App(APP.client_id, APP.client_secret, [redirect_uri])
    sandbox.profile = Profile(apps=[app])
    running = login(stdin=subprocess.PIPE, redirect_uri=redirect_uri)
    led_to = decide(running.printed("/oauth/authorize?"), "authorize")
    assert led_to.startswith(redirect_uri)
    assert running.end(f"{led_to}\n")[0] == 0


@pytest.mark.parametrize(
    ("pasted", "words"),
    [
        ("", "No address was pasted"),
        ("\n\n", "No address was pasted"),
        ("only-the-code\n", "That is not the address that the browser ended at"),
        ("http://[nonsense\n", "That is not the address that the browser ended at"),
        ("http://127.0.0.1/callback?code=c&state=other\n", "is not of this login"),
        ("http://127.0.0.1/callback?code=c\n", "is not of this login"),
        ("http://127.0.0.1/callback?error=access_denied&state={state}\n", "was denied"),
        ("http://127.0.0.1/callback?state={state}\n", "gave no authorization (no code)"),
    ],
)
def test_whatever_else_is_pasted_is_not_used(login, sandbox, pasted, words):
    running = login("--no-browser", stdin=subprocess.PIPE)
    state = query(running.printed("/oauth/authorize?"))["state"]
    code, _, err = running.end(pasted.format(state=state))
    assert code == 1
    assert err.count("\n") == 1
    assert words in err
    assert grants(sandbox) == []


# Ctrl-C


@pytest.mark.parametrize("options", [(), ("--no-browser",)])
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_login_that_waits(login, config, options, signum, code):
    running = login(*options, stdin=subprocess.PIPE)
    running.printed("paste it here") if options else running.opened()
    running.process.send_signal(signum)
    ended, _, err = running.end()
    assert ended == code
    assert err == "Stopped.\n"
    assert kept(config) == {}


@pytest.mark.slow
def test_a_signal_ends_a_login_while_the_token_endpoint_says_nothing(login, sandbox, config):
    sandbox.add_fault(Fault("hang", path="/oauth/token", seconds=60))
    running = login()
    led_to = decide(running.opened(), "authorize")
    before = sandbox.request_count
    with ThreadPoolExecutor() as pool:
        page = pool.submit(visit, led_to)
        while sandbox.request_count == before:
            time.sleep(0.01)
        running.process.send_signal(signal.SIGINT)
        assert page.result() == (500, "Not logged in", "The terminal says why.")
    code, _, err = running.end()
    assert code == 130
    assert err == "Stopped.\n"
    assert kept(config) == {}


@pytest.mark.slow
def test_more_scopes_can_be_asked_for(login):
    running = login("--scope", "users.read", "--scope", "prospects.read")
    address = running.opened()
    assert query(address)["scope"] == f"{SCOPES} users.read"
    assert visit(decide(address, "authorize"))[0] == 200
    assert running.end()[0] == 0


# The browser in the terminal that the README lends


@pytest.mark.parametrize("arguments", [[], [""], ["login"]])
def test_a_browser_that_is_given_no_address_says_so(arguments):
    command = [sys.executable, logins.__file__, *arguments]
    done = subprocess.run(command, check=False, capture_output=True, encoding="utf-8")
    assert done.returncode == 1
    assert done.stderr == "Give the address that `target-outreach login` prints.\n"
