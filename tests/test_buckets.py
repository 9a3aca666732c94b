"""Tokens, rejects and the memory in a bucket, for machines whose disk is empty at each start."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import closing, suppress
from dataclasses import replace

import processes
import pytest
from bucket_servers import GCS, S3, Azure, Front
from conftest import lines, record, schema, state

from target_outreach import buckets
from target_outreach.delivery import memory_object
from target_outreach.delivery.earlier_rejects import find
from target_outreach.delivery.memory import Memory
from target_outreach.delivery.memory_head import Head
from target_outreach.delivery.memory_object import StoredMemory
from target_outreach.errors import EndedEarly, OutputError, SettingsError
from target_outreach.object_store import Conflict
from target_outreach.outreach.auth import credentials_file
from target_outreach.outreach.auth.credentials_file import Chain
from target_outreach.outreach.auth.tokens import Tokens
from target_outreach.private_files import LocalFile
from target_outreach.sandbox import App
from target_outreach.stores import open_folder, open_object

APP = App("app-1", "secret-of-app-1")
PERSON = [schema("prospects"), record("prospects", id=1, emails="a@x.test"), state({"n": 1})]
BAD = [
    schema("prospects"),
    record("prospects", id=1, emails="nope"),
    record("prospects", id=2, emails="fine@x.test", last_name="x" * 300),
    state({"n": 2}),
]


#: The other stores than S3, which only the slow tests try.
OTHERS = [pytest.param(one, marks=pytest.mark.slow) for one in (Azure, GCS)]


@pytest.fixture(scope="module", params=[S3, *OTHERS])
def server(request):
    server = request.param()
    yield server
    server.close()


@pytest.fixture
def bucket(server, monkeypatch):
    """An empty bucket; the environment says where it is."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    server.reset()
    bucket = server.bucket()
    yield bucket
    bucket.close()


@pytest.fixture(params=["bucket", "file", "fsspec"])
def kept(request, bucket, tmp_path):
    """An object of each kind."""
    if request.param == "file":
        return LocalFile(str(tmp_path / "object"), 0.1)
    if request.param == "fsspec":
        return open_object(f"memory://{tmp_path.name}/object", "credentials_path")
    return open_object(bucket.url("a/b/object"), "credentials_path")


# An object that is replaced as a whole, conditionally


@pytest.mark.slow
def test_an_object_is_made_once_and_replaced_only_as_it_was_read(kept):
    assert kept.read() is None
    first = kept.replace(b"one", None)
    assert kept.read() == (b"one", first)
    with pytest.raises(Conflict):
        kept.replace(b"two", None)
    second = kept.replace(b"two", first)
    with pytest.raises(Conflict):
        kept.replace(b"three", first)
    assert kept.read() == (b"two", second)
    kept.delete()
    kept.delete()
    assert kept.read() is None
    with pytest.raises(Conflict):
        kept.replace(b"four", second)


@pytest.fixture
def recorder():
    """A server that has nothing, and keeps what it was asked."""
    asked = []

    def nothing(environ, start_response):
        asked.append((environ["REQUEST_URI"], environ.get("HTTP_AUTHORIZATION", "")))
        start_response("404 Not Found", [])
        return [b""]

    front = Front(nothing)
    yield front, asked
    front.close()


@pytest.mark.parametrize("path", ["/account", "/account/"])
def test_a_connection_string_with_a_signature_names_no_account(recorder, monkeypatch, path):
    front, asked = recorder
    said = f"BlobEndpoint={front.url}{path};SharedAccessSignature=sv=2024-01-01&sig=a%2Bb%3D"
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", said)
    assert open_folder("az://container/a", "memory_path").read("b") is None
    assert asked == [("/account/container/a/b?sv=2024-01-01&sig=a%2Bb%3D", "")]


def test_a_connection_string_may_name_a_national_cloud():
    said = "AccountName=mine;AccountKey=a2V5;EndpointSuffix=core.chinacloudapi.cn"
    address = "https://mine.blob.core.chinacloudapi.cn"
    assert buckets._connection(said) == {
        "account_name": "mine",
        "account_key": "a2V5",
        "endpoint": address,
    }


@pytest.mark.skipif(sys.platform == "win32", reason="starts a shell script")
def test_azures_command_line_gives_a_token_where_that_is_wanted(recorder, monkeypatch, tmp_path):
    front, asked = recorder
    token = {
        "accessToken": "invented",
        "expires_on": time.time() // 1 + 3600,
        "tokenType": "Bearer",
    }
    token |= {"expiresOn": "2999-01-01 00:00:00.000000", "subscription": "a", "tenant": "b"}
    az = tmp_path / "az"
    az.write_text(f"#!/bin/sh\necho '{json.dumps(token)}'\n", encoding="utf-8")
    az.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    monkeypatch.setenv("AZURE_USE_AZURE_CLI", "true")
    monkeypatch.setenv("AZURE_ENDPOINT", front.url)
    assert open_folder("az://container/a", "memory_path").read("b") is None
    assert asked == [("/container/a/b", "Bearer invented")]


@pytest.fixture
def answer(server):
    """Have the server answer each request with a status and a text until it is called again."""
    genuine = server.app

    def _answer(status, text=b""):
        def app(_environ, start_response):
            start_response(status, [("Content-Type", "application/xml")])
            return [text]

        server.app = app if status else genuine

    yield _answer
    server.app = genuine


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("400 Bad Request: ExpiredToken", "the credentials have expired"),
        ("400 Bad Request: AuthorizationHeaderMalformed", "no usable answer, 400 Bad Request"),
        ("301 Moved Permanently: PermanentRedirect", "it is in another region"),
        ("503 Service Unavailable: SlowDown", "no usable answer, 503 Service Unavailable"),
    ],
)
def test_what_a_bucket_answers_is_said_in_plain_words(bucket, answer, monkeypatch, given, words):
    monkeypatch.setitem(buckets.RETRIES, "max_retries", 0)
    status, _, code = given.partition(": ")
    kept = open_object(bucket.url("object"), "memory_path")
    answer(status, f"<Error><Code>{code}</Code><Message>secret</Message></Error>".encode())
    for do in (kept.read, lambda: kept.replace(b"one", None)):
        with pytest.raises(OSError, match=f"{words}$"):
            do()


