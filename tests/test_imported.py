"""What came of an import, judged record by record by what Outreach shows afterwards."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from target_outreach.delivery.stream import Delivered
from target_outreach.engine.batch import Expiry, Read
from target_outreach.engine.imported import Alone, Change, Part, are_delivered, judged
from target_outreach.engine.job import Found, Job
from target_outreach.records.catalog import load_catalog
from target_outreach.records.matching import RemoteSnapshot
from target_outreach.records.model import Create, Desired, Resource, Update
from target_outreach.records.rules import Rules

PROSPECTS = load_catalog()["prospects"]
SENT_AT = datetime(2026, 11, 29, 12, 0, 0, 700_000, tzinfo=UTC)
READ_AT = 7.0
BEFORE, AFTER = "2026-11-29T11:59:59.000Z", "2026-11-29T12:00:00.000Z"
NEW = {
    "emails": ["Ann@x.test"],
    "title": "CTO",
    "tags": ["vip"],
    "optedOut": True,
    "workPhones": ["(415) 555-0100"],
}
KEPT = {**NEW, "emails": ["ann@x.test"], "workPhones": ["+14155550100"]}


def change(decided):
    job = Job(
        object=PROSPECTS,
        desired=Desired(attributes=decided.attributes, relationships=decided.relationships),
        decided=decided,
        rules=Rules(sync_mode="upsert", match_fields=("emails",)),
        asked=(*NEW, "account"),
        read=Read(0.0, 0),
        expiry=Expiry(),
    )
    return Change(None, job)


def resource(number, created=AFTER, links=(("account", 5),), **values):
    return Resource(number, {"createdAt": created, **KEPT, **values}, dict(links))


def judge(decided, *shown):
    one = change(decided)
    snapshot = RemoteSnapshot(PROSPECTS, () if one.field == "id" else (one.field,))
    for found in shown:
        snapshot.put(found)
    return judged(one, snapshot, SENT_AT, READ_AT)


CREATE = Create(NEW, {"account": 5}, {"company": 1})


def test_a_new_record_that_is_there_once_as_it_was_sent_is_created():
    result = judge(CREATE, resource(1), resource(2, emails=["other@x.test"]))
    assert result == Delivered("created", resource(1), CREATE, (), is_imported=True)
    assert are_delivered([result, result])
    assert not are_delivered([result, Alone()])


def test_a_new_record_that_is_not_there_is_to_be_created_by_itself():
    assert judge(CREATE, resource(2, emails=["other@x.test"])) == Alone()


@pytest.mark.parametrize(
    "shown",
    [
        (resource(1), resource(2)),
        (resource(1, created=BEFORE),),
        (resource(1, created="soon"),),
        (resource(1, title="CEO"),),
        (resource(1, tags=["theirs"]),),
        (resource(1, links=(("account", 6),)),),
        (resource(1, created=BEFORE, tags=[]),),
    ],
)
def test_what_may_be_somebody_elses_is_planned_again(shown):
    assert judge(CREATE, *shown) == Found(shown, READ_AT)


@pytest.mark.parametrize(
    ("shown", "values", "links"),
    [
        (resource(1, tags=[]), {"tags": ["vip"]}, {}),
        (resource(1, title=None, optedOut=False), {"title": "CTO", "optedOut": True}, {}),
        (resource(1, links=(("account", None),)), {}, {"account": 5}),
        (resource(1, links=()), {}, {"account": 5}),
    ],
)
def test_what_an_import_ignored_of_a_new_record_is_still_to_be_written(shown, values, links):
    assert judge(CREATE, shown) == Part(Update(shown, values, links, {}), READ_AT)


BEFORE_UPDATE = Resource(1, {"title": "old", "tags": ["a"]}, {})
UPDATE = Update(BEFORE_UPDATE, {"title": "CTO", "tags": ["a", "b"]}, {}, {})


def test_an_update_that_has_arrived_is_delivered_and_one_that_has_not_is_written_by_itself():
    now = Resource(1, {"title": "CTO", "tags": ["a", "b"]}, {})
    assert judge(UPDATE, now) == Delivered("updated", now, UPDATE, (), is_imported=True)
    assert judge(UPDATE, BEFORE_UPDATE) == Alone(BEFORE_UPDATE, READ_AT)
    assert judge(UPDATE) == Alone(None, READ_AT)
    in_its_form = Resource(1, {"title": "CTO", "tags": ["B"]}, {})
    assert judge(UPDATE, in_its_form).kept_differently == ("tags",)


def test_what_is_sent_and_what_it_is_looked_for_by():
    assert (change(CREATE).field, change(UPDATE).field) == ("emails", "id")
    assert change(UPDATE).place == ("prospects", 1)
    assert "id" not in change(CREATE).document["data"]
    assert change(UPDATE).document["data"]["id"] == 1
    link = {"account": {"data": {"type": "account", "id": 5}}}
    assert change(CREATE).document["data"]["relationships"] == link
