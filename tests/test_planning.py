"""What is decided about one record, and about several of one key."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from target_outreach.errors import RecordFault
from target_outreach.records.catalog import load_catalog
from target_outreach.records.folding import fold
from target_outreach.records.mapping import Desired
from target_outreach.records.matching import Picture, Resource, choose, match
from target_outreach.records.planning import Create, Rules, Skip, Unchanged, Update, plan

CATALOG = load_catalog()
PROSPECTS, ACCOUNTS = CATALOG["prospects"], CATALOG["accounts"]
BY_MAIL = ("emails",)
BY_NAME = ("customId", "domain", "name")


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
        ({"title": None}, {"title": "A"}, {"on_null": "clear"}, {"title": None}),
        ({"tags": None}, {"tags": ["a"]}, {"on_null": "clear"}, {"tags": []}),
        ({"emails": None}, {}, {"on_null": "clear"}, {}),
        ({"emails": []}, {}, {"array_default": "replace"}, {}),
        ({"tags": ["b"]}, {"tags": ["a"]}, {}, {"tags": ["a", "b"]}),
        ({"tags": ["b", "a"]}, {"tags": ["a", "b"]}, {}, {}),
        ({"tags": ["b"]}, {"tags": ["a"]}, {"array_default": "merge_first"}, {"tags": ["b", "a"]}),
        ({"tags": ["b"]}, {"tags": ["a", "b"]}, {"array_default": "replace"}, {"tags": ["b"]}),
        ({"tags": []}, {"tags": ["a"]}, {"array_default": "replace"}, {"tags": []}),
        ({"tags": ["b"]}, {"tags": ["a"]}, {"array_fields": {"tags": "replace"}}, {"tags": ["b"]}),
        ({"emails": ["A@X.test"]}, {}, {"array_default": "replace"}, {}),
        ({"emails": ["b@x.test"]}, {}, {}, {"emails": ["a@x.test", "b@x.test"]}),
        ({"workPhones": ["(415) 555-0100"]}, {"workPhones": ["+14155550100"]}, {}, {}),
        (
            {"workPhones": ["(415) 555-0100", "2"]},
            {"workPhones": ["+14155550100"]},
            {"array_default": "replace"},
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


def test_company_is_left_alone_once_an_account_is_linked():
    ours = person(company="Ours")
    assert changes(ours, held(company="Theirs")) == {"company": "Ours"}
    assert changes(ours, held(company="Theirs", account=3)) == {}
    always = {"company": "always"}
    assert changes(ours, held(company="T", account=3), field_rules=always) == {"company": "Ours"}


def test_what_is_held_back_is_counted_only_where_it_differs():
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
    decided = plan(PROSPECTS, person(title="X", nickname="N", tags=[], company=None), None, rules)
    assert decided == Create({"emails": ["a@x.test"], "nickname": "N"}, {}, {"title": 1})


@pytest.mark.parametrize(
    ("desired", "mode", "outcome"),
    [
        (person(), "update", Skip("no_match")),
        (Desired(id=5), "update", "record_not_found"),
        (Desired(id=5, attributes={"emails": ["a@x.test"]}), "upsert", "record_not_found"),
        (Desired(attributes={"title": "X"}), "upsert", "missing_required"),
        (Desired(attributes={"emails": []}), "insert", "missing_required"),
    ],
)
def test_what_is_not_found_is_created_only_where_it_may_be(desired, mode, outcome):
    rules = Rules(mode=mode, match_fields=BY_MAIL)
    if isinstance(outcome, Skip):
        assert plan(PROSPECTS, desired, None, rules) == outcome
        return
    with pytest.raises(RecordFault) as caught:
        plan(PROSPECTS, desired, None, rules)
    assert caught.value.code == outcome


def company(resource_id, **attributes):
    created = {"createdAt": f"2026-01-0{resource_id}T00:00:00.000Z"}
    return Resource(resource_id, created | attributes, {})


def matched(desired, *companies):
    picture = Picture(ACCOUNTS, BY_NAME)
    for one in companies:
        picture.put(one)
    return [found.id for found in match(Desired(attributes=desired), picture, BY_NAME)]


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


@pytest.mark.parametrize(("policy", "expected"), [("reject", None), ("oldest", 1), ("newest", 2)])
def test_one_of_several_matches_is_chosen_by_age_or_none(policy, expected):
    found = [company(1), company(2)]
    chosen = choose(found, policy)
    assert (chosen.id if chosen else None) == expected


def test_what_was_written_replaces_what_was_known():
    picture = Picture(PROSPECTS, BY_MAIL)
    picture.put(Resource(1, {"emails": ["a@x.test"]}, {}))
    picture.put(Resource(1, {"emails": ["b@x.test"]}, {}))
    ours = Desired(attributes={"emails": ["a@x.test"]})
    assert match(ours, picture, BY_MAIL) == []
    assert len(list(picture)) == 1


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


def test_insert_never_folds_but_keeps_the_order():
    first, second = folded(person(), person(), mode="insert")
    assert second.waits_for == {first}


def test_an_array_that_is_emptied_and_filled_again_is_not_folded():
    assert len(folded(person(tags=None), person(tags=["a"]), on_null="clear")) == 2
    assert len(folded(person(tags=None), person(tags=["a"]))) == 1


NAMES = st.sampled_from(["title", "tags", "optedOut", "company", "workPhones"])
VALUES = {
    "title": st.sampled_from([None, "A", "B"]),
    "company": st.sampled_from([None, "A", "B"]),
    "optedOut": st.sampled_from([None, True, False]),
    "tags": st.sampled_from([None, ["a"], ["b"], ["b", "a"]]),
    "workPhones": st.sampled_from([None, ["4155550100"], ["+1 415 555 0100", "2"]]),
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
        array_default=array_rule,
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
    rules = Rules(match_fields=BY_MAIL, array_default=array_rule)
    resource = held(**theirs)
    once = after(resource, plan(PROSPECTS, person(**ours), resource, rules))
    assert isinstance(plan(PROSPECTS, person(**ours), once, rules), Unchanged)