@pytest.mark.slow
def test_a_bucket_that_is_unavailable_for_some_seconds_is_waited_for(bucket, answer):
    kept = open_object(bucket.url("object"), "memory_path")
    answer("503 Service Unavailable")
    recovering = threading.Timer(8, answer, [None])
    recovering.start()
    kept.replace(b"one", None)
    assert kept.read().content == b"one"


def test_a_write_whose_answer_was_lost_is_no_conflict(bucket):
    kept = open_object(bucket.url("object"), "memory_path")
    version = kept.replace(b"one", None)
    assert kept.replace(b"one", None) == version  # as when the request is sent again


def test_names_are_those_below_the_prefix(bucket):
    folder = open_folder(bucket.url("rejects"), "rejects_path")
    assert folder.names("") == []
    for name in ("b.jsonl", "a.jsonl", "c.txt"):
        folder.replace(name, b"", None)
    bucket.write("rejects/deeper/a.jsonl", b"")
    bucket.write("rejects-of-others/a.jsonl", b"")
    assert folder.names("") == ["a.jsonl", "b.jsonl", "c.txt"]
    assert folder.names("a") == ["a.jsonl"]
    folder.rename("a.jsonl", "a.jsonl.done")
    assert folder.names("a") == ["a.jsonl.done"]


@pytest.mark.parametrize("path", ["a//b", "a/../b", "..", "./a", "a\nb"])
def test_a_path_that_no_bucket_can_have_is_refused_in_plain_words(path):
    with pytest.raises(SettingsError, match=r"rejects_path is no URL of a bucket: .*empty part"):
        open_folder(f"s3://bucket/{path}", "rejects_path")


def test_a_url_without_a_path_names_no_memory(tmp_path):
    with pytest.raises(SettingsError, match="memory_path names no object"):
        StoredMemory("s3://memory.db", tmp_path)


