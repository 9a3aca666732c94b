"""What is decided about one record, and about several of one key."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from target_outreach.errors import RecordFault
from target_outreach.records import planning
from target_outreach.records.catalog import load_catalog
from target_outreach.records.folding import fold
from target_outreach.records.matching import (
    RemoteSnapshot,
    choose,
    comparable,
    keys_of,
    match,
    order_keys,
)
from target_outreach.records.model import (
    Create,
    Desired,
    Key,
    Reference,
    Resource,
    Skip,
    Unchanged,
    Update,
)
from target_outreach.records.opt_outs import (
    has_opted_out_of_mail,
    only_opt_out,
    with_opt_outs,
)
from target_outreach.records.planning import (
    depends_on_account,
    needs_fresh_read,
    plan,
    plan_unseen,
    references_to_find,
)
from target_outreach.records.rules import Rules
from target_outreach.records.versions import (
    lay_over,
)

CATALOG = load_catalog()
PROSPECTS, ACCOUNTS = CATALOG["prospects"], CATALOG["accounts"]
OPPORTUNITIES = CATALOG["opportunities"]
BY_MAIL = ("emails",)
BY_NAME = ("customId", "domain", "name")
BY_DEAL = ("customId", "name")


def person(**attributes):
    return Desired(attributes={"emails": ["a@x.test"]} | attributes)


def held(resource_id=1, account=None, **attributes):
    return Resource(resource_id, {"emails": ["a@x.test"]} | attributes, {"account": account})


def changes(desired, found, **rules):
    decided = plan(PROSPECTS, desired, found, Rules(match_fields=BY_MAIL, **rules))
    return dict(decided.attributes) if isinstance(decided, Update) else {}


@pytest.mark.parametrize(
    ("ours", "theirs", "rules", "expected"),
    [
        ({"title": "B"}, {"title": "A"}, {}, {"title": "B"}),
        ({"title": "A"}, {"title": "A"}, {}, {}),
        ({"title": None}, {"title": "A"}, {}, {}),
        ({"title": None, "lastName": "B"}, {"title": "A"}, {}, {"lastName": "B"}),
        ({"title": None}, {"title": "A"}, {"on_null": "clear"}, {"title": None}),
        ({"tags": None}, {"tags": ["a"]}, {"on_null": "clear"}, {"tags": []}),
        ({"emails": None}, {}, {"on_null": "clear"}, {}),
        ({"emails": []}, {}, {"array_fields": "replace"}, {}),
        ({"tags": ["b"]}, {"tags": ["a"]}, {}, {"tags": ["a", "b"]}),
        ({"tags": ["b", "a"]}, {"tags": ["a", "b"]}, {}, {}),
        ({"tags": ["b"]}, {"tags": ["a"]}, {"array_fields": "merge_first"}, {"tags": ["b", "a"]}),
        ({"tags": ["b"]}, {"tags": ["a", "b"]}, {"array_fields": "replace"}, {"tags": ["b"]}),
        ({"tags": []}, {"tags": ["a"]}, {"array_fields": "replace"}, {"tags": []}),
        ({"tags": ["b"]}, {"tags": ["a"]}, {"array_fields": {"tags": "replace"}}, {"tags": ["b"]}),
        ({"emails": ["A@X.test"]}, {}, {"array_fields": "replace"}, {}),
        ({"emails": ["b@x.test"]}, {}, {}, {"emails": ["a@x.test", "b@x.test"]}),
        ({"workPhones": ["(415) 555-0100"]}, {"workPhones": ["+14155550100"]}, {}, {}),
        (
            {"workPhones": ["(415) 555-0100", "2"]},
            {"workPhones": ["+14155550100"]},
            {"array_fields": "replace"},
            {"workPhones": ["+14155550100", "2"]},
        ),
        (
            {"workPhones": ["9"]},
            {"workPhones": ["5550100", "+14155550100"]},
            {},
            {"workPhones": ["5550100", "+14155550100", "9"]},
        ),
        ({"title": "B"}, {"title": "A"}, {"field_rules": {"title": "never"}}, {}),
        ({"title": "B"}, {"title": "A"}, {"field_rules": {"title": "on_create"}}, {}),
        ({"title": "B"}, {"title": "A"}, {"field_rules": {"title": "if_empty"}}, {}),
        ({"title": "B"}, {"title": ""}, {"field_rules": {"title": "if_empty"}}, {"title": "B"}),
        ({"optedOut": False}, {"optedOut": True}, {}, {}),
        ({"optedOut": None}, {"optedOut": True}, {"on_null": "clear"}, {}),
        ({"optedOut": True}, {"optedOut": False}, {}, {"optedOut": True}),
        ({"optedOut": False}, {"optedOut": True}, {"allow_opt_in": True}, {"optedOut": False}),
        ({"emailsOptStatus": "opted_in"}, {"emailsOptStatus": "opted_out"}, {}, {}),
        (
            {"emailsOptStatus": "opted_out"},
            {"emailsOptStatus": "opted_in"},
            {},
            {"emailsOptStatus": "opted_out"},
        ),
    ],
)
def test_an_update_sends_what_the_rules_allow_and_no_more(ours, theirs, rules, expected):
    assert changes(person(**ours), held(**theirs), **rules) == expected


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"emailOptedOut": False}, {"optedOut": True}),
        ({"emailOptedOut": False}, {"emailsOptStatus": "opted_out"}),
        ({"emailsOptStatus": "opted_in"}, {"optedOut": True}),
        ({"emailsOptStatus": "opted_in"}, {"emailOptedOut": True}),
        ({"callOptedOut": False}, {"optedOut": True}),
        ({"callOptedOut": False}, {"callsOptStatus": "opted_out"}),
        ({"callsOptStatus": "opted_in"}, {"optedOut": True}),
        ({"callsOptStatus": "opted_in"}, {"callOptedOut": True}),
    ],
)
def test_an_opt_out_protects_what_is_related_to_it(ours, theirs):
    assert changes(person(**ours), held(**theirs)) == {}
    assert changes(person(**ours), held(**theirs), allow_opt_in=True) == ours


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"emailOptedOut": True}, {"optedOut": True}),
        ({"emailsOptStatus": "opted_out"}, {"optedOut": True}),
        ({"callsOptStatus": "opted_out"}, {"callOptedOut": True}),
        ({"callOptedOut": False}, {"emailOptedOut": True}),
        ({"emailsOptStatus": "opted_in"}, {"callsOptStatus": "opted_out"}),
        ({"optedOut": False}, {"emailOptedOut": True}),
        ({"title": "T"}, {"optedOut": True}),
    ],
)
def test_an_opt_out_stops_neither_another_nor_what_it_is_not_about(ours, theirs):
    assert changes(person(**ours), held(**theirs)) == ours


def test_an_update_names_its_record_and_the_changes_that_a_rule_prevents():
    found = held(title="A", optedOut=True)
    ours = person(title="B", optedOut=False)
    decided = plan(PROSPECTS, ours, found, Rules(match_fields=BY_MAIL))
    assert decided == Update(found, {"title": "B"}, {}, {"optedOut": 1})
    assert plan(PROSPECTS, person(), found, Rules()) == Unchanged(found, {})


def test_company_is_left_alone_once_an_account_is_linked():
    ours = person(company="Ours")
    assert changes(ours, held(company="Theirs")) == {"company": "Ours"}
    assert changes(ours, held(company="Theirs", account=3)) == {}
    always = {"company": "always"}
    assert changes(ours, held(company="T", account=3), field_rules=always) == {"company": "Ours"}


@pytest.mark.parametrize(
    ("relationships", "on_null", "rule", "is_written"),
    [
        ({"account": None}, "clear", "always", True),
        ({"account": None}, "ignore", "always", False),
        ({}, "clear", "always", False),
        ({"owner": None}, "clear", "always", False),
        ({"account": None}, "clear", "never", False),
        ({"account": None}, "clear", "on_create", False),
        ({"account": None}, "clear", "if_empty", False),
    ],
)
def test_a_row_that_removes_the_account_may_say_the_company(
    relationships, on_null, rule, is_written
):
    ours = Desired(attributes={"company": "Ours"}, relationships=relationships)
    rules = Rules(on_null=on_null, field_rules={"account": rule})
    decided = plan(PROSPECTS, ours, held(company="Theirs", account=3), rules)
    written = getattr(decided, "attributes", {})
    assert written == ({"company": "Ours"} if is_written else {})


@pytest.mark.parametrize(
    ("account", "field_rules", "company", "held_back"),
    [
        (5, {}, {}, {"company": 1}),
        (5, {"company": "always"}, {"company": "Ours"}, {}),
        (None, {}, {"company": "Ours"}, {}),
        (None, {"company": "never"}, {}, {"company": 1}),
    ],
)
def test_a_create_leaves_company_to_the_account_that_it_links(
    account, field_rules, company, held_back
):
    ours = Desired(
        attributes={"emails": ["a@x.test"], "company": "Ours", "title": "T"},
        relationships={"account": account},
    )
    decided = plan(PROSPECTS, ours, None, Rules(field_rules=field_rules))
    links = {"account": account} if account else {}
    assert decided == Create({"emails": ["a@x.test"], "title": "T"} | company, links, held_back)


def test_an_account_that_the_record_is_to_link_names_the_company():
    ours = Desired(attributes={"company": "Ours"}, relationships={"account": 5})
    decided = plan(PROSPECTS, ours, held(company="Theirs"), Rules())
    assert (decided.attributes, decided.relationships) == ({}, {"account": 5})


def test_protected_values_are_counted_only_where_they_differ():
    rules = Rules(match_fields=BY_MAIL)
    decided = plan(PROSPECTS, person(optedOut=False), held(optedOut=True), rules)
    assert isinstance(decided, Unchanged)
    assert decided.held_back == {"optedOut": 1}
    decided = plan(PROSPECTS, person(optedOut=False), held(optedOut=False), rules)
    assert not decided.held_back


def test_links_are_set_by_id_and_cleared_only_on_request():
    ours = Desired(attributes={"emails": ["a@x.test"]}, relationships={"account": 5, "owner": None})
    found = Resource(1, {"emails": ["a@x.test"]}, {"account": 4, "owner": 9})
    assert plan(PROSPECTS, ours, found, Rules()).relationships == {"account": 5}
    cleared = plan(PROSPECTS, ours, found, Rules(on_null="clear")).relationships
    assert cleared == {"account": 5, "owner": None}


def test_a_create_sends_what_has_a_value():
    rules = Rules(match_fields=BY_MAIL, field_rules={"title": "never", "nickname": "if_empty"})
    decided = plan(PROSPECTS, person(tags=[], company=None, title="X", nickname="N"), None, rules)
    assert decided == Create({"emails": ["a@x.test"], "nickname": "N"}, {}, {"title": 1})


NOT_FOUND = (
    "record_not_found",
    "id",
    "Outreach has no record of this id, or the token may not see it.",
)
MISSING = ("missing_required", "emails", "A new record needs a value in emails.")


@pytest.mark.parametrize(
    ("desired", "mode", "outcome"),
    [
        (person(), "update", Skip("no_match")),
        (Desired(id=5), "update", NOT_FOUND),
        (Desired(id=5, attributes={"emails": ["a@x.test"]}), "upsert", NOT_FOUND),
        (Desired(attributes={"title": "X"}), "upsert", MISSING),
        (Desired(attributes={"emails": []}), "insert", MISSING),
    ],
)
def test_what_is_not_found_is_created_only_where_it_may_be(desired, mode, outcome):
    rules = Rules(sync_mode=mode, match_fields=BY_MAIL)
    if isinstance(outcome, Skip):
        assert plan(PROSPECTS, desired, None, rules) == outcome
        return
    with pytest.raises(RecordFault) as caught:
        plan(PROSPECTS, desired, None, rules)
    fault = caught.value
    assert (fault.code, fault.field, str(fault)) == outcome


@pytest.mark.parametrize(
    ("values", "rules"),
    [({}, {}), ({"custom9": None}, {}), ({"custom9": "X"}, {"field_rules": {"custom9": "never"}})],
)
def test_what_the_organisation_requires_is_needed_to_create_and_not_to_update(values, rules):
    strict = replace(PROSPECTS, required=("custom9",))
    rules = Rules(match_fields=BY_MAIL, **rules)
    with pytest.raises(RecordFault) as caught:
        plan(strict, person(**values), None, rules)
    fault = caught.value
    assert (fault.code, fault.field) == ("missing_required", "custom9")
    assert str(fault) == "A new record needs a value in custom9."
    assert isinstance(plan(strict, person(title="X", **values), held(), rules), Update)
    assert isinstance(plan(strict, person(custom9="X"), None, Rules()), Create)


def test_insert_creates_whatever_is_there_already():
    decided = plan(PROSPECTS, person(title="X"), held(), Rules(sync_mode="insert"))
    assert decided == Create({"emails": ["a@x.test"], "title": "X"}, {}, {})


@pytest.mark.parametrize(
    ("object_type", "decided", "rules", "expected"),
    [
        (ACCOUNTS, Create({"name": "A"}, {}, {}), {}, True),
        (ACCOUNTS, Create({"name": "A"}, {}, {}), {"sync_mode": "insert"}, False),
        (PROSPECTS, Create({"emails": ["a@x.test"]}, {}, {}), {}, False),
        (PROSPECTS, Update(held(), {"title": "A"}, {}, {}), {}, False),
        (PROSPECTS, Update(held(), {"tags": ["a"]}, {}, {}), {}, True),
        (PROSPECTS, Update(held(), {"title": "A", "tags": ["a"]}, {}, {}), {}, True),
        (
            PROSPECTS,
            Update(held(), {"title": "A"}, {}, {}),
            {"field_rules": {"title": "if_empty"}},
            True,
        ),
        (
            PROSPECTS,
            Update(held(), {"title": "A"}, {}, {}),
            {"field_rules": {"nickname": "if_empty"}},
            False,
        ),
        (PROSPECTS, Unchanged(held(), {}), {}, False),
        (PROSPECTS, Skip("no_match"), {}, False),
    ],
)
def test_a_plan_that_rests_on_what_was_read_needs_a_fresh_read(
    object_type, decided, rules, expected
):
    assert needs_fresh_read(object_type, decided, Rules(**rules)) is expected


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("name", " Acme \t INC ", {"acme inc"}),
        ("name", "Gießerei", {"giesserei"}),
        ("name", None, set()),
        ("name", " ", set()),
        ("domain", "https://www.Acme.test:443/about", {"acme.test"}),
        ("domain", "n/a", set()),
        ("customId", " A1 ", {"A1"}),
        ("customId", "A  1", {"A  1"}),
        ("customId", 12, {"12"}),
        ("customId", 12.0, {"12"}),
        ("customId", 12.5, {"12.5"}),
        (
            "tags",
            ["A@X.test", " a@x.test ", "b@x.test", "", " ", None, 5],
            {"a@x.test", "b@x.test"},
        ),
    ],
)
def test_a_match_field_is_compared_without_what_does_not_count(field, value, expected):
    assert comparable(ACCOUNTS, field, value) == expected


@pytest.mark.parametrize(
    ("desired", "found_by", "in_common"),
    [
        (Desired(id=5), [Key("id", 5)], [Key("id", 5)]),
        (
            Desired(id=5, attributes={"name": "Acme"}),
            [Key("id", 5)],
            [Key("id", 5), Key("name", "acme")],
        ),
        (
            Desired(attributes={"name": "Acme", "domain": "a.test", "customId": None}),
            [Key("domain", "a.test"), Key("name", "acme")],
            [Key("domain", "a.test"), Key("name", "acme")],
        ),
        (Desired(attributes={"industry": "Tools"}), [], []),
    ],
)
def test_a_record_is_found_by_its_id_alone_but_shares_all_its_keys(desired, found_by, in_common):
    assert keys_of(ACCOUNTS, desired, BY_NAME) == found_by
    assert order_keys(ACCOUNTS, desired, BY_NAME) == in_common


def company(resource_id, **attributes):
    created = {"createdAt": f"2026-01-0{resource_id}T00:00:00.000Z"}
    return Resource(resource_id, created | attributes, {})


def matched(desired, *companies):
    snapshot = RemoteSnapshot(ACCOUNTS, BY_NAME)
    for one in companies:
        snapshot.put(one)
    return [found.id for found in match(Desired(attributes=desired), snapshot, BY_NAME)]


@pytest.mark.parametrize(
    ("desired", "companies", "ids"),
    [
        ({"name": "Acme"}, [company(1, name="ACME ")], [1]),
        ({"name": "Acme", "domain": "a.test"}, [company(1, name="Acme", domain="b.test")], []),
        ({"name": "Acme", "domain": "a.test"}, [company(1, name="Acme", domain=None)], [1]),
        ({"name": "Acme"}, [company(1, name="Acme", domain="b.test")], [1]),
        (
            {"name": "Acme", "domain": "https://www.a.test/"},
            [company(1, name="Acme"), company(2, name="Other", domain="www.a.test")],
            [2],
        ),
        ({"customId": "a1", "name": "Acme"}, [company(1, customId="A1", name="Acme")], []),
        ({"name": "Acme"}, [company(2, name="Acme"), company(1, name="acme")], [1, 2]),
        ({"domain": "n/a", "name": "B"}, [company(1, domain="n/a", name="A")], []),
    ],
)
def test_the_first_match_field_that_fits_decides(desired, companies, ids):
    assert matched(desired, *companies) == ids


def test_matches_of_one_age_or_of_none_are_in_the_order_of_their_ids():
    ageless = [Resource(number, {"name": "Acme"}, {}) for number in (3, 2)]
    assert matched({"name": "Acme"}, company(1, name="Acme"), *ageless) == [2, 3, 1]


@pytest.mark.parametrize(
    ("ids", "policy", "expected"),
    [
        ([1, 2, 3], "reject", None),
        ([1, 2, 3], "oldest", 1),
        ([1, 2, 3], "newest", 3),
        ([2], "reject", 2),
        ([2], "newest", 2),
        ([], "oldest", None),
    ],
)
def test_one_of_several_matches_is_chosen_by_age_or_none(ids, policy, expected):
    chosen = choose([company(number) for number in ids], policy)
    assert (chosen.id if chosen else None) == expected


@pytest.mark.parametrize("count", [2, 3])
def test_matches_come_oldest_first_however_few_they_are(count):
    snapshot = RemoteSnapshot(ACCOUNTS, BY_NAME)
    born = {number: f"2026-01-0{9 - number}T00:00:00.000Z" for number in range(1, count + 1)}
    for number, created in born.items():
        snapshot.put(company(number, name="Acme", createdAt=created))
    found = match(Desired(attributes={"name": "Acme"}), snapshot, BY_NAME)
    assert [resource.id for resource in found] == sorted(born, reverse=True)


def test_a_record_with_an_id_is_about_the_one_of_that_id_and_no_other():
    snapshot = RemoteSnapshot(ACCOUNTS, BY_NAME)
    for number in (1, 2):
        snapshot.put(company(number, name="Acme"))
    named = {"name": "Acme"}
    assert match(Desired(id=2, attributes=named), snapshot, BY_NAME) == [company(2, name="Acme")]
    assert match(Desired(id=3, attributes=named), snapshot, BY_NAME) == []


def test_what_is_known_is_had_by_id_and_by_each_key():
    snapshot = RemoteSnapshot(ACCOUNTS, BY_NAME)
    acme = company(1, name="Acme", domain="a.test")
    snapshot.put(acme)
    assert snapshot.having(Key("id", 1)) == snapshot.having(Key("name", "acme")) == [acme]
    assert snapshot.having(Key("id", 2)) == snapshot.having(Key("name", "other")) == []
    assert snapshot.known_keys(1) == (Key("id", 1), Key("domain", "a.test"), Key("name", "acme"))
    assert snapshot.known_keys(2) == (Key("id", 2),)


def test_the_version_of_a_picture_grows_whenever_it_may_have_changed():
    snapshot = RemoteSnapshot(ACCOUNTS, BY_NAME)
    versions = [snapshot.version]
    for change in (
        lambda: snapshot.put(company(1, name="Acme")),
        lambda: snapshot.put(company(2, name="Acme")),
        lambda: snapshot.put(company(1, name="Other")),
        lambda: snapshot.forget(2),
    ):
        change()
        versions.append(snapshot.version)
    assert versions[0] == 0
    assert all(one < other for one, other in pairwise(versions))


def test_what_is_forgotten_is_had_by_no_key_and_takes_nobody_along():
    snapshot = RemoteSnapshot(ACCOUNTS, BY_NAME)
    first, second = company(1, name="Acme"), company(2, name="Acme")
    snapshot.put(first)
    snapshot.put(second)
    snapshot.forget(1)
    snapshot.forget(3)
    assert snapshot.get(1) is None
    assert snapshot.get(2) == second
    assert snapshot.known_keys(1) == (Key("id", 1),)
    assert list(snapshot) == snapshot.having(Key("name", "acme")) == [second]
    snapshot.forget(2)
    assert snapshot.having(Key("name", "acme")) == []


def test_what_was_written_replaces_what_was_known():
    snapshot = RemoteSnapshot(PROSPECTS, BY_MAIL)
    snapshot.put(Resource(1, {"emails": ["a@x.test"]}, {}))
    snapshot.put(Resource(1, {"emails": ["b@x.test"]}, {}))
    ours = Desired(attributes={"emails": ["a@x.test"]})
    assert match(ours, snapshot, BY_MAIL) == []
    assert len(list(snapshot)) == 1


def folded(*records, **rules):
    settings = Rules(match_fields=BY_MAIL, **rules)
    return fold(PROSPECTS, [(n, record) for n, record in enumerate(records)], settings)


def test_records_of_one_key_become_one_write():
    (group,) = folded(person(title="X"), person(title=None, workPhones=["1"]))
    assert group.members == [0, 1]
    assert group.desired.attributes == {
        "emails": ["a@x.test"],
        "title": "X",
        "workPhones": ["1"],
    }


def test_records_that_share_only_some_addresses_wait_for_each_other():
    first, second, third = folded(
        person(), person(emails=["a@x.test", "b@x.test"]), person(title="late")
    )
    assert second.waits_for == {first}
    assert third.waits_for == {second}


def test_records_of_one_key_become_one_write_whatever_is_between_them():
    ann, bob = folded(person(title="A"), person(emails=["b@x.test"]), person(title="B"))
    assert (ann.members, bob.members) == ([0, 2], [1])
    assert ann.desired.attributes["title"] == "B"


def test_accounts_are_folded_by_their_name_and_domain():
    records = [Desired(attributes={"name": name, "domain": "a.test"}) for name in ("Acme", "ACME")]
    (group,) = fold(ACCOUNTS, enumerate(records), Rules(match_fields=BY_NAME))
    assert group.members == [0, 1]
    assert group.keys == {Key("name", "acme"), Key("domain", "a.test")}


def test_insert_never_folds_but_keeps_the_order():
    first, second = folded(person(), person(), sync_mode="insert")
    assert second.waits_for == {first}


@pytest.mark.parametrize(
    ("earlier", "later", "rules", "groups"),
    [
        ({"tags": None}, {"tags": ["a"]}, {"on_null": "clear"}, 2),
        ({"tags": None}, {"tags": []}, {"on_null": "clear"}, 2),
        ({"tags": None}, {"tags": ["a"]}, {}, 1),
        ({"tags": None}, {"title": "B"}, {"on_null": "clear"}, 1),
        ({"title": None}, {"title": "B"}, {"on_null": "clear"}, 1),
        ({"tags": ["a"]}, {"tags": ["b"]}, {"on_null": "clear"}, 1),
        ({"tags": None}, {"tags": ["a"]}, {"on_null": "clear", "array_fields": "replace"}, 1),
        (
            {"tags": None},
            {"tags": ["a"]},
            {"on_null": "clear", "array_fields": {"tags": "replace"}},
            1,
        ),
    ],
)
def test_only_an_array_that_is_emptied_and_then_added_to_needs_two_writes(
    earlier, later, rules, groups
):
    assert len(folded(person(**earlier), person(**later), **rules)) == groups


LOCAL, AMERICAN, GERMAN = "4155550100", "+1 415 555 0100", "+49 415 555 0100"


@pytest.mark.parametrize(
    ("earlier", "later", "rules", "groups"),
    [
        (None, [AMERICAN], {"on_null": "clear", "array_fields": "replace"}, 2),
        ([], [AMERICAN], {"array_fields": "replace"}, 2),
        (["2125550100"], [AMERICAN], {"array_fields": "replace"}, 2),
        ([LOCAL], [AMERICAN], {}, 2),
        ([LOCAL], [AMERICAN], {"array_fields": "merge_first"}, 2),
        ([LOCAL], [LOCAL], {"array_fields": "replace"}, 1),
        ([LOCAL], ["2125550100"], {}, 1),
        (None, [LOCAL], {"array_fields": "replace"}, 1),
        ([LOCAL], None, {"on_null": "clear", "array_fields": "replace"}, 1),
    ],
)
def test_numbers_whose_form_the_first_write_may_change_need_two_writes(
    earlier, later, rules, groups
):
    records = person(workPhones=earlier), person(workPhones=later)
    assert len(folded(*records, **rules)) == groups


ONCE = {"field_rules": {"title": "on_create"}}
EMPTY = {"field_rules": {"title": "if_empty"}}
CLEAR = {"on_null": "clear"}


@pytest.mark.parametrize(
    ("earlier", "later", "rules", "expected"),
    [
        ({"title": "A"}, {"title": "B"}, {}, {"title": "B"}),
        ({"title": "A"}, {}, {}, {"title": "A"}),
        ({}, {"title": "B"}, {}, {"title": "B"}),
        ({}, {"title": None}, {}, {"title": None}),
        ({"title": "A"}, {"title": None}, {}, {"title": "A"}),
        ({"title": "A"}, {"title": None}, CLEAR, {"title": None}),
        ({"title": None}, {"title": "B"}, {}, {"title": "B"}),
        ({"title": "A"}, {"title": "B"}, EMPTY, {"title": "A"}),
        ({"title": None}, {"title": "B"}, EMPTY, {"title": "B"}),
        ({}, {"title": "B"}, EMPTY, {"title": "B"}),
        ({"title": "A"}, {"title": None}, EMPTY | CLEAR, {"title": "A"}),
        ({"title": "A"}, {"title": "B"}, ONCE, {"title": "A"}),
        ({}, {"title": "B", "nickname": "N"}, ONCE, {"nickname": "N"}),
        ({"tags": ["a"]}, {"tags": ["b"]}, {}, {"tags": ["a", "b"]}),
        ({"tags": ["a"]}, {"tags": ["b"]}, {"array_fields": "merge_first"}, {"tags": ["b", "a"]}),
        ({"tags": ["a"]}, {"tags": ["b"]}, {"array_fields": "replace"}, {"tags": ["b"]}),
        ({"tags": ["a"]}, {"tags": ["b"]}, {"array_fields": {"tags": "replace"}}, {"tags": ["b"]}),
        ({"tags": ["a"]}, {"tags": None}, CLEAR, {"tags": None}),
        ({"optedOut": True}, {"optedOut": False}, {}, {"optedOut": True}),
        ({"optedOut": True}, {"optedOut": None}, CLEAR, {"optedOut": True}),
        ({"optedOut": True}, {"emailsOptStatus": "opted_in"}, {}, {"optedOut": True}),
        (
            {"emailsOptStatus": "opted_out"},
            {"emailOptedOut": False},
            {},
            {"emailsOptStatus": "opted_out"},
        ),
        (
            {"optedOut": True},
            {"emailsOptStatus": "opted_out"},
            {},
            {"optedOut": True, "emailsOptStatus": "opted_out"},
        ),
        (
            {"optedOut": True},
            {"emailOptedOut": False},
            {"allow_opt_in": True},
            {"optedOut": True, "emailOptedOut": False},
        ),
        ({"optedOut": False}, {"optedOut": True}, {}, {"optedOut": True}),
        ({"optedOut": True}, {"optedOut": False}, {"allow_opt_in": True}, {"optedOut": False}),
        (
            {"optedOut": True, "emailOptedOut": False},
            {"emailOptedOut": True},
            {},
            {"optedOut": True, "emailOptedOut": True},
        ),
        (
            {"optedOut": True, "emailsOptStatus": "opted_in"},
            {"emailsOptStatus": "opted_out"},
            {},
            {"optedOut": True, "emailsOptStatus": "opted_out"},
        ),
        (
            {"optedOut": True, "emailOptedOut": True},
            {"emailOptedOut": None},
            CLEAR,
            {"optedOut": True, "emailOptedOut": True},
        ),
    ],
)
def test_the_later_record_is_laid_over_the_earlier_by_the_rules(earlier, later, rules, expected):
    (group,) = folded(person(**earlier), person(**later), **rules)
    assert group.desired.attributes == {"emails": ["a@x.test"]} | expected


@pytest.mark.parametrize(
    ("earlier", "later", "on_null", "expected"),
    [
        ({"account": 1}, {"account": 2}, "ignore", {"account": 2}),
        ({"account": 1}, {"owner": 2}, "ignore", {"account": 1, "owner": 2}),
        ({"account": 1}, {}, "ignore", {"account": 1}),
        ({"account": 1}, {"account": None}, "ignore", {"account": 1}),
        ({"account": 1}, {"account": None}, "clear", {"account": None}),
        ({}, {"account": None}, "ignore", {"account": None}),
    ],
)
def test_the_later_link_counts_and_a_null_only_clears_on_request(earlier, later, on_null, expected):
    mail = {"emails": ["a@x.test"]}
    records = [Desired(attributes=mail, relationships=links) for links in (earlier, later)]
    (group,) = folded(*records, on_null=on_null)
    assert group.desired.relationships == expected


NAMES = st.sampled_from(["title", "tags", "optedOut", "company", "workPhones"])
VALUES = {
    "title": st.sampled_from([None, "A", "B"]),
    "company": st.sampled_from([None, "A", "B"]),
    "optedOut": st.sampled_from([None, True, False]),
    "tags": st.sampled_from([None, ["a"], ["b"], ["b", "a"]]),
    "workPhones": st.sampled_from([None, [], [LOCAL], [AMERICAN, "2"], [GERMAN], ["2125550100"]]),
}
ATTRIBUTES = st.fixed_dictionaries({}, optional=VALUES)


def after(resource, decided):
    """What Outreach holds after a plan."""
    if isinstance(decided, Create):
        return Resource(1, dict(decided.attributes), {})
    if isinstance(decided, Update):
        return Resource(1, {**resource.attributes, **decided.attributes}, resource.links)
    return resource


def settled(attributes):
    """Values up to what Outreach itself makes equal."""
    return {name: value for name, value in attributes.items() if value not in (None, [], False)}


@given(
    st.lists(ATTRIBUTES, min_size=2, max_size=4),
    st.one_of(st.none(), ATTRIBUTES),
    st.sampled_from(["ignore", "clear"]),
    st.sampled_from(["merge", "merge_first", "replace"]),
    st.dictionaries(NAMES, st.sampled_from(["always", "never", "on_create", "if_empty"])),
)
def test_one_folded_write_leaves_what_all_writes_would_have(
    records, before, on_null, array_rule, field_rules
):
    rules = Rules(
        match_fields=BY_MAIL,
        on_null=on_null,
        array_fields=array_rule,
        field_rules=field_rules,
    )
    start = None if before is None else held(**before)
    one_by_one, at_once = start, start
    for attributes in records:
        one_by_one = after(one_by_one, plan(PROSPECTS, person(**attributes), one_by_one, rules))
    for group in fold(PROSPECTS, [(n, person(**r)) for n, r in enumerate(records)], rules):
        at_once = after(at_once, plan(PROSPECTS, group.desired, at_once, rules))
    assert settled(at_once.attributes) == settled(one_by_one.attributes)


@given(ATTRIBUTES, ATTRIBUTES, st.sampled_from(["merge", "merge_first", "replace"]))
def test_planning_again_after_a_write_plans_nothing(ours, theirs, array_rule):
    rules = Rules(match_fields=BY_MAIL, array_fields=array_rule)
    resource = held(**theirs)
    once = after(resource, plan(PROSPECTS, person(**ours), resource, rules))
    assert isinstance(plan(PROSPECTS, person(**ours), once, rules), Unchanged)


def as_outreach_says_it(value):
    """Forms in which Outreach may hold a value, the very same included."""
    others = {None: ["", [], False], True: [False, None], False: [None, True]}
    if isinstance(value, list):
        return st.just(list(value)) | st.lists(st.sampled_from([*value, "15550100", "5550100"]))
    return st.sampled_from([value, *others.get(value, ["B", None, 1])])


@given(
    st.fixed_dictionaries(
        {},
        optional=VALUES
        | {
            "workPhones": st.lists(
                st.sampled_from(["15550100", "5550100", "+1 555 0100", "2"]), unique=True
            ),
            "score": st.sampled_from([None, 1, 1.5, 0]),
            "addedAt": st.sampled_from([None, "2026-03-31T09:30:00.000Z"]),
        },
    ),
    st.sampled_from(["ignore", "clear"]),
    st.sampled_from(["merge", "merge_first", "replace"]),
    st.sampled_from(["outreach", "none"]),
    st.data(),
)
def test_what_is_held_word_for_word_is_planned_as_if_it_had_been_looked_at(
    ours, on_null, array_rule, detection, data
):
    theirs = {name: data.draw(as_outreach_says_it(value)) for name, value in ours.items()}
    rules = Rules(
        match_fields=BY_MAIL, on_null=on_null, array_fields=array_rule, change_detection=detection
    )
    quick = plan(PROSPECTS, person(**ours), held(**theirs), rules)
    with patch.object(planning, "differing", lambda ours, _held: ours):
        thorough = plan(PROSPECTS, person(**ours), held(**theirs), rules)
    assert quick == thorough


@pytest.mark.parametrize("array_rule", ["merge", "merge_first", "replace"])
@pytest.mark.parametrize("detection", ["outreach", "none"])
def test_a_list_that_is_held_item_for_item_stays_as_it_is(array_rule, detection):
    phones = ["+1 555 010 0100", "2", "5550100100"]
    rules = Rules(match_fields=BY_MAIL, array_fields=array_rule, change_detection=detection)
    desired = person(workPhones=phones)
    decided = plan(PROSPECTS, desired, held(workPhones=[*phones]), rules)
    if detection == "none":
        assert decided.attributes["workPhones"] == phones
    else:
        assert isinstance(decided, Unchanged)


def test_what_a_record_lacks_is_no_key():
    desired = Desired(attributes={"name": " Acme  Ltd ", "domain": "www.acme.test"})
    found_by = [Key("domain", "acme.test"), Key("name", "acme ltd")]
    assert keys_of(ACCOUNTS, desired, BY_NAME) == found_by


def test_the_keys_of_a_record_follow_what_it_says():
    first = person()
    assert keys_of(PROSPECTS, first, BY_MAIL) == [Key("emails", "a@x.test")]
    other = replace(first, attributes={"emails": ["b@x.test"]})
    assert keys_of(PROSPECTS, other, BY_MAIL) == [Key("emails", "b@x.test")]
    assert keys_of(PROSPECTS, first, BY_MAIL) == [Key("emails", "a@x.test")]


UNSEEN = Resource(7, {}, {})


@pytest.mark.parametrize(
    ("said", "changed", "rules", "expected"),
    [
        ({"title": "B"}, [], {}, {}),
        ({"title": "B", "lastName": "L"}, ["title"], {}, {"title": "B"}),
        ({"title": "B", "lastName": "L"}, ["title", "lastName"], {}, ...),
        ({"title": None}, ["title"], {"on_null": "clear"}, {"title": None}),
        ({"tags": ["a"]}, ["tags"], {}, None),
        ({"tags": ["a"]}, ["tags"], {"array_fields": "replace"}, None),
        ({"tags": ["a"], "title": "B"}, ["title", "tags"], {}, None),
        ({"tags": ["a"]}, ["tags"], {"field_rules": {"tags": "never"}}, {}),
        ({"tags": ["a"]}, ["tags"], {"field_rules": {"tags": "on_create"}}, {}),
        ({"title": "B"}, ["title"], {"field_rules": {"title": "if_empty"}}, None),
        ({"title": "B"}, ["title"], {"field_rules": {"title": "always"}}, {"title": "B"}),
        ({"company": "C"}, ["company"], {}, None),
        ({"company": "C"}, ["company"], {"field_rules": {"company": "always"}}, {"company": "C"}),
        ({"optedOut": True}, ["optedOut"], {}, {"optedOut": True}),
        ({"optedOut": False}, ["optedOut"], {}, None),
        ({"optedOut": False}, ["optedOut"], {"allow_opt_in": True}, {"optedOut": False}),
        ({"emailsOptStatus": "opted_in"}, ["emailsOptStatus"], {}, None),
    ],
)
def test_what_outreach_holds_is_not_asked_for_where_nothing_depends_on_it(
    said, changed, rules, expected
):
    decided = plan_unseen(PROSPECTS, person(**said), 7, changed, Rules(**rules))
    if expected is None:
        assert decided is None
        return
    expected = said if expected is ... else expected
    assert decided.resource == UNSEEN
    assert isinstance(decided, Update if expected else Unchanged)
    if expected:
        assert (dict(decided.attributes), dict(decided.relationships)) == (expected, {})


@pytest.mark.parametrize("rule", ["never", "on_create"])
@pytest.mark.parametrize("names", [["title"], ["title", "lastName"]])
def test_a_value_that_a_rule_protects_unread_is_counted_and_not_sent(rule, names):
    rules = Rules(field_rules={"title": rule})
    decided = plan_unseen(PROSPECTS, person(title="B", lastName="L"), 7, names, rules)
    assert decided.held_back == {"title": 1}
    sent = dict(decided.attributes) if isinstance(decided, Update) else {}
    assert sent == ({"lastName": "L"} if "lastName" in names else {})


def test_a_changed_link_is_sent_unseen():
    desired = Desired(attributes={"title": "B"}, relationships={"owner": 4, "stage": 5})
    decided = plan_unseen(PROSPECTS, desired, 7, ["owner"], Rules())
    assert decided == Update(UNSEEN, {}, {"owner": 4}, Counter())
    decided = plan_unseen(PROSPECTS, desired, 7, ["owner", "title"], Rules())
    assert decided == Update(UNSEEN, {"title": "B"}, {"owner": 4}, Counter())
    decided = plan_unseen(PROSPECTS, desired, 7, ["owner", "title"], Rules())
    assert decided == Update(UNSEEN, {"title": "B"}, {"owner": 4}, Counter())


@pytest.mark.parametrize(("changed", "expected"), [([], True), (["title"], False)])
def test_insert_leaves_alone_what_it_has_delivered_and_nothing_else(changed, expected):
    decided = plan_unseen(PROSPECTS, person(title="B"), 7, changed, Rules(sync_mode="insert"))
    assert decided == (Unchanged(UNSEEN, Counter()) if expected else None)


def test_without_change_detection_everything_is_written():
    desired = Desired(attributes={"title": "A", "lastName": None}, relationships={"owner": 4})
    found = Resource(1, {"title": "A"}, {"owner": 4})
    decided = plan(PROSPECTS, desired, found, Rules(change_detection="none"))
    assert decided == Update(found, {"title": "A"}, {"owner": 4}, Counter())
    unlinked = Desired(relationships={"owner": None})
    decided = plan(PROSPECTS, unlinked, found, Rules(change_detection="none"))
    assert isinstance(decided, Unchanged)


@pytest.mark.parametrize(
    ("name", "value"),
    [("emailsOptStatus", "opted_in"), ("optedOut", False), ("company", "C")],
)
def test_what_consent_or_an_account_may_forbid_needs_a_fresh_read(name, value):
    decided = Update(held(), {name: value}, {}, Counter())
    assert needs_fresh_read(PROSPECTS, decided, Rules())


def test_a_record_can_be_forgotten_where_a_field_is_named_twice():
    snapshot = RemoteSnapshot(ACCOUNTS, ("name", "name"))
    snapshot.put(Resource(1, {"name": "Acme"}, {}))
    snapshot.forget(1)
    assert list(snapshot) == snapshot.having(Key("name", "acme")) == []


def test_a_remembered_id_comes_before_the_match_fields_and_gives_way_to_them():
    snapshot = RemoteSnapshot(PROSPECTS, BY_MAIL)
    snapshot.put(held(1))
    snapshot.put(Resource(2, {"emails": ["b@x.test"]}, {}))
    by_id = Desired(attributes={"emails": ["b@x.test"]}, remembered=1)
    assert [found.id for found in match(by_id, snapshot, BY_MAIL)] == [1]
    snapshot.forget(1)
    assert [found.id for found in match(by_id, snapshot, BY_MAIL)] == [2]
    said = Desired(id=2, attributes={"emails": ["a@x.test"]}, remembered=1)
    assert [found.id for found in match(said, snapshot, BY_MAIL)] == [2]


def test_records_of_one_source_key_or_one_id_have_something_in_common():
    desired = Desired(attributes={"emails": ["a@x.test"]}, source_key="k", remembered=3)
    assert order_keys(PROSPECTS, desired, BY_MAIL) == [
        Key("id", 3),
        Key("emails", "a@x.test"),
        Key("source", "k"),
    ]
    both = Desired(id=3, remembered=3)
    assert order_keys(PROSPECTS, both, BY_MAIL) == [Key("id", 3)]


# Links

DOMAIN = Reference("account", (("domain", "acme.example"),), {"domain": "domain"})
OTHER = Reference("account", (("domain", "beta.example"),), {"domain": "domain"})


@pytest.mark.parametrize(
    ("rule", "on_create", "where_none", "where_one"),
    [
        ("always", True, True, True),
        ("on_create", True, False, False),
        ("if_empty", True, True, False),
        ("never", False, False, False),
    ],
)
def test_a_link_is_looked_for_where_a_rule_may_let_it_be_written(
    rule, on_create, where_none, where_one
):
    desired = Desired(references={"account": DOMAIN})
    rules = Rules(field_rules={"account": rule})
    found = [None, held(account=None), held(account=4)]
    asked = [references_to_find(desired, one, rules) == [DOMAIN] for one in found]
    assert asked == [on_create, where_none, where_one]
    known = desired.with_links({"account": 7}, [])
    assert references_to_find(known, None, rules) == []


@pytest.mark.parametrize(
    ("rule", "theirs", "expected"),
    [
        ("always", None, ({"account": 7}, {})),
        ("always", 4, ({"account": 7}, {})),
        ("on_create", None, ({}, {"account": 1})),
        ("if_empty", None, ({"account": 7}, {})),
        ("if_empty", 4, ({}, {"account": 1})),
        ("never", 4, ({}, {"account": 1})),
        ("never", 7, ({}, {})),
    ],
)
def test_a_rule_protects_what_is_linked(rule, theirs, expected):
    desired = replace(person(title="B"), relationships={"account": 7})
    rules = Rules(match_fields=BY_MAIL, field_rules={"account": rule})
    decided = plan(PROSPECTS, desired, held(account=theirs, title="A"), rules)
    assert isinstance(decided, Update)
    assert (decided.relationships, decided.held_back) == expected
    created = plan(PROSPECTS, desired, None, rules)
    assert created.relationships == ({} if rule == "never" else {"account": 7})
    assert created.held_back == ({"account": 1} if rule == "never" else {})


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("always", ({"account": 7}, {})),
        ("on_create", ({}, {"account": 1})),
        ("never", ({}, {"account": 1})),
        ("if_empty", None),
    ],
)
def test_a_changed_link_is_planned_unseen_where_a_rule_allows(rule, expected):
    desired = replace(person(title="B"), relationships={"account": 7})
    rules = Rules(match_fields=BY_MAIL, field_rules={"account": rule})
    decided = plan_unseen(PROSPECTS, desired, 3, ["title", "account"], rules)
    if expected is None:
        assert decided is None
    else:
        assert (decided.relationships, decided.held_back) == expected
        assert decided.attributes == {"title": "B"}


def test_what_is_to_be_linked_to_is_found_before_a_change_is_planned():
    desired = replace(person(), references={"account": DOMAIN})
    rules = Rules(match_fields=BY_MAIL)
    assert plan_unseen(PROSPECTS, desired, 3, ["account"], rules) is None
    found = desired.with_links({"account": 7}, [])
    assert plan_unseen(PROSPECTS, found, 3, ["account"], rules).relationships == {"account": 7}


@pytest.mark.parametrize(
    ("earlier", "later", "rules", "expected"),
    [
        (({}, DOMAIN), ({}, OTHER), {}, ({}, OTHER)),
        (({"account": 4}, None), ({}, OTHER), {}, ({}, OTHER)),
        (({}, DOMAIN), ({"account": 4}, None), {}, ({"account": 4}, None)),
        (({}, DOMAIN), ({"account": None}, None), {}, ({}, DOMAIN)),
        (({}, DOMAIN), ({"account": None}, None), {"on_null": "clear"}, ({"account": None}, None)),
        (({}, None), ({"account": None}, None), {}, ({"account": None}, None)),
        (({}, DOMAIN), ({}, OTHER), {"rule": "on_create"}, ({}, DOMAIN)),
        (({}, None), ({"account": 4}, None), {"rule": "on_create"}, ({}, None)),
        (({}, DOMAIN), ({}, OTHER), {"rule": "if_empty"}, ({}, DOMAIN)),
        (
            ({"account": 4}, None),
            ({"account": 5}, None),
            {"rule": "if_empty"},
            ({"account": 4}, None),
        ),
        (({"account": None}, None), ({}, OTHER), {"rule": "if_empty"}, ({}, OTHER)),
        (({}, DOMAIN), ({}, OTHER), {"rule": "never"}, ({}, OTHER)),
    ],
)
def test_the_later_of_two_links_counts_by_the_rules(earlier, later, rules, expected):
    def saying(links, reference):
        return replace(
            person(), relationships=links, references={"account": reference} if reference else {}
        )

    settings = {"on_null": rules.get("on_null", "ignore")}
    if "rule" in rules:
        settings["field_rules"] = {"account": rules["rule"]}
    folded = lay_over(PROSPECTS, saying(*earlier), saying(*later), Rules(**settings))
    assert (folded.relationships, folded.references.get("account")) == expected


@pytest.mark.parametrize("name", ["account", "title"])
def test_what_is_written_only_where_nothing_is_needs_a_fresh_read(name):
    rules = Rules(field_rules={name: "if_empty"})
    attributes = {"title": "B"} if name == "title" else {}
    links = {"account": 7} if name == "account" else {}
    assert needs_fresh_read(PROSPECTS, Update(held(), attributes, links, {}), rules)
    assert not needs_fresh_read(PROSPECTS, Update(held(), attributes, links, {}), Rules())


@pytest.mark.parametrize(
    ("attributes", "refuses"),
    [
        ({"optedOut": True}, True),
        ({"emailOptedOut": True}, True),
        ({"emailsOptStatus": "opted_out"}, True),
        ({"callOptedOut": True, "emailsOptStatus": "opted_in"}, False),
        ({"optedOut": False}, False),
        ({}, False),
    ],
)
def test_who_refuses_mail_is_known_by_any_sign_of_it(attributes, refuses):
    assert has_opted_out_of_mail(attributes) is refuses


def test_a_company_that_is_named_beside_an_account_is_not_sent_whether_the_link_is_found_or_not():
    desired = replace(person(company="Acme"), references={"account": DOMAIN})
    rules = Rules(match_fields=BY_MAIL, field_rules={"account": "never"})
    for found in (None, held()):
        decided = plan(PROSPECTS, desired, found, rules)
        assert decided.held_back == {"company": 1}


@pytest.mark.parametrize("first", [4, None])
def test_each_link_is_planned_by_itself(first):
    desired = replace(person(), relationships={"account": first, "owner": 2})
    found = Resource(1, {"emails": ["a@x.test"]}, {"account": 4, "owner": 1})
    decided = plan(PROSPECTS, desired, found, Rules(match_fields=BY_MAIL))
    assert decided.relationships == {"owner": 2}


def test_each_link_is_folded_by_itself():
    earlier = replace(person(), relationships={"account": 4, "owner": 1})
    later = replace(person(), relationships={"account": 5, "owner": 2})
    rules = Rules(field_rules={"account": "on_create"})
    folded = lay_over(PROSPECTS, earlier, later, rules)
    assert folded.relationships == {"account": 4, "owner": 2}


ACME = Reference("account", (("name", "Acme"),), {"name": "name"})


def deal(name="Seats", account=None, **attributes):
    links = {} if account is None else {"account": account}
    return Desired(attributes={"name": name, **attributes}, relationships=links)


def deals(*records, **rules):
    settings = Rules(match_fields=BY_DEAL, **rules)
    return fold(OPPORTUNITIES, list(enumerate(records)), settings)


@pytest.mark.parametrize(
    ("first", "second", "together"),
    [
        (deal(account=1), deal(account=1), True),
        (deal(), deal(), True),
        (deal(account=1), deal(account=2), False),
        (deal(account=1), deal(), False),
        (replace(deal(), references={"account": ACME}), deal(), False),
        (deal(), replace(deal(), references={"account": ACME}), False),
        (
            replace(deal(account=1), references={"account": ACME}),
            replace(deal(account=2), references={"account": ACME}),
            False,
        ),
        (*[replace(deal(), references={"account": ACME})] * 2, True),
        (deal(), replace(deal(), relationships={"owner": 3}), True),
    ],
)
def test_opportunities_of_one_name_are_folded_only_within_one_account(first, second, together):
    groups = deals(first, second)
    assert [group.members for group in groups] == ([[0, 1]] if together else [[0], [1]])
    if not together:
        assert groups[1].waits_for == {groups[0]}


def test_records_of_other_objects_are_folded_whatever_they_are_linked_to():
    linked = [replace(person(), relationships={"account": number}) for number in (1, 2)]
    (group,) = folded(*linked)
    assert group.desired.relationships == {"account": 2}


def test_a_record_that_shares_keys_with_two_others_is_folded_into_neither():
    first, second, third = deals(deal("A"), deal("B", customId="1"), deal("A", customId="1"))
    assert [group.members for group in (first, second, third)] == [[0], [1], [2]]
    assert third.waits_for == {first, second}


def test_a_record_with_more_keys_is_not_folded_into_the_one_that_it_waits_for():
    first, second = deals(deal("A"), deal("A", customId="1"))
    assert second.waits_for == {first}


def found_deals(ours, *theirs):
    snapshot = RemoteSnapshot(OPPORTUNITIES, BY_DEAL)
    for one in theirs:
        snapshot.put(one)
    return [found.id for found in match(ours, snapshot, BY_DEAL)]


def held_deal(number, account=None, **attributes):
    return Resource(number, {"name": "Seats"} | attributes, {"account": account})


@pytest.mark.parametrize(
    ("ours", "ids"),
    [
        (deal(account=1), [1]),
        (deal(account=2), [2]),
        (deal(account=9), []),
        (deal(), [1, 2, 3]),
        (replace(deal(), relationships={"account": None}), [3]),
        (deal(customId="x", account=1), [4]),
        (deal(customId="y", account=1), [1]),
    ],
)
def test_an_opportunity_is_found_by_its_name_within_its_account_only(ours, ids):
    theirs = [held_deal(1, 1), held_deal(2, 2), held_deal(3), held_deal(4, 4, customId="x")]
    theirs[3].attributes["name"] = "Other"
    assert found_deals(ours, *theirs) == ids


@pytest.mark.parametrize(
    ("named", "said", "ids"),
    [
        (False, {}, []),
        (False, {"named": False}, [1]),
        (True, {}, [1]),
        (None, {}, [1]),
    ],
)
def test_an_account_that_outreach_does_not_show_is_found_only_by_who_speaks_of_it(named, said, ids):
    assert matched({"name": "Acme", **said}, company(1, name="Acme", named=named)) == ids


def test_a_remembered_record_that_is_not_known_is_looked_for_by_its_keys():
    snapshot = RemoteSnapshot(ACCOUNTS, BY_NAME)
    snapshot.put(company(1, name="Acme"))
    snapshot.put(company(2, name="Other"))
    ours = Desired(attributes={"name": "Acme"})
    assert match(ours.with_remembered(2), snapshot, BY_NAME) == [company(2, name="Other")]
    assert match(ours.with_remembered(9), snapshot, BY_NAME) == [company(1, name="Acme")]


def test_a_later_match_field_counts_only_where_no_earlier_one_contradicts():
    theirs = [company(1, customId="x", domain="a.test", name="Acme")]
    assert matched({"customId": "x", "name": "Other"}, *theirs) == [1]
    assert matched({"customId": "y", "domain": "a.test"}, *theirs) == []
    assert matched({"customId": "x", "domain": "b.test", "name": "Acme"}, *theirs) == [1]
    assert matched({"domain": "b.test", "name": "Acme"}, *theirs) == []


@pytest.mark.parametrize(
    ("ours", "mode", "fault"),
    [
        (deal(customId="x"), "upsert", None),
        (deal(), "upsert", None),
        (deal(None, customId="x"), "upsert", None),
        (deal(None, amount=5), "upsert", "customId"),
        (deal("", customId=""), "upsert", "customId"),
        (deal(None, amount=5), "insert", None),
    ],
)
def test_what_the_next_run_could_not_find_is_created_by_insert_only(ours, mode, fault):
    rules = Rules(sync_mode=mode, match_fields=BY_DEAL)
    if fault is None:
        assert isinstance(plan(OPPORTUNITIES, ours, None, rules), Create)
        return
    with pytest.raises(RecordFault) as caught:
        plan(OPPORTUNITIES, ours, None, rules)
    assert (caught.value.code, caught.value.field) == ("missing_required", fault)
    expected = "Without a value in customId or name it would be created again in each run."
    assert str(caught.value) == expected


def test_a_prospect_needs_an_address_even_where_it_is_found_by_something_else():
    rules = Rules(match_fields=("linkedInId",))
    with pytest.raises(RecordFault) as caught:
        plan(PROSPECTS, Desired(attributes={"linkedInId": "x"}), None, rules)
    assert (caught.value.code, caught.value.field) == ("missing_required", "emails")
    created = plan(PROSPECTS, person(), None, rules)
    assert created == Create({"emails": ["a@x.test"]}, {}, {})


def test_a_create_sends_the_links_that_the_rules_allow():
    rules = Rules(match_fields=BY_MAIL, field_rules={"owner": "never", "stage": "if_empty"})
    ours = replace(person(), relationships={"account": 5, "owner": 6, "stage": 7, "creator": None})
    decided = plan(PROSPECTS, ours, None, rules)
    assert decided == Create({"emails": ["a@x.test"]}, {"account": 5, "stage": 7}, {"owner": 1})
    unlinked = replace(person(), relationships={"owner": None})
    assert plan(PROSPECTS, unlinked, None, rules).held_back == {}


def linked(account, **attributes):
    return replace(person(**attributes), relationships={"account": account})


def refers(**attributes):
    return replace(person(**attributes), references={"account": ACME})


ONLY_EMPTY = {"field_rules": {"account": "if_empty"}}


@pytest.mark.parametrize(
    ("ours", "rules", "depends"),
    [
        (person(title="X"), {}, False),
        (person(title="X"), {"on_null": "clear"}, False),
        (person(company="Ours"), {}, True),
        (person(company="Theirs"), {}, False),
        (person(company="Theirs"), {"change_detection": "none"}, True),
        (person(company=None), {}, False),
        (person(company=None), {"on_null": "clear"}, True),
        (person(company="Ours"), {"field_rules": {"company": "always"}}, False),
        (person(company="Ours"), {"field_rules": {"title": "never"}}, True),
        (linked(3), {}, False),
        (linked(3), ONLY_EMPTY, False),
        (linked(4), {}, False),
        (linked(4), ONLY_EMPTY, True),
        (linked(4, company="Ours"), {}, False),
        (linked(None), {}, False),
        (linked(None), ONLY_EMPTY, False),
        (linked(None), {"on_null": "clear"}, True),
        (linked(None, company="Ours"), {}, True),
        (refers(), {}, False),
        (refers(), ONLY_EMPTY, True),
        (refers(company="Ours"), {}, False),
        (replace(person(), references={"owner": ACME}), ONLY_EMPTY, False),
    ],
)
def test_a_plan_depends_on_whether_the_linked_account_is_named_where_it_protects_something(
    ours, rules, depends
):
    rules = Rules(match_fields=BY_MAIL, **rules)
    found = held(company="Theirs", account=3)
    assert depends_on_account(PROSPECTS, ours, found, rules) is depends
    assert not depends_on_account(PROSPECTS, ours, held(company="Theirs"), rules)
    assert not depends_on_account(replace(PROSPECTS, unnamed_link=None), ours, found, rules)


# What is still delivered of a rejected row

MAIL = Rules(match_fields=BY_MAIL)


def rejected(desired, object_type=PROSPECTS, rules=MAIL):
    fault = RecordFault("invalid_value", "No.")
    return only_opt_out(object_type, desired, rules, fault), fault


def test_of_a_rejected_row_only_what_it_is_found_by_and_its_opt_out_is_left():
    row = Desired(
        attributes={"emails": ["a@x.test"], "title": "Head", "optedOut": True, "tags": ["x"]},
        relationships={"owner": 5},
        references={"account": Reference("account", (("name", "Acme"),), {"name": "name"})},
        source_key="key",
    )
    left, fault = rejected(row)
    assert left.attributes == {"emails": ["a@x.test"], "optedOut": True}
    assert (left.relationships, left.references) == ({}, {})
    assert (left.source_key, left.fault) == ("key", fault)
    assert fault.opt_out == "not delivered"


@pytest.mark.parametrize(
    ("row", "object_type"),
    [
        (person(title="Head"), PROSPECTS),
        (person(optedOut=False), PROSPECTS),
        (person(optedOut=None, emailsOptStatus="opted_in"), PROSPECTS),
        (Desired(attributes={"name": "Acme", "optedOut": True}), ACCOUNTS),
        (person(title=True), PROSPECTS),
    ],
)
def test_of_a_rejected_row_without_an_opt_out_nothing_is_left(row, object_type):
    left, fault = rejected(row, object_type)
    assert left is None
    assert fault.opt_out is None


def test_a_rejected_row_that_lacks_what_it_is_found_by_is_left_with_its_opt_out():
    left, _ = rejected(Desired(attributes={"emailsOptStatus": "opted_out"}))
    assert left.attributes == {"emailsOptStatus": "opted_out"}


def test_the_opt_out_of_a_rejected_row_changes_what_is_there_and_nothing_else():
    left, _ = rejected(person(optedOut=True))
    assert plan(PROSPECTS, left, None, MAIL) == Skip("no_match")
    found = held(emails=["b@x.test"], optedOut=False)
    decided = plan(PROSPECTS, left, found, MAIL)
    assert isinstance(decided, Update)
    assert (decided.resource, dict(decided.attributes)) == (found, {"optedOut": True})
    never = Rules(match_fields=BY_MAIL, field_rules={"optedOut": "never"})
    assert isinstance(plan(PROSPECTS, left, found, never), Unchanged)
    assert isinstance(plan(PROSPECTS, left, held(optedOut=True), MAIL), Unchanged)


# Rows with other source keys

LAST = Rules(match_fields=BY_MAIL, on_duplicate="last")


def test_the_last_of_two_rows_keeps_the_opt_out_of_the_first_and_nothing_else():
    first, last = person(optedOut=True, title="Head"), person(optedOut=False, tags=["x"])
    kept = with_opt_outs(first, last, LAST)
    assert kept.attributes == {"emails": ["a@x.test"], "optedOut": True, "tags": ["x"]}
    assert with_opt_outs(first, person(), LAST).attributes["optedOut"] is True
    assert with_opt_outs(last, first, LAST) is first
    same = person(optedOut=True)
    assert with_opt_outs(first, same, LAST) is same
    assert with_opt_outs(person(title="Head"), last, LAST) is last
    opt_in = replace(LAST, allow_opt_in=True)
    assert with_opt_outs(first, last, opt_in) is last
    for silent in (person(), person(optedOut=None)):
        assert with_opt_outs(first, silent, opt_in).attributes["optedOut"] is True


def keyed(source_key, *addresses, **attributes):
    said = {"emails": list(addresses or ("a@x.test",)), **attributes}
    return Desired(attributes=said, source_key=source_key)


def folded_to(*rows, rules=LAST):
    return fold(PROSPECTS, list(enumerate(rows)), rules)


def test_with_last_one_write_delivers_two_source_keys_as_the_last_one_says():
    (group,) = folded_to(keyed("1", title="Head", optedOut=True), keyed("2", tags=["x"]))
    assert group.members == [0, 1]
    assert group.desired.source_key == "2"
    assert group.desired.attributes == {"emails": ["a@x.test"], "tags": ["x"], "optedOut": True}
    both = {
        *order_keys(PROSPECTS, keyed("1"), BY_MAIL),
        *order_keys(PROSPECTS, keyed("2"), BY_MAIL),
    }
    assert group.keys == both
    # What comes later for the first source key goes to the same write.
    (three,) = folded_to(keyed("1"), keyed("2"), keyed("1", title="Cook"))
    assert (three.members, three.desired.attributes["title"]) == ([0, 1, 2], "Cook")


def test_with_last_what_a_memory_knows_of_two_source_keys_does_not_part_them():
    rows = [replace(keyed("1"), remembered=1), replace(keyed("2"), remembered=2)]
    assert len(folded_to(*rows)) == 1


@pytest.mark.parametrize(
    ("domain", "groups"), [("https://www.acme.example/", 1), ("beta.example", 2)]
)
def test_with_last_accounts_of_two_source_keys_are_one_by_what_their_fields_mean(domain, groups):
    rows = [
        Desired(attributes={"name": "Acme", "domain": one}, source_key=key)
        for key, one in (("1", "acme.example"), ("2", domain))
    ]
    rules = Rules(match_fields=BY_NAME, on_duplicate="last")
    assert len(fold(ACCOUNTS, list(enumerate(rows)), rules)) == groups


@pytest.mark.parametrize(
    ("first", "second", "rules"),
    [
        (keyed("1"), keyed("2"), MAIL),
        (keyed("1"), keyed("2", "a@x.test", "b@x.test"), LAST),
        (keyed("1"), keyed(None), LAST),
        (keyed("1"), keyed("2"), replace(LAST, sync_mode="insert")),
        (replace(keyed("1"), fault=RecordFault("x", "X.")), keyed("1"), MAIL),
        (keyed("1"), replace(keyed("1"), fault=RecordFault("x", "X.")), LAST),
    ],
    ids=["reject", "other addresses", "no source key", "insert", "rejected before", "rejected"],
)
def test_rows_that_are_not_one_are_written_one_after_the_other(first, second, rules):
    before, after = folded_to(first, second, rules=rules)
    assert after.waits_for == {before}


def test_versions_of_one_source_key_are_one_write():
    (group,) = folded_to(keyed("1", title="Head"), keyed("1", tags=["x"]), rules=MAIL)
    assert group.desired.attributes == {"emails": ["a@x.test"], "title": "Head", "tags": ["x"]}


@pytest.mark.parametrize(("there", "written"), [(None, {"company": "Acme"}), ("Else", {})])
def test_what_only_fills_a_gap_leaves_what_is_there(there, written):
    row = replace(person(company="Acme", title="Head"), fills=frozenset({"company"}))
    assert changes(row, held(company=there)) == {"title": "Head"} | written
