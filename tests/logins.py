"""A login as a process of its own, and the parts of a browser that it needs.

python tests/logins.py ADDRESS    authorizes the app as a browser in the terminal would

ADDRESS is what `target-outreach login` prints, or the page that it has the browser open.
"""

from __future__ import annotations

import html
import json
import os
import re
import socket
import ssl
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import requests

from target_outreach.sandbox import App

APP = App("app-1", "secret-of-app-1", name="Warehouse to Outreach")

# A browser that only writes down what it is to open, and stays until that was read.
RECORDER = """#!/bin/sh
printf '%s\\n' "$1" >'{opened}'
"""


@contextmanager
def free_port():
    """A port of this machine that nobody else is given meanwhile.

    On Linux a socket that is bound but does not listen leaves the port to who listens.
    """
    with socket.socket() as keeper:
        keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        keeper.bind(("127.0.0.1", 0))
        port = keeper.getsockname()[1]
        if sys.platform != "linux":
            keeper.close()
        yield port


def oauth_config(sandbox, tmp_path, port):
    """The configuration of an OAuth app that has not logged in yet."""
    return {
        "client_id": APP.client_id,
        "client_secret": APP.client_secret,
        "redirect_uri": f"https://127.0.0.1:{port}/callback",
        "credentials_path": str(tmp_path / "state of it" / "credentials.json"),
        "api_url": sandbox.api_url,
        "oauth_url": sandbox.oauth_url,
        "rejects_path": str(tmp_path / "rejects"),
        "report_path": str(tmp_path / "report.json"),
    }


class Login:
    """`target-outreach login`, running."""

    def __init__(
        self,
        folder,
        config,
        *options,
        browser=None,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    ):
        self.config = config
        self._opened = folder / "opened"
        path = folder / "login.json"
        path.write_text(json.dumps(config), encoding="utf-8")
        from processes import Popen  # noqa: PLC0415 - the browser needs no target

        self.process = Popen(
            ["login", "--config", str(path), *options],
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            env=os.environ | {"BROWSER": browser or self._recorder(folder)},
        )
        self._read = ""

    def _recorder(self, folder):
        os.mkfifo(self._opened)
        script = folder / "browser"
        script.write_text(RECORDER.format(opened=self._opened), encoding="utf-8")
        script.chmod(0o700)
        return f"{script} %s"

    def opened(self):
        """Wait for the browser to be started, and return where the page that it opens leads to."""
        return leads_to(self.page())

    def page(self):
        """Wait for the browser to be started, and return the page that it is to open."""
        return self._opened.read_text("utf-8").strip()

    def printed(self, words):
        """Wait for a line with these words, and return it."""
        for line in self.process.stdout:
            self._read += line
            if words in line:
                return line.strip()
        raise AssertionError(self._read)

    def end(self, given=None):
        """Wait for the end, and return the exit code, standard output and standard error."""
        if given is not None:
            self.process.stdin.write(given)
        if self.process.stdin is not None:
            self.process.stdin.close()
            self.process.stdin = None
        # Not by `communicate`, which does not know what `printed` has read ahead.
        out, err = self._read + self.process.stdout.read(), self.process.stderr.read()
        self.process.wait(timeout=60)
        assert "Traceback" not in out + err
        for secret in self.secrets():
            assert secret not in out + err
        return self.process.returncode, out, err

    def secrets(self):
        """All that must never be shown."""
        tokens = kept(self.config).values()
        return [
            self.config.get("client_secret", APP.client_secret),
            *(chain["access_token"] for chain in tokens),
            *(token for chain in tokens for token in chain["refresh_tokens"]),
        ]

    def close(self):
        """End it, and the browser that it may have started."""
        if self.process.poll() is None:
            self.process.kill()
        if self._opened.exists():
            os.close(os.open(self._opened, os.O_RDONLY | os.O_NONBLOCK))
        self.process.communicate()


def kept(config):
    """The chains of tokens in the credentials file."""
    path = Path(config["credentials_path"])
    return json.loads(path.read_text("utf-8"))["chains"] if path.is_file() else {}


class Form(HTMLParser):
    """The form of a page."""

    def __init__(self, text):
        super().__init__()
        self.action, self.fields = "", {}
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag == "form":
            self.action = given["action"]
        elif tag == "input":
            self.fields[given["name"]] = given["value"]


def decide(address, decision):
    """Press a button of the consent page, and return the address that this leads to."""
    form = Form(requests.get(address, timeout=10).text)
    answer = requests.post(
        urljoin(address, form.action),
        data=form.fields | {"decision": decision},
        timeout=10,
        allow_redirects=False,
    )
    assert answer.status_code == 302
    return answer.headers["Location"]


def leads_to(page):
    """The address that a page of this machine leads to, by itself and by its link."""
    text = Path(urlsplit(page).path).read_text("utf-8")
    (address,) = set(re.findall('href="([^"]*)"', text) + re.findall('0; url=([^"]*)"', text))
    return html.unescape(address)


def browse(method, address):
    """Ask the listener; over https trust the certificate that it shows, if it fits the address."""
    parts = urlsplit(address)
    if parts.scheme == "http":
        return requests.request(method, address, timeout=30)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "certificate.pem"
        path.write_text(ssl.get_server_certificate((parts.hostname, parts.port), timeout=30))
        return requests.request(method, address, timeout=30, verify=str(path))


def visit(address):
    """Load a page of the listener; return its status, title and text."""
    answer = browse("GET", address)
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    (title,) = re.findall("<h1>(.*)</h1>", answer.text)
    (text,) = re.findall("<p>(.*)</p>", answer.text)
    return answer.status_code, title, text


if __name__ == "__main__":
    given = sys.argv[1] if sys.argv[1:] else ""
    if not given.startswith(("http://", "https://", "file://")):
        sys.exit("Give the address that `target-outreach login` prints.")
    words = visit(decide(leads_to(given) if given.startswith("file:") else given, "authorize"))
    # In one piece, since `login` writes to the same terminal at this moment.
    sys.stdout.write(" ".join(map(str, words)) + "\n")