def test_what_is_deleted_while_it_is_copied_is_not_there(bucket, tmp_path, monkeypatch):
    monkeypatch.setattr(buckets, "PIECE", 4)
    bucket.write("a/contents", b"twelve bytes")
    reads = []

    def delete(what, path):
        if what == "read" and path.endswith("contents"):
            reads.append(path)
            if len(reads) == 3:
                bucket.remove("a/contents")
        return False

    bucket.server.damage = delete
    folder = open_folder(bucket.url("a"), "memory_path")
    assert not folder.download("contents", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


@pytest.mark.slow
@pytest.mark.parametrize("url", ["s3://", "s3:///a/b", "s3://user@bucket/a/b", "s3://bucket/a?b/c"])
@pytest.mark.parametrize("setting", ["rejects_path", "credentials_path"])
def test_a_url_of_no_bucket_is_refused_in_one_sentence(execute, setting, url, oauth):
    run = execute(PERSON, **oauth | {setting: url})
    assert run.exit_code == 1
    assert run.log.count("ERROR") == 1
    assert setting in run.log


# Tokens


@pytest.fixture
def oauth(sandbox, config, bucket):
    del config["access_token"]
    sandbox.profile = replace(sandbox.profile, apps=[APP], strict_rotation=True)
    return {
        "client_id": APP.client_id,
        "client_secret": APP.client_secret,
        "refresh_token": sandbox.issue_refresh_token(client_id=APP.client_id),
        "oauth_url": sandbox.oauth_url,
        "credentials_path": bucket.url("secrets/credentials.json"),
    }


def issued(sandbox):
    return [request.outcome for request in sandbox.token_requests]


@pytest.mark.slow
def test_tokens_in_a_bucket_are_renewed_once_and_found_by_the_next_run(
    sync, sandbox, oauth, bucket
):
    for _ in range(2):
        assert sync(PERSON, **oauth).exit_code == 0
    assert issued(sandbox) == ["issued"]
    document = json.loads(bucket.read("secrets/credentials.json"))
    assert set(document) == {"version", "chains"}  # no mark is left


@pytest.mark.slow
def test_runs_that_renew_at_once_leave_one_good_chain(start, sandbox, oauth):
    sandbox.profile = replace(sandbox.profile, latency_seconds=0.3)
    processes = [start(**oauth) for _ in range(3)]
    threads = [
        threading.Thread(target=process.communicate, args=(lines(PERSON).encode(), 60))
        for process in processes
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert issued(sandbox) == ["issued"]
    sandbox.revoke_all()
    process = start(**oauth)
    process.communicate(lines(PERSON).encode(), timeout=60)
    assert process.returncode == 0  # by the refresh token that was kept


def tokens(name, at=1000.0):
    return Tokens(name, at + 7200, at, (f"refresh {name}",))


@pytest.mark.slow
def test_who_was_taken_for_dead_reads_what_the_other_run_has_got(bucket, monkeypatch):
    monkeypatch.setattr(credentials_file, "MARK_HOLDS", 0.3)
    monkeypatch.setattr(credentials_file, "LOCK_LOOK", 0.1)
    url = bucket.url("credentials.json")
    slow, quick, other = Chain(url, "a"), Chain(url, "a"), Chain(url, "b")
    with slow.locked():
        with quick.locked():  # after a while
            assert quick.write(tokens("quick")) == tokens("quick")
        other.write(tokens("other"))
        kept = slow.write(tokens("slow"))
    assert kept.access_token == "quick"
    assert kept.refresh_tokens == ("refresh quick", "refresh slow")
    assert slow.read() == kept
    assert other.read() == tokens("other")
    assert "renewing" not in json.loads(bucket.read("credentials.json"))


@pytest.mark.slow
def test_a_mark_is_waited_for_and_that_of_a_killed_run_ends(bucket, monkeypatch):
    monkeypatch.setattr(credentials_file, "MARK_HOLDS", 0.5)
    monkeypatch.setattr(credentials_file, "LOCK_LOOK", 0.05)
    killed, next_one = (Chain(bucket.url("credentials.json"), "a") for _ in range(2))
    killed._leave_mark(lambda _seconds: None)
    began = time.monotonic()
    with next_one.locked():
        assert time.monotonic() - began >= 0.5


@pytest.mark.slow
def test_a_bucket_that_is_gone_is_said_before_a_token_is_used_up(execute, sandbox, oauth, bucket):
    bucket.delete()
    run = execute(PERSON, **oauth)
    assert run.exit_code == 1
    assert run.log.count("ERROR") == 1
    assert "cannot be written (there is no such bucket): check credentials_path." in run.log
    assert issued(sandbox) == []


@pytest.mark.slow
def test_access_denied_is_said_before_a_token_is_used_up(execute, sandbox, oauth, server):
    server.is_denied = True
    run = execute(PERSON, **oauth)
    assert run.exit_code == 1
    assert run.log.count("ERROR") == 1
    assert "cannot be read (access is denied): check credentials_path." in run.log
    assert issued(sandbox) == []


# Rejects


def command(*arguments, config, tmp_path, text=""):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    return processes.run([*arguments, "--config", str(path)], text, encoding="utf-8")


def rejected(bucket):
    """The rejects files that are not done, by their names."""
    names = [name for name in bucket.names("rejects/") if name.endswith(".jsonl")]
    return {name: bucket.read(name).decode() for name in sorted(names, key=lambda n: n[:-6])}


@pytest.fixture
def in_bucket(config, bucket):
    config["rejects_path"] = bucket.url("rejects")
    return config


@pytest.mark.slow
def test_rejects_are_an_object_a_batch_each_of_which_can_be_sent_by_itself(
    in_bucket, bucket, tmp_path
):
    batches = [[record("prospects", id=n, emails=f"nope {n}"), state({"n": n})] for n in range(3)]
    text = lines([schema("prospects"), *(one for batch in batches for one in batch)])
    done = command(config=in_bucket | {"batch_size_rows": 1}, tmp_path=tmp_path, text=text)
    assert done.returncode == 3, done.stderr
    contents = [
        [json.loads(line) for line in text.splitlines()] for text in rejected(bucket).values()
    ]
    assert [one["type"] for content in contents for one in content] == ["SCHEMA", "RECORD"] * 3
    assert [content[1]["record"]["id"] for content in contents] == [0, 1, 2]
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["rejects_file"] == bucket.url(next(iter(rejected(bucket))))


@pytest.mark.slow
def test_replay_sends_all_parts_of_a_run_from_the_bucket_and_marks_them_done(
    in_bucket, bucket, sandbox, tmp_path
):
    rows = [record("prospects", id=n, emails=f"nope{n}") for n in range(2)]
    text = lines([schema("prospects"), rows[0], state(1), rows[1], state(2)])
    command(config=in_bucket | {"batch_size_rows": 1}, tmp_path=tmp_path, text=text)
    names = list(rejected(bucket))
    assert len(names) == 2
    for name, content in rejected(bucket).items():
        mended = content.replace("nope0", "a0@x.test").replace("nope1", "a1@x.test")
        bucket.write(name, mended.encode())
    done = command("replay", bucket.url(names[0]), config=in_bucket, tmp_path=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sandbox.store.count("prospects") == 2
    assert rejected(bucket) == {}
    assert {f"{name}.done" for name in names} <= set(bucket.names("rejects/"))
    assert f"{bucket.url(names[0])} is done and now called" in done.stderr
    again = command("replay", bucket.url(names[0]), config=in_bucket, tmp_path=tmp_path)
    assert again.returncode == 2
    assert "does not exist" in again.stderr


@pytest.mark.slow
def test_retry_rejects_sends_what_waits_in_the_bucket(in_bucket, bucket, sandbox, tmp_path):
    command(config=in_bucket, tmp_path=tmp_path, text=lines(BAD))
    other = lines([schema("prospects"), record("prospects", id=9, emails="a@x.test")])
    ((name, content),) = rejected(bucket).items()
    bucket.write(name, content.replace('"nope"', '"mended@x.test"').encode())
    waiting = command(config=in_bucket, tmp_path=tmp_path, text=other)
    assert f"replay '{bucket.url('rejects/*.jsonl')}'" in waiting.stderr
    done = command(config=in_bucket | {"retry_rejects": True}, tmp_path=tmp_path, text=other)
    assert done.returncode == 3, done.stderr
    assert sandbox.store.count("prospects") == 2
    (left,) = rejected(bucket).values()
    assert [json.loads(line)["record"]["id"] for line in left.splitlines()[1:]] == [2]
    assert f"{name}.done" in bucket.names("rejects/")


@pytest.mark.slow
def test_rejects_in_a_bucket_whose_rows_a_later_run_delivers_are_resolved(
    in_bucket, bucket, tmp_path
):
    def run(*rows):
        done = command(
            config=in_bucket, tmp_path=tmp_path, text=lines([schema("prospects"), *rows])
        )
        return [line for line in done.stderr.splitlines() if "not resolved" in line]

    run(record("prospects", id=1, emails="nope"), record("prospects", id=2, emails="no"))
    ((name, _),) = rejected(bucket).items()
    bucket.server.reset()
    (line,) = run(record("prospects", id=1, emails="one@x.test"))
    assert "in 1 object, is not resolved yet" in line
    assert len(bucket.server.requests) <= 2 + 2 + 2 + 4  # tried, read, listed, and moved
    assert '"id": 2' in rejected(bucket)[name]
    assert '"id": 1' not in rejected(bucket)[name]
    assert b'"id": 1' in bucket.read(f"{name}.done")
    assert not run(record("prospects", id=2, emails="two@x.test"))
    assert rejected(bucket) == {}
    assert bucket.read(f"{name}.done").count(b'"RECORD"') == 2
    bucket.server.reset()
    assert not run(record("prospects", id=2, emails="two@x.test"))
    assert len(bucket.server.requests) == 3  # two to see if it can be written, and one list


@pytest.mark.slow
def test_rejects_in_a_bucket_that_are_rejected_again_are_open_once(in_bucket, bucket, tmp_path):
    rows = [schema("prospects"), record("prospects", id=1, emails="nope")]
    for _ in range(3):
        done = command(config=in_bucket, tmp_path=tmp_path, text=lines(rows))
        assert done.returncode == 3
        assert "not resolved" not in done.stderr  # what is open is this run's own
    (content,) = rejected(bucket).values()
    assert content.count('"RECORD"') == 1


@pytest.mark.slow
def test_rejects_in_a_bucket_that_somebody_fixes_meanwhile_stay_as_they_are(
    in_bucket, bucket, tmp_path
):
    rows = [record("prospects", id=n, emails="nope") for n in (1, 2)]
    text = lines([schema("prospects"), *rows])
    command(config=in_bucket, tmp_path=tmp_path, text=text)
    ((name, content),) = rejected(bucket).items()
    mended = content.replace("nope", "mended@x.test")

    def fix(what, path):
        if what == "read" and path.endswith(".jsonl.done"):
            bucket.write(name, mended.encode())
        return False

    bucket.server.damage = fix
    text = lines([schema("prospects"), record("prospects", id=1, emails="one@x.test")])
    done = command(config=in_bucket, tmp_path=tmp_path, text=text)
    assert "keeps rows that are resolved (it has been changed meanwhile)" in done.stderr
    assert rejected(bucket) == {name: mended}


def test_rejects_that_two_runs_mark_done_or_somebody_fixes_meanwhile_are_lost_by_none(
    bucket, tmp_path
):
    for name in ("a.jsonl", "b.jsonl"):
        bucket.write(f"rejects/{name}", b"wrong\n")
    (tmp_path / "other").mkdir()
    copies = (tmp_path, tmp_path / "other")
    ours, theirs = (find(bucket.url("rejects/*.jsonl"), lambda at=at: at) for at in copies)
    for file in (*ours, *theirs):
        file.fetch()
    bucket.write("rejects/b.jsonl", b"fixed\n")
    for file in (*ours, *theirs):
        file.mark_done()
    assert bucket.names("rejects/") == ["rejects/a.jsonl.done", "rejects/b.jsonl"]
    assert bucket.read("rejects/b.jsonl") == b"fixed\n"


@pytest.mark.slow
def test_a_replay_that_waits_for_a_run_does_not_undo_what_that_has_delivered(
    start, sandbox, memory, bucket, tmp_path
):
    kept = {"rejects_path": bucket.url("rejects")}
    rows = [schema("prospects"), record("prospects", id=1, emails="nope", title="old")]
    process = start(**memory, **kept)
    process.communicate(lines(rows).encode(), timeout=60)
    ((name, content),) = rejected(bucket).items()
    bucket.write(name, content.replace("nope", "p1@x.test").encode())
    first = killable(start, memory | kept)
    first.stdin.write(lines(titled("new")).encode())
    first.stdin.flush()
    until(lambda: titles(sandbox) == {"new"})
    path = tmp_path / "config 1.json"  # of the first
    command = ["replay", bucket.url(name), "--config", str(path)]
    replay = processes.Popen(command, stderr=subprocess.PIPE, encoding="utf-8")
    said = ""
    while "This one begins when that has ended" not in said:
        said += replay.stderr.readline()
        assert replay.poll() is None
    first.communicate(timeout=60)
    _, rest = replay.communicate(timeout=60)
    assert "was changed meanwhile, and is not sent again" in rest
    assert titles(sandbox) == {"new"}
    assert rejected(bucket) == {}


@pytest.mark.slow
def test_rejects_are_in_the_bucket_before_state_passes_them(start, bucket):
    process = start(rejects_path=bucket.url("rejects"))
    process.stdin.write(lines(BAD).encode())
    process.stdin.flush()
    assert json.loads(process.stdout.readline()) == {"n": 2}
    process.kill()
    (content,) = rejected(bucket).values()
    assert content.count('"RECORD"') == 2


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["gone", "denied"])
def test_a_bucket_that_cannot_take_rejects_is_said_before_anything_is_written(
    execute, sandbox, bucket, server, fault
):
    if fault == "gone":
        bucket.delete()
    server.is_denied = fault == "denied"
    run = execute(PERSON, rejects_path=bucket.url("rejects"))
    assert run.exit_code == 1
    assert run.log.count("ERROR") == 1
    words = "there is no such bucket" if fault == "gone" else "access is denied"
    assert f"rejects_path cannot be used ({words}): {bucket.url('rejects')}; name" in run.log
    assert sandbox.request_count == 0


# The memory


@pytest.fixture
def memory(bucket):
    return {"memory_path": bucket.url("a/memory.db"), "change_detection": "source"}


@pytest.fixture
def short_lease(monkeypatch):
    """Have what a killed run leaves end soon."""
    monkeypatch.setattr(memory_object, "BEAT", 0.1)
    monkeypatch.setattr(memory_object, "LEASE", 0.6)
    monkeypatch.setattr(memory_object, "LOOK", 0.05)


def head(bucket):
    return json.loads(bucket.read("a/memory.db"))


def titled(title, count=1):
    rows = [
        record("prospects", id=n, emails=f"p{n}@x.test", title=title) for n in range(1, count + 1)
    ]
    return [schema("prospects"), *rows, state({"title": title})]


def titles(sandbox):
    return {one["attributes"]["title"] for one in sandbox.store.all("prospects")}


@pytest.mark.slow
def test_5000_remembered_rows_cost_at_most_2_requests_on_an_empty_disk(
    sync, sandbox, memory, bucket
):
    rows = titled("Head", 5000)
    assert sync(rows, **memory).counts("prospects") == {"received": 5000, "created": 5000}
    assert head(bucket)["run"] is None
    assert bucket.names() == ["a/memory.db", f"a/{head(bucket)['contents']}"]
    before = sandbox.request_count
    run = sync(rows, **memory)
    assert run.counts("prospects") == {"received": 5000, "unchanged": 5000}
    assert sandbox.request_count - before <= 2
    assert len(bucket.names()) == 2


@pytest.mark.slow
def test_a_run_that_changes_nothing_puts_no_contents_into_the_bucket(sync, memory, bucket):
    sync(titled("Head"), **memory)
    before = head(bucket)["contents"]
    sync(titled("Head"), **memory)
    assert head(bucket)["contents"] == before
    sync(titled("Chief"), **memory)
    assert head(bucket)["contents"] != before


@pytest.mark.slow
def test_what_a_run_was_too_late_to_delete_is_deleted_by_the_next(sync, memory, bucket):
    sync(titled("Head"), **memory)
    bucket.write("a/memory.db.0123456789abcdef", b"old")
    bucket.write("a/memory.db.copy", b"somebody's")
    sync(titled("Head"), **memory)
    there = {"a/memory.db", "a/memory.db.copy", f"a/{head(bucket)['contents']}"}
    assert set(bucket.names()) == there


def until(found, seconds=30):
    end = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.usefixtures("short_lease")
def test_a_row_that_a_killed_run_has_changed_is_not_passed_over_when_it_is_as_before(
    sync, start, sandbox, memory, bucket
):
    sync(titled("A", 20), **memory)
    killed = start(batch_size_rows=1, **memory)
    killed.stdin.write(lines(titled("B")).encode())
    killed.stdin.flush()
    until(lambda: "B" in titles(sandbox))
    killed.kill()
    killed.wait()
    assert head(bucket)["run"] is not None
    run = sync(titled("A", 20), **memory)
    assert "did not end" in run.log
    assert run.counts("prospects") == {"received": 20, "updated": 1, "unchanged": 19}
    assert titles(sandbox) == {"A"}
    before = sandbox.request_count
    assert sync(titled("A", 20), **memory).counts("prospects")["unchanged"] == 20
    assert sandbox.request_count - before <= 2  # they were compared once


@pytest.mark.slow
@pytest.mark.usefixtures("short_lease")
def test_what_two_killed_runs_may_have_written_is_compared(sync, start, sandbox, memory, bucket):
    sync(titled("A"), **memory)
    for title in ("B", "C"):
        before = head(bucket)["run"]
        wrapped = killable(start, memory)
        wrapped.stdin.write(lines(titled(title)).encode())
        wrapped.stdin.flush()
        until(lambda title=title: titles(sandbox) == {title})
        assert head(bucket)["run"] not in {None, before}
        wrapped.kill()
        wrapped.wait()
    sync(titled("A"), **memory)
    assert titles(sandbox) == {"A"}


SHORT = """
from target_outreach.delivery import memory_object
memory_object.BEAT, memory_object.LEASE, memory_object.LOOK = 0.1, 0.6, 0.05
memory_object.PUT_BACK = 0.2
"""


def killable(start, memory):
    """Start a run that soon takes another for killed."""
    return start(before=SHORT, batch_size_rows=1, **memory)


def kills(server, few):
    """Return how often runs are killed: in CI most often with S3, which is the quickest."""
    if not os.environ.get("CI"):
        return few
    return 40 if isinstance(server, S3) else 12


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_at_any_moment_nothing_is_lost_doubled_or_passed_over(  # noqa: PLR0917 - fixtures
    sync, start, sandbox, memory, bucket, server
):
    moments = kills(server, few=5)
    rng = random.Random(20)  # noqa: S311 - no secret
    said = dict.fromkeys(range(1, 6), "A")
    for _ in range(moments):
        said = {n: rng.choice(("A", "B")) for n in said}
        rows = [
            record("prospects", id=n, emails=f"p{n}@x.test", title=title)
            for n, title in said.items()
        ]
        process = killable(start, memory)
        process.stdin.write(lines([schema("prospects"), *rows, state(1)]).encode())
        process.stdin.flush()
        time.sleep(rng.uniform(0.05, 2.4))  # it is loaded already
        process.kill()
        process.communicate()
    said = dict.fromkeys(said, "A")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory_object, "LEASE", 0.6)
        patch.setattr(memory_object, "LOOK", 0.05)
        run = sync(titled("A", 5), **memory)
    assert run.exit_code == 0
    assert sandbox.store.count("prospects") == 5
    assert titles(sandbox) == {"A"}
    assert head(bucket)["run"] is None
    assert bucket.names() == ["a/memory.db", f"a/{head(bucket)['contents']}"]


#: The moments in the life of a memory: looked at, marked, copied in; and kept alive and put back,
#: after something was written to Outreach. Any machine comes to the first of each kind.
MOMENTS = (
    *(("read head", False), ("write head", False), ("read contents", False)),
    *(("write head", True), ("write contents", True), ("delete contents", True)),
)


class Killer:
    """Kills a run while a request of one kind to the bucket is under way."""

    def __init__(self, process, kind, nth, counts_now, *, is_carried_out):
        self.process, self.kind, self.is_carried_out = process, kind, is_carried_out
        self.left, self.counts_now = nth, counts_now

    def __call__(self, what, path):
        kind = f"{what} {'head' if path.endswith('/memory.db') else 'contents'}"
        if kind != self.kind or not self.counts_now() or self.process.poll() is not None:
            return False
        self.left -= 1
        if self.left:
            return False
        self.process.kill()
        self.process.wait()
        return not self.is_carried_out


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.usefixtures("short_lease")
def test_killed_at_any_request_to_the_bucket_nothing_is_lost_doubled_or_passed_over(  # noqa: PLR0917 - fixtures
    sync, start, sandbox, memory, bucket, server
):
    moments = kills(server, few=6)
    rng = random.Random(21)  # noqa: S311 - no secret
    killed_at, written = Counter(), 0
    sync(titled("A", 5), **memory)
    sandbox.profile = replace(sandbox.profile, latency_seconds=0.1)
    for moment in range(moments):
        turn, number = divmod(moment, len(MOMENTS))
        kind, is_late = MOMENTS[number]
        # Each other time the first of that kind, else a later one, if there is one.
        nth = rng.randrange(2, 4) if turn % 2 else 1
        process = killable(start, memory)
        bucket.server.damage = Killer(
            process,
            kind,
            nth,
            lambda is_late=is_late: not is_late or titles(sandbox) != {"A"},
            is_carried_out=rng.random() < 0.5,
        )
        rows = [
            record(
                "prospects", id=n, emails=f"p{n}@x.test", title=rng.choice("AB" if n > 1 else "B")
            )
            for n in range(1, 6)
        ]
        process.communicate(lines([schema("prospects"), *rows, state(1)]).encode(), timeout=240)
        bucket.server.reset()
        killed_at[kind, is_late] += process.returncode == -signal.SIGKILL
        written += titles(sandbox) != {"A"}
        run = sync(titled("A", 5), **memory)
        assert (run.exit_code, run.states) == (0, [{"title": "A"}])
        assert titles(sandbox) == {"A"}, (moment, kind, is_late, nth)
        assert sandbox.store.count("prospects") == 5
        assert head(bucket)["run"] is None
    assert bucket.names() == ["a/memory.db", f"a/{head(bucket)['contents']}"]
    assert killed_at.total() >= moments / 2  # some runs end before there are so many requests
    assert written >= moments / 4
    assert all(killed_at[moment] for moment in MOMENTS)


@pytest.mark.slow
def test_runs_that_start_at_the_same_moment_take_turns(start, sync, sandbox, memory, bucket):
    runs = [killable(start, memory) for _ in "ABC"]
    threads = [
        threading.Thread(target=run.communicate, args=(lines(titled(title, 5)).encode(), 90))
        for run, title in zip(runs, "ABC", strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [run.returncode for run in runs] == [0, 0, 0]
    assert sandbox.store.count("prospects") == 5
    (last,) = titles(sandbox)
    assert head(bucket)["run"] is None
    assert bucket.names() == ["a/memory.db", f"a/{head(bucket)['contents']}"]
    assert sync(titled(last, 5), **memory).counts("prospects") == {"received": 5, "unchanged": 5}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code", "name"), [(signal.SIGTERM, 143, b"SIGTERM"), (signal.SIGINT, 130, b"Ctrl-C")]
)
def test_a_signal_while_the_bucket_is_tried_is_no_fault_of_the_bucket(  # noqa: PLR0917 - a table
    start, bucket, server, number, code, name
):
    server.delay = 2.0
    server.requests.clear()
    process = start(rejects_path=bucket.url("rejects"))
    until(lambda: server.requests)
    began = time.monotonic()
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert process.returncode == code, said
    assert time.monotonic() - began < 5
    assert b"Ended by " + name in said
    assert b"cannot be used" not in said


@pytest.mark.slow
def test_a_signal_has_the_memory_put_back(start, sync, sandbox, memory, bucket):
    process = start(batch_size_rows=1, **memory)
    process.stdin.write(lines(titled("A", 3)).encode())
    process.stdin.flush()
    until(lambda: sandbox.store.count("prospects") == 3)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 143
    assert head(bucket)["run"] is None
    before = sandbox.request_count
    assert sync(titled("A", 3), **memory).counts("prospects")["unchanged"] == 3
    assert sandbox.request_count - before <= 2


@pytest.mark.slow
def test_on_busy_makes_a_second_run_wait_for_the_first_or_end(
    start, execute, sync, memory, sandbox
):
    first = killable(start, memory)
    first.stdin.write(lines(titled("A")).encode())
    first.stdin.flush()
    until(lambda: titles(sandbox) == {"A"})
    done = execute(titled("B"), on_busy="end", **memory)
    assert done.exit_code == 4
    assert f"Another run is using the memory {memory['memory_path']}" in done.log
    assert titles(sandbox) == {"A"}
    second = killable(start, memory)
    second.stdin.write(lines(titled("B")).encode())
    second.stdin.flush()
    while b"This one begins when that has ended" not in second.stderr.readline():
        assert second.poll() is None
    assert titles(sandbox) == {"A"}
    first.communicate(timeout=30)
    assert first.returncode == 0
    second.communicate(timeout=30)
    assert second.returncode == 0
    assert titles(sandbox) == {"B"}
    assert sync(titled("B"), **memory).counts("prospects") == {"received": 1, "unchanged": 1}


@pytest.fixture
def kept_memory(bucket, tmp_path, monkeypatch):
    """A memory in a bucket as a run has it open, which puts back what changes at once."""
    monkeypatch.setattr(memory_object, "BEAT", 0.05)
    monkeypatch.setattr(memory_object, "PUT_BACK", 0.1)
    stored = StoredMemory(bucket.url("a/memory.db"), tmp_path)
    stored.open("wait")
    memory = Memory(str(stored.path), stored.name)
    stored.keep(memory, lambda _: None)
    yield stored, memory
    memory.close()
    with suppress(OutputError):  # another run may have it by then
        stored.close()


KEEP = ("INSERT INTO questions VALUES (?, '2026-01-01', 'a', NULL)", [(1,)])
KEEP_ANOTHER = (KEEP[0], [(2,)])


@pytest.mark.slow
def test_the_memory_is_put_back_while_the_run_goes_on(kept_memory, bucket):
    _, memory = kept_memory
    memory.change(KEEP)
    until(lambda: head(bucket)["contents"] is not None)
    first = head(bucket)
    assert first["run"] is not None  # more may be written
    memory.change(("DELETE FROM questions", [()]))
    until(lambda: head(bucket)["contents"] != first["contents"])
    until(lambda: len(bucket.names()) == 2)  # what was there before is deleted


def test_a_run_whose_memory_was_taken_over_ends_and_leaves_it_alone(kept_memory, bucket):
    stored, memory = kept_memory
    bucket.write("a/memory.db", json.dumps(head(bucket) | {"run": "another"}).encode())
    until(lambda: memory.failure is not None)
    with pytest.raises(OutputError, match="another run has taken it over"):
        memory.change(KEEP)
    stored.close()
    assert head(bucket)["run"] == "another"
    assert bucket.names() == ["a/memory.db"]


@pytest.fixture
def still_memory(kept_memory):
    """The same, where nothing happens by itself."""
    stored, memory = kept_memory
    stored._beats.end()
    stored._puts.end()
    return stored, memory


def test_a_run_that_has_lost_its_memory_never_replaces_that_of_the_winner(still_memory, bucket):
    stored, memory = still_memory
    memory.change(KEEP)
    bucket.write("a/memory.db", json.dumps(head(bucket) | {"run": "another"}).encode())
    assert not stored._attempt(stored._beat, is_vital=True)
    assert not stored._attempt(stored._put_back_changes)
    with suppress(Conflict):
        stored._put_back_changes()  # as when it was under way already
    assert head(bucket)["run"] == "another"
    assert head(bucket)["contents"] is None


def test_an_older_head_that_somebody_puts_back_beside_a_run_gets_the_mark_again(
    still_memory, bucket
):
    stored, memory = still_memory
    older = Head(contents="memory.db.0123456789abcdef")
    bucket.write("a/memory.db", older.to_json())
    assert not stored._attempt(stored._beat, is_vital=True)
    assert "another run has taken it over" in str(memory.failure)
    assert head(bucket)["run"] is not None  # the next run compares
    assert head(bucket)["contents"] == older.contents


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "it was deleted, or its bucket was"),
        (Head(contents="another.txt").to_json(), "something else was put there"),
        (b"", "something else was put there"),
        (b'{"kind": "target-outreach memory", "contents": 1, "run": null, "beat": 0}', "else was"),
    ],
)
def test_a_run_says_what_has_become_of_its_memory(still_memory, bucket, content, words):
    stored, memory = still_memory
    if content is None:
        bucket.remove("a/memory.db")
    else:
        bucket.write("a/memory.db", content)
    assert not stored._attempt(stored._beat, is_vital=True)
    assert words in str(memory.failure)
    assert bucket.names() == ["a/memory.db"] * (content is not None)


