"""Several streams about one person or company: what arrived last is what Outreach holds."""

from __future__ import annotations

import itertools
import time

import pytest
from conftest import record, schema

from target_outreach.engine.loop import Engine

ID = {"outreach_id": {"type": ["null", "integer"]}, "title": {"type": ["null", "string"]}}
MAIL = {"email": {"type": ["null", "string"]}, "title": {"type": ["null", "string"]}}
NUMBER = {"github_username": {"type": ["null", "string"]}, "title": {"type": ["null", "string"]}}
STREAMS = [
    {"stream": "by_id", "object": "prospects", "columns": {"outreach_id": "id"}},
    {"stream": "by_mail", "object": "prospects"},
    {"stream": "by_number", "object": "prospects", "match_on": ["githubUsername"]},
]
PERSON = {
    "by_id": {"outreach_id": 1},
    "by_mail": {"email": "a@x.test"},
    "by_number": {"github_username": "7"},
}
SCHEMAS = [
    schema("by_id", ID, keys=()),
    schema("by_mail", MAIL, keys=()),
    schema("by_number", NUMBER, keys=()),
]


def row(stream, title, person=None):
    values = {**(person or PERSON)[stream], "title": title}
    return {"type": "RECORD", "stream": stream, "record": values}


def others(stream, numbers):
    people = {
        number: {
            "by_id": {"outreach_id": number + 2},
            "by_mail": {"email": f"p{number}@x.test"},
            "by_number": {"github_username": f"n{number}"},
        }
        for number in numbers
    }
    return [row(stream, f"T{number}", person) for number, person in people.items()]


@pytest.mark.parametrize("is_last_of_first", [True, False])
@pytest.mark.parametrize(("size", "parallel"), [(1, 4), (3, 4), (500, 1), (500, 4)])
@pytest.mark.parametrize("order", list(itertools.permutations(PERSON, 2)), ids="-".join)
def test_the_last_row_counts_whatever_key_finds_the_person(
    sync, sandbox, order, size, parallel, *, is_last_of_first
):
    first, second = order
    person = {"emails": ["a@x.test"], "githubUsername": "7", "title": "V0"}
    people = [{"emails": [f"p{n}@x.test"], "githubUsername": f"n{n}"} for n in range(12)]
    sandbox.store.seed_many("prospects", [person, *people])
    rows = [
        *SCHEMAS,
        *others(first, range(3)),
        row(first, "V1"),
        *others(second, range(3, 6)),
        row(second, "V2"),
        *others(first, range(6, 9)),
        row(first, "V3"),
        *others(second, range(9, 12)),
    ]
    if not is_last_of_first:
        rows += [row(second, "V4"), *others(first, range(2))]
    settings = {"batch_size_rows": size, "max_parallel_requests": parallel}
    run = sync(rows, streams=STREAMS, sync_mode="update", **settings)
    assert run.exit_code == 0
    assert sandbox.store.get("prospects", 1)["attributes"]["title"] == (
        "V3" if is_last_of_first else "V4"
    )


@pytest.mark.parametrize("parallel", [1, 4])
@pytest.mark.parametrize("size", [1, 500])
def test_a_person_that_one_stream_creates_is_changed_by_the_next(sync, sandbox, size, parallel):
    columns = MAIL | NUMBER
    rows = [
        schema("by_mail", columns, keys=()),
        schema("by_number", NUMBER, keys=()),
        {
            "type": "RECORD",
            "stream": "by_mail",
            "record": {"email": "a@x.test", "github_username": "7", "title": "V1"},
        },
        row("by_number", "V2"),
    ]
    streams = [STREAMS[1], STREAMS[2] | {"sync_mode": "update"}]
    run = sync(rows, streams=streams, batch_size_rows=size, max_parallel_requests=parallel)
    assert run.exit_code == 0
    (person,) = sandbox.store.all("prospects")
    assert person["attributes"]["title"] == "V2"


@pytest.mark.parametrize("size", [2, 500])
@pytest.mark.parametrize("parallel", [1, 4])
def test_the_last_row_counts_whichever_address_finds_the_person(sync, sandbox, size, parallel):
    sandbox.store.seed("prospects", {"emails": ["a@x.test", "b@x.test", "c@x.test"]})
    streams = [{"stream": name, "object": "prospects"} for name in ("one", "two", "three")]
    said = itertools.cycle([("one", "a@x.test"), ("two", "b@x.test"), ("three", "c@x.test")])
    rows = [schema(one["stream"], MAIL, keys=()) for one in streams]
    for number, (stream, email) in zip(range(10), said, strict=False):
        values = {"email": email, "title": f"V{number}"}
        rows.append({"type": "RECORD", "stream": stream, "record": values})
        values = {"email": f"{stream}{number}@x.test", "title": "T"}
        rows.append({"type": "RECORD", "stream": stream, "record": values})
    settings = {"batch_size_rows": size, "max_parallel_requests": parallel}
    run = sync(rows, streams=streams, **settings)
    assert run.exit_code == 0
    assert sandbox.store.get("prospects", 1)["attributes"]["title"] == "V9"
    assert sandbox.store.count("prospects") == 11


