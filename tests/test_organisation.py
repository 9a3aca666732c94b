"""What is kept of one organisation is never used for another, and outlives the credentials."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import subprocess
import time
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import logins
import pytest
from conftest import record, schema
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from logins import APP, Login, decide, kept

from target_outreach.delivery.memory import Memory
from target_outreach.errors import CredentialsError
from target_outreach.instance_id import instance_id, locate
from target_outreach.outreach.auth.credentials_file import marked
from target_outreach.outreach.auth.tokens import Tokens
from target_outreach.outreach.organisation import read_identity
from target_outreach.sandbox import Installation, Profile, Sandbox
from target_outreach.settings import Settings

SHAPES = ({}, {"identity": "meta"}, {"identity": "user"}, {"identity_refusal": 404})
NAMES = ["data", "meta", "user", "404"]
BAD = [schema("prospects"), record("prospects", id=1, emails="nope")]
ROOT = ("GET", "/api/v2/")


def people(count, **values):
    rows = (record("prospects", id=n, emails=f"p{n}@x.test", **values) for n in range(count))
    return [schema("prospects"), *rows]


def seeded(sandbox, count, **values):
    rows = ({"emails": [f"p{n}@x.test"], **values} for n in range(count))
    sandbox.store.seed_many("prospects", rows)


def sent(sandbox, run):
    """Run, and return what came out with the requests that it took."""
    before = len(sandbox.requests)
    outcome = run()
    return outcome, [(one.method, one.path) for one in list(sandbox.requests)[before:]]


@pytest.fixture
def memory(tmp_path):
    return {"change_detection": "source", "memory_path": str(tmp_path / "memory.db")}


class Organisations:
    """Organisations at one address, each with a user of its own, and an app to log in with."""

    def __init__(self, folder, port):
        self._folder, self._port = folder, port
        self._logins = []

    @contextmanager
    def serve(self, name, **switches):
        """Serve one of them; the others are not there meanwhile."""
        profile = Profile(apps=[APP], organisation_name=name, **switches)
        with Sandbox(self._folder / f"{name}.db", profile, port=self._port) as sandbox:
            sandbox.store.update("users", 1, {"email": f"ada@{name}.example.com"})
            yield sandbox

    def configured(self, sandbox, name, **settings):
        """Return the settings for the app and a credentials file of this name."""
        config = logins.oauth_config(sandbox, self._folder, 8765)
        return config | {"credentials_path": str(self._folder / f"{name}.json")} | settings

    def log_in(self, config, *options):
        """Log in without a browser, and return the exit code and what was printed."""
        folder = self._folder / f"login-{len(self._logins)}"
        folder.mkdir()
        running = Login(folder, config, "--no-browser", *options, stdin=subprocess.PIPE)
        self._logins.append(running)
        led_to = decide(running.printed("/oauth/authorize?"), "authorize")
        code, out, err = running.end(f"{led_to}\n")
        return code, out + err

    def close(self):
        for one in self._logins:
            one.close()


@pytest.fixture
def organisations(tmp_path, config):
    del config["access_token"]
    with logins.free_port() as port:
        made = Organisations(tmp_path, port)
        yield made
        made.close()


# One app, two logins


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES, ids=NAMES)
def test_strangers_with_the_same_ids_are_never_overwritten(organisations, sync, memory, shape):
    with organisations.serve("one", **shape) as sandbox:
        one = organisations.configured(sandbox, "one", **memory)
        assert organisations.log_in(one)[0] == 0
        run = sync(people(5, title="Ours"), **one)
        assert run.counts("prospects") == {"received": 5, "created": 5}
    with organisations.serve("two", **shape) as sandbox:
        strangers = ({"emails": [f"s{n}@y.test"], "title": "Theirs"} for n in range(5))
        sandbox.store.seed_many("prospects", strangers)
        two = organisations.configured(sandbox, "two", **memory)
        assert organisations.log_in(two)[0] == 0
        run = sync(people(5, title="New"), **two)
        assert run.counts("prospects") == {"received": 5, "created": 5}
        titles = [one["attributes"]["title"] for one in sandbox.store.all("prospects")]
        assert titles == ["Theirs"] * 5 + ["New"] * 5
    with organisations.serve("one", **shape) as sandbox:
        run, requests = sent(sandbox, lambda: sync(people(5, title="Ours"), **one))
        assert run.counts("prospects") == {"received": 5, "unchanged": 5}
        assert requests == [ROOT]


@pytest.mark.slow
@pytest.mark.parametrize("folder", [True, False], ids=["own folder", "state folder"])
@pytest.mark.parametrize("shape", SHAPES, ids=NAMES)
def test_rejects_are_sent_to_their_own_organisation_only(organisations, execute, shape, folder):
    settings = {"retry_rejects": True} | ({} if folder else {"rejects_path": ""})
    with organisations.serve("one", **shape) as sandbox:
        one = organisations.configured(sandbox, "one") | settings
        assert organisations.log_in(one)[0] == 0
        path = Path(execute(BAD, **one).report["rejects_file"])
        path.write_text(path.read_text().replace('"nope"', '"fixed@x.test"'))
    with organisations.serve("two", **shape) as sandbox:
        two = organisations.configured(sandbox, "two") | settings
        assert organisations.log_in(two)[0] == 0
        run = execute([], **two)
        assert run.exit_code == 0
        assert ("rejects of another organisation" in run.log) is folder
        assert sandbox.store.count("prospects") == 0
    assert path.exists()
    with organisations.serve("one", **shape) as sandbox:
        assert execute([], **one).exit_code == 0
        assert sandbox.store.count("prospects") == 1
    assert not path.exists()


@pytest.mark.slow
def test_a_replay_refuses_the_rejects_of_another_organisation(organisations, sync, config):
    def replayed():
        return subprocess.run(
            ["target-outreach", "replay", str(path), "--config", str(file)],
            capture_output=True,
            check=False,
        )

    config["access_token"] = "invented"
    with organisations.serve("one", tokens={"invented": ["prospects.all"]}) as sandbox:
        config["api_url"] = sandbox.api_url
        path = Path(sync(BAD).report["rejects_file"])
        path.write_text(path.read_text().replace('"nope"', '"fixed@x.test"'))
        file = path.with_name("config.json")
        file.write_text(json.dumps(config))
    with organisations.serve("two", tokens={"invented": ["prospects.all"]}) as sandbox:
        done = replayed()
        assert done.returncode == 1
        assert b"another organisation" in done.stderr
        assert sandbox.store.count("prospects") == 0
        assert path.exists()
        mark = path.name.split("-")[1]
        path = path.rename(path.with_name(path.name.replace(f"{mark}-", "")))
        assert replayed().returncode == 0
        assert sandbox.store.count("prospects") == 1


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES[:3], ids=NAMES[:3])
def test_a_login_to_a_second_organisation_is_refused(organisations, shape):
    with organisations.serve("one", **shape) as sandbox:
        config = organisations.configured(sandbox, "both")
        assert organisations.log_in(config)[0] == 0
        before = kept(config)
        assert organisations.log_in(config)[0] == 0
    with organisations.serve("two", **shape) as sandbox:
        held = kept(config)
        assert held != before
        code, said = organisations.log_in(config)
        assert code == 1
        assert "holds the tokens of another organisation for this app: set another " in said
        assert kept(config) == held
        sandbox.profile = replace(sandbox.profile, identity_refusal=403)
        code, said = organisations.log_in(config)
        assert code == 1
        assert "Outreach does not say whose the new ones are" in said
        assert organisations.log_in(config, "--replace")[0] == 0
        assert kept(config) != held


def tokens(name, organisation=None, *, ends_in=60.0):
    now = time.time()
    return Tokens(name, now + ends_in, now - 60, organisation=organisation)


@pytest.mark.parametrize("owner", [None, "one"])
def test_tokens_of_the_same_organisation_take_the_place_of_others(owner):
    new = marked(tokens("new"), ("one", "1"), tokens("old", owner), lambda _: ("one",), "file.json")
    assert new.organisation == "one"


def test_whose_tokens_an_earlier_version_kept_is_asked_if_they_still_serve():
    whose = {"old": ("one",)}

    def log_in(held, path="file.json"):
        return marked(tokens("new"), ("two",), held, lambda one: whose[one.access_token], path)

    with pytest.raises(CredentialsError, match=r"^file\.json holds the tokens of another"):
        log_in(tokens("old"))
    assert log_in(tokens("old"), path=None).organisation == "two"
    assert log_in(tokens("old", ends_in=-1.0)).organisation == "two"
    assert log_in(None).organisation == "two"


@pytest.mark.slow
def test_each_login_has_a_memory_of_its_own_where_the_organisation_is_unknown(
    organisations, sync, memory
):
    with organisations.serve("one", identity_refusal=403) as sandbox:
        one = organisations.configured(sandbox, "one", **memory)
        assert organisations.log_in(one)[0] == 0
        sync(people(2), **one)
        _, requests = sent(sandbox, lambda: sync(people(2), **one))
        assert requests == [ROOT]
        assert organisations.log_in(one)[0] == 0
        run, requests = sent(sandbox, lambda: sync(people(2), **one))
        assert len(requests) == 2
        assert run.log.count("Outreach does not say whose these credentials are") == 1


# Other credentials of the same organisation


@pytest.mark.slow
def test_another_access_token_keeps_the_memory(sync, sandbox, memory):
    seeded(sandbox, 4000, title="T")
    sync(people(4000, title="T"), **memory)
    run, requests = sent(
        sandbox, lambda: sync(people(4000, title="T"), **memory, access_token="the next one")
    )
    assert run.counts("prospects") == {"received": 4000, "unchanged": 4000}
    assert requests == [ROOT]


@pytest.mark.parametrize("shape", SHAPES[:2], ids=NAMES[:2])
def test_a_move_to_a_server_to_server_app_keeps_memory_and_rejects(
    sync, sandbox, config, memory, shape
):
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    installation = Installation("install-1", "guid-1", public.decode())
    sandbox.profile = replace(sandbox.profile, tokens={config["access_token"]: ["prospects.all"]})
    sandbox.profile = replace(sandbox.profile, installations=[installation], **shape)
    config["rejects_path"] = None
    first = sync([*people(3), *BAD[1:]], **memory)
    del config["access_token"]
    app = {"s2s_guid": "guid-1", "s2s_private_key": private.decode(), "s2s_install_id": "install-1"}
    app |= {"credentials_path": f"{memory['memory_path']}.tokens"}
    run, requests = sent(sandbox, lambda: sync([*people(3), *BAD[1:]], **memory, **app))
    assert run.counts("prospects") == {"received": 4, "unchanged": 3, "rejected": 1}
    assert [one for one in requests if "installs" not in one[1]] == [ROOT]
    folders = {Path(one.report["rejects_file"]).parent for one in (first, run)}
    assert len(folders) == 1


@pytest.mark.parametrize("written", ["{}/", "{}//", "{}"])
def test_an_address_may_be_written_in_several_ways(sync, sandbox, config, memory, written):
    sync(people(2), **memory)
    address = config["api_url"].replace("http", "HTTP")
    _, requests = sent(sandbox, lambda: sync(people(2), **memory, api_url=written.format(address)))
    assert [method for method, _ in requests] == ["GET"]


@pytest.mark.parametrize("status", [403, 404])
def test_a_refusal_to_say_whose_a_token_is_ends_no_run(sync, sandbox, memory, status):
    sandbox.profile = replace(sandbox.profile, identity_refusal=status)
    run = sync(people(2), **memory)
    assert run.exit_code == 0
    assert run.log.count("belongs to them: with other credentials, all rows are") == 1
    _, requests = sent(sandbox, lambda: sync(people(2), **memory))
    assert requests == [ROOT]


def test_nothing_is_asked_where_nothing_needs_it(sync, sandbox):
    _, requests = sent(sandbox, lambda: sync(people(2), retry_rejects=True))
    assert ROOT not in requests


# What earlier versions kept


def scopes(memory):
    with closing(sqlite3.connect(memory["memory_path"])) as file:
        return [name for (name,) in file.execute("SELECT name FROM scopes")]


def rename(memory, place):
    """Give what a memory keeps the name that an earlier version would have given it."""
    with closing(sqlite3.connect(memory["memory_path"])) as file:
        file.execute("UPDATE scopes SET name = ? || ' prospects prospects'", (place,))
        file.commit()


def by_token(token):
    return hashlib.sha256(token.encode()).hexdigest()


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_memory_of_the_same_token_is_taken_over(sync, sandbox, config, memory, slash):
    sync(people(3, title="T"), **memory)
    rename(memory, f"{by_token(config['access_token'])} {config['api_url']}{slash}")
    for _ in range(2):
        run, requests = sent(sandbox, lambda: sync(people(3, title="T"), **memory))
        assert run.counts("prospects") == {"received": 3, "unchanged": 3}
        assert requests == [ROOT]
    assert len(scopes(memory)) == 1


def test_a_memory_of_another_token_is_not_taken_over(sync, sandbox, config, memory):
    sync(people(3, title="T"), **memory)
    rename(memory, f"{by_token('another')} {config['api_url']}")
    _, requests = sent(sandbox, lambda: sync(people(3, title="T"), **memory))
    assert len(requests) == 2
    assert len(scopes(memory)) == 2


@pytest.mark.slow
def test_a_memory_of_an_app_without_its_login_is_not_taken_over(organisations, sync, memory):
    with organisations.serve("one") as sandbox:
        one = organisations.configured(sandbox, "one", **memory)
        assert organisations.log_in(one)[0] == 0
        sync(people(3, title="T"), **one)
        rename(memory, f"{by_token(APP.client_id + ' None')} {sandbox.api_url}")
        _, requests = sent(sandbox, lambda: sync(people(3, title="T"), **one))
        assert len(requests) == 2


def test_what_is_kept_under_two_names_is_compared_with_outreach(sync, sandbox, memory):
    """It is unknown which of the two is newer."""
    sync(people(2, title="First"), **memory)
    sandbox.profile = replace(sandbox.profile, identity_refusal=403)
    sync(people(3, title="Second"), **memory)
    sandbox.profile = replace(sandbox.profile, identity_refusal=None)
    run = sync(people(3, title="First"), **memory)
    assert run.counts("prospects") == {"received": 3, "updated": 3}
    run, requests = sent(sandbox, lambda: sync(people(3, title="First"), **memory))
    assert run.counts("prospects") == {"received": 3, "unchanged": 3}
    assert requests == [ROOT]


def test_taking_over_twice_at_once_loses_nothing(tmp_path):
    path = str(tmp_path / "memory.db")
    one, other = Memory(path), Memory(path)
    with closing(sqlite3.connect(path)) as file:
        file.execute("INSERT INTO scopes (name) VALUES ('old prospects people')")
        file.execute("INSERT INTO delivered (scope, key, id, hashes) VALUES (1, x'01', 7, x'')")
        file.commit()
    for memory in (one, other):
        memory.belong("new", ["old"])
        memory.close()
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("SELECT name FROM scopes").fetchall() == [("new prospects people",)]
        assert file.execute("SELECT scope, id FROM delivered").fetchall() == [(1, 7)]


def test_rejects_of_an_installation_are_found_where_earlier_versions_put_them():
    settings = Settings.read({"s2s_guid": "g", "s2s_private_key": "hunter2", "s2s_install_id": "i"})
    assert instance_id(settings) in locate(settings, ("42",), "c").folders


def test_rejects_that_may_be_of_any_organisation_are_named_and_left(execute, config, tmp_path):
    config["rejects_path"] = ""
    home = tmp_path / "state home" / "target-outreach" / "rejects"
    path = home / instance_id(Settings.read(config)) / "20260331T093000Z-1f2e3d4c.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text("".join(map(json.dumps, [])), "utf-8")
    run = execute([], retry_rejects=True)
    assert run.exit_code == 0
    assert run.log.count(str(path)) == 1
    assert path.exists()


# How the answer is read


@pytest.mark.parametrize(
    ("document", "keys"),
    [
        ({"data": {"id": 42}}, ("42",)),
        ({"data": {"id": "a-b"}, "meta": {"org": {"guid": "g", "id": 7}}}, ("a-b", "g", "7")),
        ({"meta": {"organization": {"shortname": "acme"}}}, ("acme",)),
        ({"data": {"id": None}, "meta": {"org": {"name": "Acme"}}}, ()),
        ({"data": {"id": True}}, ()),
        ([], ()),
        ({"data": [], "meta": "x"}, ()),
    ],
)
def test_an_organisation_is_known_by_its_id(document, keys):
    assert read_identity(document).keys == keys


def test_a_user_stands_for_an_organisation_by_id_and_address():
    def key(**user):
        return read_identity({"meta": {"user": user}}).keys

    mine = key(id=1, email="ada@example.com")
    assert len(mine) == 1
    assert "ada" not in mine[0]
    assert mine == key(id="1", email="ada@example.com", name="Ada")
    assert len({mine, key(id=2, email="ada@example.com"), key(id=1, email="a@example.com")}) == 3
    assert key(name="Ada") == ()


@pytest.mark.parametrize(
    ("given", "scopes"),
    [
        (["prospects.all", 5, "accounts.read"], ("prospects.all", "accounts.read")),
        ("prospects.all accounts.read", ("prospects.all", "accounts.read")),
        (["create_prospects"], None),
        ([], None),
        (None, None),
    ],
)
def test_scopes_are_read_where_they_are_named_as_ours(given, scopes):
    assert read_identity({"meta": {"scopes": given}}).scopes == scopes