def test_a_copy_that_is_not_whole_when_the_disk_is_full_is_not_put_back(still_memory, bucket):
    stored, memory = still_memory
    memory.change(KEEP)
    with closing(sqlite3.connect(stored.path)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM questions").fetchall()
        memory.change(KEEP_ANOTHER)
        memory.close()  # the last change stays beside the file, as where there is no space for it
        with pytest.raises(OutputError, match="could not be put back"):
            stored.close()
    assert head(bucket)["run"] is not None  # the next run compares
    assert head(bucket)["contents"] is None


@pytest.mark.slow
def test_a_run_whose_memory_was_taken_over_writes_no_more(
    sync, sandbox, memory, bucket, monkeypatch
):
    monkeypatch.setattr(memory_object, "BEAT", 0.05)
    sandbox.profile = replace(sandbox.profile, latency_seconds=0.1)

    def take_over():
        until(lambda: sandbox.store.all("prospects"))
        bucket.write("a/memory.db", json.dumps(head(bucket) | {"run": "another"}).encode())

    taking = threading.Thread(target=take_over)
    taking.start()
    run = sync(titled("A", 300), **memory)
    taking.join()
    assert (run.exit_code, run.states) == (1, [])
    assert "another run has taken it over" in run.log
    assert len(sandbox.store.all("prospects")) < 100
    assert head(bucket)["run"] == "another"


@pytest.mark.parametrize("before", [None, "killed"])
def test_a_run_that_loses_the_race_for_a_memory_leaves_the_winner_alone(
    bucket, tmp_path, monkeypatch, before
):
    monkeypatch.setattr(memory_object, "LEASE", 0.2)
    monkeypatch.setattr(memory_object, "LOOK", 0.05)
    bucket.write("a/memory.db", Head(run=before).to_json())
    stored = StoredMemory(bucket.url("a/memory.db"), tmp_path)
    genuine, winner = stored._stored.replace, Head(run="winner")

    def too_late(content, version):
        monkeypatch.setattr(stored._stored, "replace", genuine)
        bucket.write("a/memory.db", winner.to_json())
        alive.start()
        return genuine(content, version)

    has_ended = threading.Event()

    def live():
        beat = 0
        while not has_ended.wait(0.02):
            beat += 1
            bucket.write("a/memory.db", replace(winner, beat=beat).to_json())

    alive = threading.Thread(target=live, daemon=True)
    monkeypatch.setattr(stored._stored, "replace", too_late)
    with pytest.raises(EndedEarly, match="Another run is using the memory"):
        stored.open("end")
    has_ended.set()
    alive.join()
    assert head(bucket)["run"] == "winner"


def test_a_memory_that_cannot_be_opened_leaves_the_mark_of_a_killed_run(
    bucket, tmp_path, monkeypatch
):
    monkeypatch.setattr(memory_object, "LEASE", 0.2)
    bucket.write("a/memory.db", Head(run="killed").to_json())
    stored = StoredMemory(bucket.url("a/memory.db"), tmp_path)
    stored.open("wait")
    stored.close()
    assert head(bucket)["run"] == "killed"


@pytest.mark.slow
def test_what_a_run_has_left_is_left_alone_while_old_contents_are_deleted_slowly(
    kept_memory, bucket, server
):
    stored, memory = kept_memory
    memory.change(KEEP)
    until(lambda: head(bucket)["contents"] is not None)

    def take_over(what, _path):
        if what == "delete" and head(bucket)["run"] is None:
            bucket.write("a/memory.db", json.dumps(head(bucket) | {"run": "another"}).encode())
            time.sleep(0.5)  # some signs of life would be given meanwhile
        return False

    server.damage = take_over
    stored._puts.end()
    memory.change(KEEP_ANOTHER)
    stored.close()
    assert (stored._failure, memory.failure) == (None, None)
    assert head(bucket)["run"] == "another"


@pytest.mark.slow
def test_a_sign_of_life_whose_answer_was_lost_does_not_end_the_run(kept_memory, bucket):
    stored, memory = kept_memory
    stored._beats.end()
    stored._puts.end()
    genuine = stored._bucket.replace

    def lose_the_answer(*given):
        stored._bucket.replace = genuine
        genuine(*given)
        raise TimeoutError

    stored._bucket.replace = lose_the_answer
    assert stored._attempt(stored._beat, is_vital=True)
    memory.change(KEEP)
    stored.close()
    assert head(bucket)["run"] is None
    assert head(bucket)["contents"] is not None


def test_a_change_that_is_made_while_the_memory_is_copied_is_put_back_too(tmp_path):
    memory = Memory(str(tmp_path / "memory.db"))
    before = memory.revision
    memory.change(KEEP)
    assert memory.revision >= before + 2  # once before it is there, and once after
    memory.close()


def test_a_run_ends_whose_bucket_takes_no_sign_of_life(kept_memory, bucket, server, monkeypatch):
    monkeypatch.setattr(memory_object, "FENCE", 0.2)
    _, memory = kept_memory
    server.is_denied = True
    until(lambda: memory.failure is not None)
    with pytest.raises(OutputError, match=r"\(access is denied\)"):
        memory.change(KEEP)
    server.is_denied = False
    assert head(bucket)["run"] is not None  # the next run compares


@pytest.mark.slow
def test_only_its_owner_may_read_the_copy_of_a_memory(kept_memory, tmp_path):
    stored, _ = kept_memory
    assert stored.path.stat().st_mode & 0o077 == 0
    assert tmp_path in stored.path.parents


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["gone", "denied"])
def test_a_bucket_that_cannot_hold_the_memory_is_said_before_anything_is_written(
    execute, sandbox, bucket, server, fault
):
    if fault == "gone":
        bucket.delete()
    server.is_denied = fault == "denied"
    run = execute(titled("A"), memory_path=bucket.url("memory.db"))
    assert run.exit_code == 1
    assert run.log.count("ERROR") == 1
    words = "there is no such bucket" if fault == "gone" else "access is denied"
    assert f"cannot be used ({words}): check memory_path. Nothing was written" in run.log
    assert sandbox.request_count == 0


