"""Ways in which records were once lost, doubled or damaged; each stays fixed."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace

import processes
import pytest
from conftest import ACCOUNTS, PROSPECTS, lines, record, schema, state

from target_outreach.sandbox import Fault

SECRET = "whisper-4711"


def names(sandbox):
    return sorted(
        (one["attributes"]["name"], one["attributes"]["domain"])
        for one in sandbox.store.all("accounts")
    )


@pytest.mark.slow
def test_a_record_that_waits_for_another_is_decided_on_once(sync, sandbox):
    sandbox.store.seed("accounts", {"name": "Acme", "domain": "globex.example"})
    sandbox.add_fault(Fault("delay", method="GET", path="name\\]=", times=None, seconds=0.2))
    sandbox.add_fault(Fault("delay", method="POST", times=None, seconds=0.3))
    new = [record("accounts", name=f"T{n}", domain=f"t{n}.example") for n in range(6)]
    rows = [
        *new,
        record("accounts", name="Acme", domain="globex.example"),
        record("accounts", name="Acme", domain="acme.example"),
        record("accounts", name="T7"),
    ]
    run = sync([schema("accounts"), *rows, state({"n": 9})], batch_size_rows=3)
    assert run.exit_code == 0
    assert run.counts("accounts") == {"received": 9, "created": 8, "unchanged": 1}
    assert names(sandbox).count(("Acme", "acme.example")) == 1


@pytest.mark.parametrize("rows_a_batch", [1, 3, 500])
@pytest.mark.parametrize(
    "rows",
    [
        [{"name": "N1", "domain": "d1.test"}, {"name": "N2", "domain": "d1.test"}],
        [
            {"name": "N1", "domain": "d1.test"},
            {"name": "N1", "industry": "i"},
            {"name": "N2", "domain": "d1.test"},
        ],
    ],
)
def test_one_account_stays_one_however_its_rows_are_batched(sync, sandbox, rows, rows_a_batch):
    sandbox.store.seed("accounts", {"name": "N1"})
    messages = [schema("accounts"), *(record("accounts", **row) for row in rows)]
    run = sync(messages, batch_size_rows=rows_a_batch)
    assert run.exit_code == 0
    assert names(sandbox) == [("N2", "d1.test")]


def test_blanks_in_a_name_make_no_second_account(sync, sandbox):
    sync([schema("accounts"), record("accounts", name="Acme Inc")])
    sync([schema("accounts"), record("accounts", name="Acme  Inc")])
    assert sandbox.store.count("accounts") == 1


@pytest.mark.parametrize("rows_a_batch", [1, 2, 500])
def test_the_last_row_about_a_person_wins_by_whichever_address(sync, sandbox, rows_a_batch):
    sandbox.store.seed("prospects", {"emails": ["a@x.test", "b@x.test"]})
    rows = [
        record("prospects", emails=f"{who}@x.test", title=str(number))
        for number, who in enumerate("ababba")
    ]
    run = sync([schema("prospects"), *rows, state({"n": 6})], batch_size_rows=rows_a_batch)
    assert run.exit_code == 0
    assert run.states[-1] == {"n": 6}
    (person,) = sandbox.store.all("prospects")
    assert person["attributes"]["title"] == "5"


@pytest.mark.parametrize("rows_a_batch", [2, 500])
def test_folded_rows_about_one_person_never_wait_for_each_other(sync, sandbox, rows_a_batch):
    sandbox.store.seed("prospects", {"emails": ["a@x.test", "b@x.test"]})
    emails = [["a"], ["b", "c"], ["c"], ["b", "c"], ["a"]]
    rows = [
        record("prospects", emails=[f"{who}@x.test" for who in row], title=str(number))
        for number, row in enumerate(emails)
    ]
    run = sync([schema("prospects"), *rows], batch_size_rows=rows_a_batch)
    assert run.exit_code == 0
    (person,) = sandbox.store.all("prospects")
    assert person["attributes"]["title"] == "4"
    assert len(person["attributes"]["emails"]) == 3


@pytest.mark.parametrize("rows_a_batch", [1, 2, 500])
def test_a_record_that_moves_away_leaves_its_place_to_the_one_of_that_name(
    sync, sandbox, rows_a_batch
):
    sandbox.store.seed("accounts", {"name": "X", "domain": "old.test", "customId": "C1"})
    sandbox.store.seed("accounts", {"name": "Y"})
    rows = [
        record("accounts", custom_id="C1", domain="new.test", name="X"),
        record("accounts", domain="old.test", name="Y", industry="2"),
    ]
    run = sync([schema("accounts"), *rows], batch_size_rows=rows_a_batch)
    assert run.counts("accounts") == {"received": 2, "updated": 2}
    assert names(sandbox) == [("X", "new.test"), ("Y", "old.test")]


@pytest.mark.parametrize("rows_a_batch", [1, 2, 500])
def test_two_accounts_that_swap_their_domains_stay_themselves(sync, sandbox, rows_a_batch):
    sandbox.store.seed("accounts", {"name": "X", "customId": "C1", "domain": "x.test"})
    sandbox.store.seed("accounts", {"name": "Y", "customId": "C2", "domain": "y.test"})
    rows = [
        record("accounts", custom_id="C1", domain="y.test", name="X"),
        record("accounts", custom_id="C2", domain="x.test", name="Y"),
        record("accounts", domain="x.test", name="Y", industry="of Y"),
        record("accounts", domain="y.test", name="X", industry="of X"),
    ]
    run = sync([schema("accounts"), *rows], batch_size_rows=rows_a_batch)
    assert run.exit_code == 0
    held = [one["attributes"] for one in sandbox.store.all("accounts")]
    assert {one["name"]: one["industry"] for one in held} == {"X": "of X", "Y": "of Y"}
    assert {one["name"]: one["domain"] for one in held} == {"X": "y.test", "Y": "x.test"}


@pytest.mark.parametrize("rows_a_batch", [1, 500])
def test_a_record_that_another_row_has_shown_is_no_match_before_its_turn(
    sync, sandbox, rows_a_batch
):
    first = sandbox.store.seed("accounts", {"name": "N0", "domain": "d0.test"})
    second = sandbox.store.seed("accounts", {"name": "N3", "customId": "C3"})
    rows = [
        record("accounts", name="N3", domain="d0.test", industry="first"),
        record("accounts", name="N3", domain="d3.test", custom_id="C3", industry="second"),
    ]
    sync([schema("accounts"), *rows], batch_size_rows=rows_a_batch)
    assert sandbox.store.get("accounts", first)["attributes"]["industry"] == "first"
    assert sandbox.store.get("accounts", second)["attributes"]["industry"] == "second"


def test_streams_that_match_by_different_fields_make_no_second_account(sync, sandbox):
    messages = [schema("a-accounts"), schema("b-accounts")]
    messages += [
        record(stream, name="Acme", domain="acme.example")
        for stream in ("a-accounts", "b-accounts")
    ]
    by = [
        {"stream": "a-accounts", "match_on": ["domain"]},
        {"stream": "b-accounts", "match_on": ["name"]},
    ]
    assert sync(messages, streams=by).exit_code == 0
    assert sandbox.store.count("accounts") == 1


@pytest.mark.parametrize("rows_a_batch", [1, 2, 500])
def test_the_order_of_arrival_holds_between_streams(sync, sandbox, rows_a_batch):
    messages = [schema("a-prospects"), schema("b-prospects")]
    messages += [record("b-prospects", emails="k@x.test", title="old")]
    messages += [record("a-prospects", emails="k@x.test", title="new")]
    sync(messages, batch_size_rows=rows_a_batch)
    (person,) = sandbox.store.all("prospects")
    assert person["attributes"]["title"] == "new"


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["upsert", "insert"])
def test_a_lost_answer_claims_no_record_that_another_row_made(sync, sandbox, mode):
    sandbox.add_fault(Fault("reset_before", method="POST", after=1))
    rows = [
        schema("accounts"),
        record("accounts", id=1, name="Acme", domain="one.example"),
        record("accounts", id=2, name="Acme", domain="two.example"),
    ]
    run = sync(rows, sync_mode=mode, batch_size_rows=1)
    assert run.counts("accounts") == {"received": 2, "created": 2}
    assert names(sandbox) == [("Acme", "one.example"), ("Acme", "two.example")]


@pytest.mark.slow
def test_a_lost_answer_and_a_lost_race_still_deliver_our_values(sync, sandbox):
    sandbox.add_fault(Fault("reset_before", method="POST"))
    rows = [schema("prospects"), record("prospects", emails="a@x.test", title="Ours")]
    sandbox.add_fault(Fault("delay", method="GET", after=1, seconds=0.2))
    sandbox.profile = replace(sandbox.profile, latency_seconds=0.01)
    run = sync(rows)
    assert run.counts("prospects")["received"] == 1
    (person,) = sandbox.store.all("prospects")
    assert person["attributes"]["title"] == "Ours"


def test_two_rows_of_one_person_whom_a_list_has_hidden_keep_both_values(sync, sandbox):
    sandbox.store.seed("prospects", {"emails": ["a@x.test", "b@x.test"]})
    sandbox.profile = replace(sandbox.profile, list_cap=1)
    sandbox.add_fault(Fault("status", method="GET", status=200, body='{"data": []}'))
    rows = [
        schema("prospects"),
        record("prospects", emails="a@x.test", tags=["A"]),
        record("prospects", emails="b@x.test", tags=["B"]),
    ]
    sync(rows)
    (person,) = sandbox.store.all("prospects")
    assert sorted(person["attributes"]["tags"]) == ["A", "B"]


def test_the_owner_of_any_address_is_seen_even_if_lists_are_cut(sync, sandbox):
    sandbox.store.seed("prospects", {"emails": ["c@x.test"]})
    sandbox.profile = replace(sandbox.profile, list_cap=2)
    run = sync(
        [schema("prospects"), record("prospects", emails=["a@x.test", "b@x.test", "c@x.test"])]
    )
    assert run.counts("prospects") == {"received": 1, "updated": 1}


@pytest.mark.parametrize("rows_a_batch", [1, 2, 3])
def test_abort_ends_whatever_waits_for_what(sync, rows_a_batch):
    messages = [schema("a-prospects"), schema("b-prospects")]
    plan = [("a", "x"), ("b", "x"), ("a", "z"), ("b", None), ("a", "q"), ("b", "w"), ("a", "x")]
    for number, (stream, who) in enumerate(plan):
        emails = f"{who}@x.test" if who else "nope"
        messages += [record(f"{stream}-prospects", emails=emails), state({"n": number})]
    run = sync(messages, on_reject="abort", batch_size_rows=rows_a_batch)
    assert run.exit_code == 1
    assert run.states[-1] == {"n": 2}


def test_abort_at_the_first_record_writes_nothing_behind_it(sync, sandbox):
    rows = [record("prospects", emails="nope")]
    rows += [record("prospects", emails=f"p{n}@x.test") for n in range(5)]
    run = sync([schema("prospects"), *rows], on_reject="abort")
    assert run.exit_code == 1
    assert sandbox.store.count("prospects") == 0


def test_a_null_in_a_stream_map_drops_what_it_names(sync, sandbox):
    messages = [
        schema("prospects"),
        record("prospects", emails="a@x.test", title=SECRET),
        schema("accounts"),
        record("accounts", name="Acme"),
    ]
    sync(messages, stream_maps={"prospects": {"title": None}, "accounts": None})
    (person,) = sandbox.store.all("prospects")
    assert person["attributes"]["title"] is None
    assert sandbox.store.count("accounts") == 0


def test_an_expression_that_fails_rejects_its_record(sync):
    maps = {"prospects": {"title": "title.upper()"}}
    rows = [
        schema("prospects"),
        record("prospects", emails="a@x.test", title="x"),
        record("prospects", emails="b@x.test", title=None),
    ]
    run = sync(rows, stream_maps=maps)
    assert run.counts("prospects") == {"received": 2, "created": 1, "rejected": 1}
    assert run.rejects[-1]["error"]["code"] == "stream_map_failed"


def test_an_invalid_expression_is_a_settings_error(sync):
    run = sync([schema("prospects")], stream_maps={"prospects": {"title": "((("}})
    assert run.exit_code == 1
    assert "stream_maps does not work for prospects" in run.log


@pytest.mark.parametrize("name", ["Yap\u0131 Kredi", "\u0130stanbul", "Acme "])
def test_odd_letters_and_blanks_raise_no_false_alarm(sync, sandbox, name):
    sandbox.store.seed("accounts", {"name": name, "domain": f"{len(name)}.example"})
    run = sync([schema("accounts"), record("accounts", name="New")])
    assert run.counts("accounts") == {"received": 1, "created": 1}


@pytest.mark.parametrize(
    ("held", "ours"),
    [
        ({"optedOut": True, "emailOptedOut": True}, {"emails_opt_status": "opted_in"}),
        ({"emailsOptStatus": "opted_out"}, {"email_opted_out": False}),
        ({"callOptedOut": True}, {"calls_opt_status": None}),
    ],
)
def test_an_opt_out_in_one_attribute_is_not_undone_by_another(sync, sandbox, held, ours):
    person = sandbox.store.seed("prospects", {"emails": ["a@x.test"]} | held)
    before = sandbox.store.get("prospects", person)["attributes"]
    columns = PROSPECTS | {name: {"type": ["null", "string", "boolean"]} for name in ours}
    rows = [schema("prospects", columns), record("prospects", emails="a@x.test", **ours)]
    run = sync(rows, on_null="clear")
    assert run.counts("prospects") == {"received": 1, "unchanged": 1}
    assert sandbox.store.get("prospects", person)["attributes"] == before


def test_upsert_without_a_mapped_match_field_is_a_settings_error(sync):
    run = sync(
        [schema("accounts", {"name": ACCOUNTS["name"]}), record("accounts", name="A")],
        streams=[{"stream": "accounts", "match_on": ["customId"]}],
    )
    assert run.exit_code == 1
    assert "upsert mode needs a column" in run.log


def test_an_update_that_is_never_answered_is_said_in_words(sync, sandbox, monkeypatch):
    monkeypatch.setattr("target_outreach.outreach.outages.LONGEST_WAIT", 0.01)
    sandbox.store.seed("prospects", {"emails": ["a@x.test"]})
    sandbox.add_fault(Fault("truncate", method="PATCH", times=None))
    run = sync([schema("prospects"), record("prospects", emails="a@x.test", title="T")])
    assert run.exit_code == 1
    assert "goes on from STATE" in run.log
    assert "please report" not in run.log


@pytest.mark.parametrize(
    ("rule", "value", "outcome"),
    [
        ({"type": "number", "multipleOf": 1e-38}, 123456789.12, "created"),
        ({"type": "number", "multipleOf": 0.5}, 0.3, "rejected"),
        ({"type": "object", "required": ["a"], "additionalProperties": False}, {}, "rejected"),
    ],
)
def test_a_rule_that_databases_send_is_checked_and_stops_no_run(sync, rule, value, outcome):
    columns = {"emails": PROSPECTS["emails"], "title": rule}
    rows = [schema("prospects", columns), record("prospects", emails="a@x.test", title=value)]
    assert sync(rows).counts("prospects") == {"received": 1, outcome: 1}


def test_a_number_beyond_all_bounds_is_a_bad_line(sync):
    line = '{"type": "STATE", "value": 1e99999999999999999999}'
    run = sync([line])
    assert run.exit_code == 1
    assert "Line 1 of the input" in run.log


def test_a_list_that_outreach_holds_in_a_text_attribute_does_not_stop_the_run(sync, sandbox):
    body = {
        "data": [
            {
                "type": "prospect",
                "id": 1,
                "attributes": {"emails": ["a@x.test", None], "title": ["odd"]},
            }
        ]
    }
    sandbox.store.seed("prospects", {"emails": ["a@x.test"]})
    sandbox.add_fault(Fault("status", method="GET", status=200, body=json.dumps(body)))
    run = sync([schema("prospects"), record("prospects", emails="a@x.test", title="T")])
    assert run.counts("prospects") == {"received": 1, "updated": 1}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"access_token": "tök"}, "access_token must be printable ASCII"),
        ({"user_agent": "a\nb"}, "user_agent must be printable ASCII"),
        ({"api_url": "https://["}, "api_url is no address"),
        ({"rejects_path": "nonsense://bucket"}, "rejects_path cannot be used"),
        ({"sandbox": "/dev/null/x.db"}, "file of sandbox cannot be used"),
    ],
)
def test_a_setting_that_cannot_work_is_said_before_anything_is_sent(
    execute, sandbox, settings, words
):
    run = execute([schema("prospects"), record("prospects", emails="nope")], **settings)
    assert run.exit_code == 1
    assert words in run.log
    assert "please report" not in run.log
    assert sandbox.request_count == 0


def test_a_token_with_a_line_end_behind_it_works(sync):
    run = sync(
        [schema("prospects"), record("prospects", emails="a@x.test")], access_token="token\n"
    )
    assert run.exit_code == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "value", "code", "words"),
    [
        ("MAX_REJECTS", "5%", 0, ""),
        ("ARRAY_FIELDS", "replace", 0, ""),
        ("ARRAY_FIELDS", '{"tags": "replace"}', 0, ""),
        ("BATCH_SIZE_ROWS", "many", 1, "TARGET_OUTREACH_BATCH_SIZE_ROWS must be a whole number"),
        ("STREAMS", "[{", 1, "TARGET_OUTREACH_STREAMS must be JSON"),
        ("BATCH_SIZE_ROWS", '"7"', 1, "must be a whole number, without quotes, such as 500"),
        ("DRY_RUN", '"true"', 1, "TARGET_OUTREACH_DRY_RUN must be true or false, without quotes"),
        ("DRY_RUN", "ja", 1, 'TARGET_OUTREACH_DRY_RUN must be true or false; it is "ja".'),
    ],
)
def test_the_environment_is_read_or_named(  # noqa: PLR0917 - a case of a table
    config, tmp_path, name, value, code, words
):
    environment = {f"TARGET_OUTREACH_{key.upper()}": str(text) for key, text in config.items()}
    env = {"PATH": os.defpath, f"TARGET_OUTREACH_{name}": value} | environment
    text = lines([schema("prospects")]).encode()
    done = processes.run(["--config", "ENV"], text, env=env, cwd=tmp_path)
    assert done.returncode == code, done.stderr.decode()
    assert words in done.stderr.decode()


@pytest.mark.slow
def test_a_pipe_that_does_not_block_is_read_to_its_end(start, sandbox):
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    process = start(stdin=reader)
    os.close(reader)
    with os.fdopen(writer, "w") as pipe:
        pipe.write(lines([schema("prospects"), record("prospects", emails="a@x.test")]))
        pipe.flush()
        time.sleep(1.5)
        pipe.write(lines([record("prospects", emails="b@x.test")]))
    assert process.wait(timeout=20) == 0
    assert sandbox.store.count("prospects") == 2


@pytest.mark.slow
def test_an_answer_in_drips_takes_no_longer_than_request_timeout_seconds(sync, sandbox):
    sandbox.add_fault(Fault("drip", method="GET", seconds=30))
    began = time.monotonic()
    run = sync(
        [schema("prospects"), record("prospects", emails="a@x.test")], request_timeout_seconds=1
    )
    assert run.counts("prospects") == {"received": 1, "created": 1}
    assert time.monotonic() - began < 10


def test_a_proxy_in_the_environment_is_not_asked_for_this_machine(sync, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    run = sync([schema("prospects"), record("prospects", emails="a@x.test")])
    assert run.exit_code == 0


def test_long_lists_are_laid_over_each_other_in_no_time(sync):
    tags = [f"tag {n}" for n in range(20_000)]
    rows = [record("prospects", emails="a@x.test", tags=tags) for _ in range(2)]
    began = time.monotonic()
    sync([schema("prospects"), *rows])
    assert time.monotonic() - began < 10


def test_a_blank_mark_of_deletion_is_none(sync):
    columns = PROSPECTS | {"_sdc_deleted_at": {"type": ["null", "string"]}}
    rows = [schema("prospects", columns), record("prospects", emails="a@x.test")]
    rows[1]["record"]["_sdc_deleted_at"] = " "
    assert sync(rows).counts("prospects") == {"received": 1, "created": 1}
