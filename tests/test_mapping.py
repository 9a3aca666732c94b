"""Which column goes where."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from target_outreach.errors import RecordFault, SettingsError
from target_outreach.records.catalog import load_catalog
from target_outreach.records.custom_fields import CustomField
from target_outreach.records.mapping import build_mapping
from target_outreach.records.routing import route

CATALOG = load_catalog()


def mapping(object_name, *columns, **options):
    match_fields = {"prospects": ("emails",), "accounts": ("customId", "domain", "name")}
    return build_mapping(
        CATALOG[object_name], columns, match_fields=match_fields[object_name], **options
    )


def goal_of(object_name, column):
    """Where a column goes that stands beside what its object needs."""
    required = {"prospects": "emails", "accounts": "name"}[object_name]
    alone = object_name == "accounts" and column == "company_name"
    columns = [column] if alone else dict.fromkeys((required, column))
    found = mapping(object_name, *columns)
    if found.id_column == column:
        return "id"
    goals = {column: name for name, columns in found.attributes.items() for column in columns}
    goals |= {
        column: f"{name}.{part}"
        for name, parts in found.relationships.items()
        for part, column in parts.items()
    }
    return goals.get(column)


@pytest.mark.parametrize(
    ("object_name", "column", "goal"),
    [
        ("prospects", "FIRST_NAME", "firstName"),
        ("prospects", "firstname", "firstName"),
        ("prospects", "First Name", "firstName"),
        ("prospects", "first-name", "firstName"),
        ("prospects", "first.name", "firstName"),
        ("prospects", "first__name", "firstName"),
        ("prospects", "custom_12", "custom12"),
        ("prospects", "custom150", "custom150"),
        ("prospects", "custom151", None),
        ("prospects", "email", "emails"),
        ("prospects", "email_address", "emails"),
        ("prospects", "EMAILS", "emails"),
        ("prospects", "phone", "workPhones"),
        ("prospects", "work_phone", "workPhones"),
        ("prospects", "mobile", "mobilePhones"),
        ("prospects", "mobile_phone", "mobilePhones"),
        ("prospects", "home_phone", "homePhones"),
        ("prospects", "job_title", "title"),
        ("prospects", "city", "addressCity"),
        ("prospects", "country", "addressCountry"),
        ("prospects", "zip", "addressZip"),
        ("prospects", "postal_code", "addressZip"),
        ("prospects", "street", "addressStreet"),
        ("prospects", "company_name", "company"),
        ("prospects", "website", "websiteUrl1"),
        ("accounts", "company_name", "name"),
        ("accounts", "website", "websiteUrl"),
        ("accounts", "employees", "numberOfEmployees"),
        ("accounts", "employee_count", "numberOfEmployees"),
        ("accounts", "custom_id", "customId"),
        # Ids are never guessed.
        ("prospects", "id", None),
        ("prospects", "account_id", None),
        ("prospects", "owner_id", None),
        ("prospects", "stage_id", None),
        ("prospects", "persona_id", None),
        ("prospects", "prospect_id", None),
        ("prospects", "outreach_id", "id"),
        ("prospects", "OUTREACH_PROSPECT_ID", "id"),
        ("prospects", "outreach_account_id", "account.id"),
        ("prospects", "outreach_owner_id", "owner.id"),
        ("prospects", "ACCOUNT_DOMAIN", "account.domain"),
        ("prospects", "account.custom_id", "account.customId"),
        ("prospects", "Owner Email", "owner.email"),
        ("prospects", "stage_name", "stage.name"),
        ("accounts", "owner_email", "owner.email"),
        ("prospects", "outreach_creator_id", None),
        ("accounts", "outreach_account_id", "id"),
        ("accounts", "outreach_prospect_id", None),
        # Never by name alone, and read-only.
        ("prospects", "trashed_at", None),
        ("prospects", "gender", None),
        ("prospects", "date_of_birth", None),
        ("prospects", "external_source", None),
        ("prospects", "sharing_team_id", None),
        ("accounts", "named", None),
        ("prospects", "created_at", None),
        ("prospects", "name", None),
        ("prospects", "row_hash", None),
    ],
)
def test_a_column_goes_where_its_name_says(object_name, column, goal):
    assert goal_of(object_name, column) == goal


def test_in_update_mode_a_column_named_id_is_the_outreach_id():
    assert mapping("prospects", "ID", "title", mode="update").id_column == "ID"


def test_insert_takes_no_outreach_id():
    found = mapping("prospects", "outreach_id", "emails", mode="insert")
    assert found.id_column is None
    assert found.unmapped == {"outreach_id": "insert gives new ids"}


@pytest.mark.parametrize(
    ("columns", "explicit", "order"),
    [
        (("emails", "email"), {}, ("email", "emails")),
        (("work_phone", "phone"), {}, None),
        (("emails", "second"), {"second": "emails"}, ("emails", "second")),
        (("second", "emails", "email"), {"second": "emails"}, ("second", "email", "emails")),
    ],
)
def test_several_columns_for_one_array_join_in_column_order(columns, explicit, order):
    if "emails" not in columns:
        columns = ("emails", *columns)
    found = mapping("prospects", *columns, explicit=explicit)
    joined = found.attributes["emails" if order else "workPhones"]
    assert joined == (order or columns[1:])


def test_joined_columns_keep_each_address_once():
    found = mapping("prospects", "emails", "email")
    desired = found.apply({"emails": ["A@x.test", "b@x.test"], "email": "a@x.test"})
    assert desired.attributes["emails"] == ["a@x.test", "b@x.test"]


def test_a_null_beside_a_value_does_not_count_and_nulls_alone_are_null():
    found = mapping("prospects", "emails", "email", "title")
    assert found.apply({"emails": None, "email": "a@x.test"}).attributes == {"emails": ["a@x.test"]}
    assert found.apply({"emails": None, "title": " "}).attributes == {"emails": None, "title": None}


@pytest.mark.parametrize(
    ("object_name", "target", "goal"),
    [
        ("prospects", "email", "emails"),
        ("prospects", "MOBILE-phone", "mobilePhones"),
        ("accounts", "employees", "numberOfEmployees"),
        ("accounts", "custom_id", "customId"),
    ],
)
def test_an_entry_may_say_what_a_column_may_be_called(object_name, target, goal):
    required = {"prospects": "emails", "accounts": "name"}[object_name]
    columns = ("x",) if goal == required else ("x", required)
    assert mapping(object_name, *columns, explicit={"x": target}).attributes[goal] == ("x",)


def test_an_entry_prefers_what_a_column_of_that_name_would_go_to():
    catalog = load_catalog()["prospects"]
    attributes = dict(catalog.attributes)
    attributes["custom7"] = replace(attributes["custom7"], custom=CustomField("custom7", "E-mail"))
    labelled = replace(catalog, attributes=attributes)
    found = build_mapping(labelled, ["x"], explicit={"x": "E-mail"}, match_fields=["emails"])
    assert found.attributes == {"emails": ("x",)}


def test_ignored_columns_are_left_out_unless_an_entry_names_them():
    found = mapping(
        "prospects",
        "emails",
        "first_name",
        "shoe_size",
        ignore=["*"],
        explicit={"emails": "emails", "shoe_size": "custom7"},
    )
    assert found.attributes == {"emails": ("emails",), "custom7": ("shoe_size",)}
    assert found.unmapped == {"first_name": "ignored"}


@pytest.mark.parametrize(
    ("columns", "options", "words"),
    [
        (("emails", "x"), {"explicit": {"x": "tittle"}}, "nearest: title"),
        (("emails", "x"), {"explicit": {"x": "createdAt"}}, "lets nobody write"),
        (("emails",), {"explicit": {"x": "title"}}, "which the stream does not have"),
        (("emails", "title", "job_title"), {}, "title and job_title both map to title"),
        (("row_hash",), {}, "no column maps to an attribute of prospects"),
        (("first_name",), {}, "no column maps to emails"),
        (("first_name",), {"mode": "update"}, "needs a column for the Outreach id"),
        (("emails", "x", "account_domain"), {"explicit": {"x": "account.domain"}}, "both map to"),
    ],
)
def test_settings_that_do_not_fit_say_what_is_wrong(columns, options, words):
    with pytest.raises(SettingsError, match=words):
        mapping("prospects", *columns, **options)


def test_the_mapping_is_one_readable_line():
    line = mapping("prospects", "id", "email", "outreach_owner_id", "gender").describe()
    assert line == (
        "email → emails, outreach_owner_id → owner.id; left out: id (the warehouse's own id), "
        "gender (only by a columns entry)"
    )


@pytest.mark.parametrize("value", [0, -1, "x", 1.5, True, "9" * 25, [1]])
def test_what_is_no_outreach_id_rejects_the_record(value):
    with pytest.raises(RecordFault) as caught:
        mapping("prospects", "emails", "outreach_id").apply({"outreach_id": value})
    assert caught.value.code == "invalid_id"


@pytest.mark.parametrize("value", [12, "12", Decimal("12.0"), 12.0, " 12 "])
def test_an_outreach_id_is_read_from_number_and_text(value):
    assert mapping("prospects", "emails", "outreach_id").apply({"outreach_id": value}).id == 12


@pytest.mark.parametrize(
    ("stream", "entry", "setting", "expected"),
    [
        ("marts-prospects", None, None, "prospects"),
        ("MARTS.ACCOUNT", None, None, "accounts"),
        ("raw__Prospect", None, None, "prospects"),
        ("a/b/accounts", None, None, "accounts"),
        ("people", None, "prospects", "prospects"),
        ("accounts", "prospects", "accounts", "prospects"),
        ("accounts", None, "prospects", "prospects"),
        ("accounts", "none", "prospects", None),
    ],
)
def test_a_stream_is_for_what_entry_setting_or_name_say(stream, entry, setting, expected):
    assert route(stream, entry, setting) == expected


def test_a_stream_that_nothing_says_is_a_setting_to_mend():
    with pytest.raises(SettingsError, match="outreach_object"):
        route("leads_2026", None, None)