def test_a_bucket_that_goes_while_the_run_does_is_said_at_the_end(sync, sandbox, memory, server):
    def deny(*_):
        server.is_denied = True

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StoredMemory, "_put_back", deny_first(StoredMemory._put_back, deny))
        run = sync(titled("A"), **memory)
    assert run.exit_code == 1
    assert "could not be put back (access is denied)" in run.log
    assert run.states == [{"title": "A"}]
    assert titles(sandbox) == {"A"}


@pytest.mark.slow
def test_a_bucket_that_is_deleted_while_the_run_goes_on_ends_it_before_the_next_state(
    sync, sandbox, memory, bucket, monkeypatch
):
    monkeypatch.setattr(memory_object, "BEAT", 0.05)
    monkeypatch.setattr(memory_object, "FENCE", 0.5)
    sandbox.profile = replace(sandbox.profile, latency_seconds=0.1)

    def delete():
        until(lambda: sandbox.store.all("prospects"))
        bucket.delete()

    deleting = threading.Thread(target=delete)
    deleting.start()
    run = sync(titled("A", 300), **memory)
    deleting.join()
    assert (run.exit_code, run.states) == (1, [])
    assert "cannot be used any more (" in run.log
    assert len(sandbox.store.all("prospects")) < 200


def deny_first(genuine, deny):
    def put_back(self, *rest, **said):
        deny()
        return genuine(self, *rest, **said)

    return put_back