@pytest.mark.slow
def test_streams_that_take_turns_cost_as_many_lookups_as_others(sync, sandbox):
    sandbox.store.seed_many("prospects", [{"emails": [f"p{n}@x.test"]} for n in range(3000)])
    streams = [{"stream": name, "object": "prospects"} for name in ("one", "two")]
    rows = [schema(one["stream"], MAIL, keys=()) for one in streams]
    for number in range(200):
        values = {"email": f"p{number}@x.test", "title": "T"}
        name = streams[number % 2]["stream"]
        rows.append({"type": "RECORD", "stream": name, "record": values})
    run = sync(rows, streams=streams)
    assert run.counts("one") == run.counts("two") == {"received": 100, "updated": 100}
    assert sum(one.method == "GET" for one in sandbox.requests) <= 6


@pytest.mark.slow
@pytest.mark.parametrize("first", ["by_id", "by_mail"])
def test_streams_that_match_by_different_fields_cost_as_many_lookups_in_turn_as_in_a_row(
    sync, sandbox, first
):
    people = [{"emails": [f"p{n}@x.test"], "githubUsername": f"n{n}"} for n in range(3000)]
    sandbox.store.seed_many("prospects", people)
    pair = (first, "by_number")
    counts = []
    for order in ([pair[n % 2] for n in range(200)], [*[pair[0]] * 100, *[pair[1]] * 100]):
        before = len(sandbox.requests)
        rows = []
        for number, stream in enumerate(order):
            person = {
                "by_id": {"outreach_id": number + 1},
                "by_mail": {"email": f"p{number}@x.test"},
                "by_number": {"github_username": f"n{number}"},
            }
            rows.append(row(stream, f"T{len(counts)}", person))
        run = sync([*SCHEMAS, *rows], streams=STREAMS, sync_mode="update")
        assert run.exit_code == 0
        counts.append(sum(one.method == "GET" for one in list(sandbox.requests)[before:]))
    assert counts[0] <= counts[1] <= 6
    titles = [one["attributes"]["title"] for one in sandbox.store.all("prospects")]
    assert titles[:200] == ["T1"] * 200


@pytest.mark.parametrize("detection", ["outreach", "source"])
def test_rows_of_one_stream_are_not_folded_around_a_row_of_another(
    sync, sandbox, tmp_path, detection
):
    def run(*titles):
        messages = [schema("a-prospects"), schema("b-prospects")]
        for at, title in enumerate(titles):
            stream = "a-prospects" if at == 1 else "b-prospects"
            messages.append(record(stream, id=1, emails="ada@x.test", title=title))
        memory = {"memory_path": str(tmp_path / "memory.db")} if detection == "source" else {}
        sync(messages, change_detection=detection, **memory)
        (person,) = sandbox.store.all("prospects")
        return person["attributes"]["title"]

    assert run("first", "between", "last") == "last"
    assert run("first", "between", "last") == "last"
    assert run("last", "other", "last") == "last"


def test_the_last_row_counts_where_the_thread_that_decides_is_late(sync, sandbox, monkeypatch):
    """A batch by itself and then one of each stream together are there before it takes either."""
    genuine = Engine.submit

    def submit(self, batches):
        self._call(time.sleep, 0.2)
        genuine(self, batches)

    monkeypatch.setattr(Engine, "submit", submit)
    sandbox.store.seed_many("prospects", [{"emails": [f"p{n}@x.test"]} for n in range(6)])
    streams = [{"stream": name, "object": "prospects"} for name in ("one", "two")]
    rows = [schema(one["stream"], MAIL, keys=()) for one in streams]
    for stream, number, title in (
        ("one", 0, "First"),
        ("one", 1, "T"),
        ("two", 0, "Last"),
        ("one", 2, "T"),
        ("one", 3, "T"),
    ):
        values = {"email": f"p{number}@x.test", "title": title}
        rows.append({"type": "RECORD", "stream": stream, "record": values})
    run = sync(rows, streams=streams, batch_size_rows=2)
    assert run.exit_code == 0
    assert sandbox.store.get("prospects", 1)["attributes"]["title"] == "Last"


@pytest.mark.parametrize("key", ["email", "github_username"])
def test_the_last_row_counts_where_a_memory_knows_only_that(sync, sandbox, tmp_path, key):
    """The first row is found by another key than the last one, which needs no lookup."""
    person = {"emails": ["a@x.test", "b@x.test"], "githubUsername": "7", "title": "V0"}
    sandbox.store.seed("prospects", person)
    first, said = {
        "email": ("others", {"email": "b@x.test"}),
        "github_username": ("by_number", {"github_username": "7"}),
    }[key]
    columns = MAIL | NUMBER | {"row_key": {"type": "string"}}
    schemas = [schema(stream, columns, ("row_key",)) for stream in (first, "by_mail")]

    def run(*rows):
        values = ({"row_key": stream, **columns} for stream, columns in rows)
        records = ({"type": "RECORD", "stream": one["row_key"], "record": one} for one in values)
        done = sync(
            [*schemas, *records],
            streams=[*STREAMS, {"stream": "others", "object": "prospects"}],
            sync_mode="update",
            change_detection="source",
            memory_path=str(tmp_path / "memory.db"),
        )
        assert done.exit_code == 0

    run(("by_mail", {"email": "a@x.test", "title": "V0"}))
    run((first, said | {"title": "V1"}), ("by_mail", {"email": "a@x.test", "title": "V2"}))
    assert sandbox.store.get("prospects", 1)["attributes"]["title"] == "V2"