@pytest.mark.slow
@pytest.mark.usefixtures("short_lease")
def test_without_the_memory_of_the_last_run_the_first_row_of_a_record_has_it(
    sync, sandbox, memory, server
):
    def deny(*_):
        server.is_denied = True

    one, other = (
        record("prospects", id=n, emails="a@x.test", title=title)
        for n, title in ((1, "A"), (2, "B"))
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StoredMemory, "_put_back", deny_first(StoredMemory._put_back, deny))
        assert sync([schema("prospects"), one, state(1)], **memory).exit_code == 1
    server.reset()
    for _ in range(2):
        run = sync([schema("prospects"), other, one, state(2)], **memory)
        codes = [one["error"]["code"] for one in run.rejects if "error" in one]
        assert set(codes) == {"duplicate_source_row"}
        assert run.counts("prospects")["rejected"] == 1
        assert titles(sandbox) == {"B"}
    assert sandbox.store.count("prospects") == 1


@pytest.mark.slow
def test_a_dry_run_reads_the_memory_and_leaves_nothing(sync, memory, bucket, server):
    sync(titled("A"), **memory)
    names, before = bucket.names(), head(bucket)
    server.requests.clear()
    run = sync(titled("A"), dry_run=True, **memory)
    assert run.counts("prospects") == {"received": 1, "unchanged": 1}
    assert {method for method, _ in server.requests} <= {"GET", "HEAD"}
    assert (bucket.names(), head(bucket)) == (names, before)


@pytest.mark.slow
def test_a_slow_bucket_slows_the_run_down_and_no_more(sync, memory, server, bucket):
    server.delay = 0.5
    assert sync(titled("A"), **memory).exit_code == 0
    assert sync(titled("A"), **memory).counts("prospects") == {"received": 1, "unchanged": 1}
    assert head(bucket)["run"] is None


@pytest.mark.parametrize("content", [b"SQLite format 3\0", b"{}", b"[1]", b'{"kind": "x"}'])
def test_something_else_at_the_url_is_left_alone(sync, sandbox, memory, bucket, content):
    bucket.write("a/memory.db", content)
    run = sync(titled("A"), **memory)
    assert run.exit_code == 1
    assert "holds something else than a memory" in run.log
    assert bucket.read("a/memory.db") == content
    assert sandbox.request_count == 0


@pytest.mark.slow
def test_contents_that_are_gone_or_damaged_are_a_new_beginning(sync, memory, bucket):
    sync(titled("A"), **memory)
    bucket.remove(f"a/{head(bucket)['contents']}")
    run = sync(titled("A"), **memory)
    assert run.counts("prospects") == {"received": 1, "unchanged": 1}
    assert "is gone: all rows are compared" in run.log
    name = f"a/{head(bucket)['contents']}"
    bucket.write(name, bucket.read(name)[:5000])
    run = sync(titled("A"), **memory)
    assert run.counts("prospects") == {"received": 1, "unchanged": 1}
    assert "was damaged" in run.log
    bucket.write(f"a/{head(bucket)['contents']}", b"garbage" * 1000)
    run = sync(titled("A"), **memory)
    assert run.counts("prospects") == {"received": 1, "unchanged": 1}
    assert "was damaged" in run.log


def test_a_disk_that_is_too_small_for_the_copy_is_said_with_what_to_do(bucket, tmp_path):
    stored = StoredMemory(bucket.url("a/memory.db"), tmp_path)

    def fill(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    stored._bucket.download = fill
    said = Head(contents="memory.db.0123456789abcdef")
    bucket.write("a/memory.db", said.to_json())
    with pytest.raises(OutputError, match=r"No space left on device\): give the folder for temp"):
        stored.open("wait")
    assert head(bucket)["run"] is None


def test_contents_that_may_not_be_deleted_are_mentioned(still_memory, bucket, server, caplog):
    stored, _ = still_memory
    stored._remove_strays()
    assert "cannot be deleted" not in caplog.text
    bucket.write("a/memory.db.0123456789abcdef", b"old")
    server.damage = lambda what, _path: what == "delete"
    stored._remove_strays()
    assert "cannot be deleted (access is denied), and take up space" in caplog.text


MEASURED = """
import re, sys
from pathlib import Path
from target_outreach.delivery.memory import Memory
from target_outreach.delivery.memory_object import StoredMemory
stored = StoredMemory(sys.argv[1], Path(sys.argv[2]))
stored.open("wait")
memory = Memory(str(stored.path), stored.name)
stored.keep(memory, lambda _: None)
memory.doubt_everything()
memory.close()
stored.close()
print(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.skipif(sys.platform != "linux", reason="measures as Linux does")
def test_a_memory_larger_than_the_machine_has_is_never_held_as_a_whole(bucket, tmp_path):
    size = 256 << 20
    path = tmp_path / "large.db"
    memory = Memory(str(path))
    memory.run("CREATE TABLE padding (content BLOB)", ())
    for _ in range(size >> 20):
        memory.run("INSERT INTO padding VALUES (zeroblob(?))", (1 << 20,))
    memory.close()
    contents = f"memory.db.{'0' * 16}"
    bucket.upload(path, f"a/{contents}")
    bucket.write("a/memory.db", Head(contents).to_json())
    (tmp_path / "copy").mkdir()
    command = [sys.executable, "-c", MEASURED, bucket.url("a/memory.db"), str(tmp_path / "copy")]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    assert int(done.stdout) * 1024 < 220 << 20  # 130 without any memory
    assert head(bucket)["contents"] != contents
    with closing(sqlite3.connect(path)) as file:
        ((rows,),) = file.execute("SELECT count(*) FROM padding")
    assert rows == size >> 20
