"""Which column goes where."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from conftest import record, schema

from target_outreach.errors import RecordFault, SettingsError
from target_outreach.records.catalog import load_catalog
from target_outreach.records.columns import build_mapping, suspicious
from target_outreach.records.custom_fields import CustomField
from target_outreach.records.routing import route

CATALOG = load_catalog()


def mapping(object_name, *columns, **options):
    match_fields = {"prospects": ("emails",), "accounts": ("customId", "domain", "name")}
    return build_mapping(
        CATALOG[object_name], columns, match_fields=match_fields[object_name], **options
    )


def goal_of(object_name, column):
    """Where a column goes, beside those that its object needs."""
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


def test_ignored_columns_are_not_sent_unless_an_entry_names_them():
    found = mapping(
        "prospects",
        "emails",
        "first_name",
        "shoe_size",
        ignore=["*"],
        explicit={"emails": "emails", "shoe_size": "custom7"},
    )
    assert found.attributes == {"emails": ("emails",), "custom7": ("shoe_size",)}
    assert found.unmapped == {"first_name": "by ignore_columns"}


@pytest.mark.parametrize(
    ("columns", "options", "words"),
    [
        (("emails", "x"), {"explicit": {"x": "tittle"}}, "nearest: title"),
        (("emails", "x"), {"explicit": {"x": "createdAt"}}, "lets nobody write"),
        (("mail",), {"explicit": {"x": "emails"}}, "which the stream does not have; none is near"),
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
        "email → emails, outreach_owner_id → owner.id; ignored: id (the warehouse's own id), "
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


def test_a_stream_of_unknown_object_without_outreach_object_is_a_settings_error():
    with pytest.raises(SettingsError, match="outreach_object"):
        route("leads_2026", None, None)


@pytest.mark.parametrize(
    ("stream", "likely"),
    [
        ("crm_accounts", "accounts"),
        ("crm_leads", "prospects"),
        ("contacts_2026", "prospects"),
        ("People", "prospects"),
        ("public-companies", "accounts"),
        ("organizations", "accounts"),
        ("Contact", "prospects"),
        ("rows", "prospects"),
        *(
            (name, "opportunities")
            for name in ("deals", "Deal", "sf_opportunity", "hubspot__deals")
        ),
        *((name, "opportunities") for name in ("opportunities_2026", "HubspotDeals", "CRM-Opps")),
        ("SalesforceAccountExport", "accounts"),
    ],
)
def test_a_stream_of_an_unknown_object_is_answered_with_the_entry_to_paste(stream, likely):
    with pytest.raises(SettingsError) as caught:
        route(stream, None, None)
    assert f'{{"stream": "{stream}", "object": "{likely}"}}' in str(caught.value)


# The columns of exports


#: Headers as exports of well-known kinds have them, each with what lands and what is suggested.
EXPORTS = {
    "a list of a data vendor": (
        "prospects",
        (
            "First Name|Last Name|Title|Company Name|Email|Work Direct Phone|Mobile Phone|"
            "Other Phone|"
            "Person Linkedin Url|Company Linkedin Url|Website|City|State|Country|# Employees"
        ),
        {
            "Work Direct Phone": "workPhones",
            "Other Phone": "otherPhones",
            "Person Linkedin Url": "linkedInUrl",
            "State": "addressState",
        },
        {},
        ["Company Linkedin Url", "# Employees"],
    ),
    "accounts of a data vendor": (
        "accounts",
        (
            "Company Name|Company Domain|Website|No. of Employees|Primary Industry|Ticker|"
            "SIC Code 1|"
            "SIC Codes|NAICS Code|Company LinkedIn URL|Short Description|Founded Year|Company City|"
            "Lists"
        ),
        {
            "Company Domain": "domain",
            "No. of Employees": "numberOfEmployees",
            "Primary Industry": "industry",
            "Ticker": "tickerSymbol",
            "SIC Code 1": "sicCodes",
            "SIC Codes": "sicCodes",
            "NAICS Code": "naicsCodes",
            "Company LinkedIn URL": "linkedInUrl",
            "Short Description": "description",
        },
        {
            "Founded Year": "foundedAt, as a date",
            "Company City": "locality",
            "Lists": "tags",
        },
        ["Founded Year", "Company City", "Lists"],
    ),
    "a report of a CRM": (
        "prospects",
        (
            "First Name|Last Name|Account Name|Mailing Street|Mailing City|Mailing State/Province|"
            "Mailing Zip/Postal Code|Mailing Country|Email|Email Opt Out|Do Not Call|Lead Source|"
            "Owner"
        ),
        {
            "Mailing Street": "addressStreet",
            "Mailing City": "addressCity",
            "Mailing State/Province": "addressState",
            "Mailing Zip/Postal Code": "addressZip",
            "Mailing Country": "addressCountry",
            "Email Opt Out": "emailOptedOut",
            "Do Not Call": "callOptedOut",
            "Lead Source": "source",
            "Account Name": "account.name",
        },
        {"Account Name": "company", "Owner": "owner.email"},
        ["Owner"],
    ),
    "the API names of a CRM": (
        "prospects",
        "Id|Email|HasOptedOutOfEmail|DoNotCall|Position|OtherStreet|MailingStreet|Name",
        {
            "HasOptedOutOfEmail": "emailOptedOut",
            "DoNotCall": "callOptedOut",
            "Position": "title",
            "MailingStreet": "addressStreet",
        },
        {"Id": "externalId", "OtherStreet": "addressStreet, instead of MailingStreet"},
        ["Id", "OtherStreet", "Name"],
    ),
    "an export of a marketing tool": (
        "prospects",
        (
            "Email|Additional email addresses|Phone Number|Mobile Phone Number|Street Address|City|"
            "State/Region|Postal Code|Country/Region|LinkedIn URL|Unsubscribed from all email"
        ),
        {
            "Phone Number": "workPhones",
            "Mobile Phone Number": "mobilePhones",
            "Street Address": "addressStreet",
            "State/Region": "addressState",
            "Country/Region": "addressCountry",
            "Unsubscribed from all email": "emailOptedOut",
        },
        {"Additional email addresses": "emails"},
        ["Additional email addresses"],
    ),
    "the API names of a marketing tool behind a prefix": (
        "prospects",
        (
            "id|property_email|property_jobtitle|property_address|property_city|property_state|"
            "property_hs_email_optout|PROPERTY_hs_linkedin_url|properties__mobilephone"
        ),
        {
            "property_email": "emails",
            "property_jobtitle": "title",
            "property_address": "addressStreet",
            "property_city": "addressCity",
            "property_state": "addressState",
            "property_hs_email_optout": "emailOptedOut",
            "PROPERTY_hs_linkedin_url": "linkedInUrl",
            "properties__mobilephone": "mobilePhones",
        },
        {"id": "externalId"},
        ["id"],
    ),
    "the only address, and the first of several numbered columns": (
        "prospects",
        (
            "Given Name|Family Name|E-mail 1 - Value|E-mail 2 - Value|Phone 1 - Value|"
            "Work Email|Address 1"
        ),
        {
            "Given Name": "firstName",
            "Family Name": "lastName",
            "E-mail 1 - Value": "emails",
            "Phone 1 - Value": "workPhones",
        },
        {"E-mail 2 - Value": "emails", "Work Email": "emails"},
        ["E-mail 2 - Value", "Work Email", "Address 1"],
    ),
    "an address of work where there is no other": (
        "prospects",
        (
            "Work Email|Private Email|Phone - Work|Phone - Mobile|"
            "Contact City|Contact State|donotemail"
        ),
        {
            "Work Email": "emails",
            "Phone - Work": "workPhones",
            "Phone - Mobile": "mobilePhones",
            "Contact City": "addressCity",
            "Contact State": "addressState",
            "donotemail": "emailOptedOut",
        },
        {"Private Email": "emails"},
        ["Private Email"],
    ),
    "an address book": (
        "prospects",
        (
            "FNAME|LNAME|Organization Title|"
            "Email addresses|Phone numbers|Address 1 - Street|Address 1 - City|Address 1 - Region|"
            "Address 1 - Postal Code|Address 1 - Country|Do not contact?|Unsubscribed?|Profile URL"
        ),
        {
            "FNAME": "firstName",
            "LNAME": "lastName",
            "Organization Title": "title",
            "Email addresses": "emails",
            "Phone numbers": "workPhones",
            "Address 1 - Street": "addressStreet",
            "Address 1 - City": "addressCity",
            "Address 1 - Region": "addressState",
            "Address 1 - Postal Code": "addressZip",
            "Address 1 - Country": "addressCountry",
            "Do not contact?": "optedOut",
            "Unsubscribed?": "emailOptedOut",
        },
        {"Profile URL": "linkedInUrl"},
        ["Profile URL"],
    ),
    "a CRM with numbered columns": (
        "prospects",
        (
            "emailaddress1|address1_line1|address1_city|address1_stateorprovince|"
            "address1_postalcode|address1_country|Do not allow Emails|Do not allow Phone Calls|"
            "Do not allow Bulk Emails"
        ),
        {
            "emailaddress1": "emails",
            "address1_line1": "addressStreet",
            "address1_city": "addressCity",
            "address1_stateorprovince": "addressState",
            "address1_postalcode": "addressZip",
            "address1_country": "addressCountry",
            "Do not allow Emails": "emailOptedOut",
            "Do not allow Phone Calls": "callOptedOut",
        },
        {"Do not allow Bulk Emails": "emailOptedOut, instead of Do not allow Emails"},
        ["Do not allow Bulk Emails"],
    ),
    "its headers with colons": (
        "prospects",
        (
            "Email|Address 1: Street 1|Address 1: City|Address 1: ZIP/Postal Code|"
            "Address 1: State/Province"
        ),
        {
            "Address 1: Street 1": "addressStreet",
            "Address 1: City": "addressCity",
            "Address 1: ZIP/Postal Code": "addressZip",
            "Address 1: State/Province": "addressState",
        },
        {},
        [],
    ),
    "companies with all of their domains": (
        "accounts",
        "Name|Domains",
        {"Name": "name"},
        {"Domains": "domain"},
        ["Domains"],
    ),
    "a company of a database of investors": (
        "accounts",
        "Organization Name|LinkedIn|Stock Symbol|Founded Date|Industries|IsDeleted",
        {"Organization Name": "name", "LinkedIn": "linkedInUrl", "Stock Symbol": "tickerSymbol"},
        {"Founded Date": "foundedAt, as a date", "Industries": "industry"},
        ["Founded Date", "Industries", "IsDeleted"],
    ),
}


@pytest.mark.parametrize("kind", EXPORTS)
def test_the_columns_of_common_exports_arrive_are_suggested_or_are_ignored(kind):
    object_name, header, landed, suggested, left_out = EXPORTS[kind]
    found = mapping(object_name, *header.split("|"), prefixes=("property_", "properties__"))
    assert landed.items() <= found.goals().items()
    assert suggested.items() <= found.suggested.items()
    assert left_out == list(found.unmapped)


@pytest.mark.parametrize("column", ["\ufeffemail", "e\u200bmail", "E-Mail", "Email #", "e/mail"])
def test_invisible_characters_and_signs_in_a_name_do_not_count(column):
    assert mapping("prospects", column).attributes == {"emails": (column,)}
    assert mapping(
        "prospects", "x", column, explicit={"email": "title", "x": "emails"}
    ).goals() == {
        "x": "emails",
        column: "title",
    }
    assert route("\ufeffaccounts", None, None) == "accounts"


def test_what_only_fills_gaps_gives_way_to_names_labels_and_entries():
    found = mapping("prospects", "email", "position", "job_title")
    assert found.unmapped == {"position": "job_title goes to title already"}
    found = mapping("prospects", "email", "position", "x", explicit={"x": "title"})
    assert found.attributes["title"] == ("x",)
    field = CustomField("custom3", "Lead Source", "string")
    prospects = CATALOG["prospects"]
    labelled = replace(
        prospects,
        attributes=prospects.attributes
        | {"custom3": replace(prospects.attributes["custom3"], custom=field)},
    )
    found = build_mapping(labelled, ["email", "lead_source"], match_fields=("emails",))
    assert found.attributes["custom3"] == ("lead_source",)


def test_a_state_is_one_of_an_address_only_beside_a_city_zip_or_country():
    assert mapping("prospects", "email", "state").suggested == {"state": "addressState"}
    found = mapping("prospects", "email", "state", "mailing_city")
    assert found.attributes["addressState"] == ("state",)


def test_of_several_opt_outs_one_yes_is_enough():
    found = mapping("prospects", "email", "unsubscribed", "email_opt_out")
    for unsubscribed, opt_out, said in [
        (False, True, True),
        (True, None, True),
        (None, False, False),
        (None, None, None),
    ]:
        record = {"email": "a@example.test", "unsubscribed": unsubscribed, "email_opt_out": opt_out}
        assert found.apply(record).attributes["emailOptedOut"] is said


def test_columns_that_should_not_be_lost_are_told_by_their_names():
    columns = ("email", "newsletter_opt_out", "gdpr_consent", "row_deleted_at", "email_domain")
    columns += (
        "Backup E-Mail",
        "email_status",
        "row_hash",
        "_fivetran_deleted",
        "IsDeleted",
        "own",
    )
    found = mapping("prospects", *columns, ignore=("own",))
    assert suspicious(found) == {
        "an opt-out": ["newsletter_opt_out", "gdpr_consent"],
        "a deletion mark": ["row_deleted_at"],
        "a domain": ["email_domain"],
        "an email address": ["Backup E-Mail"],
    }


def test_what_somebody_says_of_mail_is_no_address():
    columns = ("Mobile DNC", "unsubscribed_from_offers", "donotpostalmail", "Email - Other")
    found = mapping("prospects", "email", *columns)
    assert suspicious(found) == {"an opt-out": [*columns[:3]], "an email address": [columns[3]]}
    assert found.suggested == {"Email - Other": "emails"}


@pytest.mark.parametrize(
    ("column", "is_suspicious"),
    [
        *(
            (name, True)
            for name in ("marketing_status", "Subscription status", "marketingSuspended")
        ),
        *(
            (name, True)
            for name in ("marked_email_as_spam", "spam_reported", "No emails", "subscribed")
        ),
        *((name, True) for name in ("Email Subscription", "Person - Marketing status")),
        *(
            (name, False)
            for name in ("subscription_plan", "subscription_id", "status", "spam_score")
        ),
        *((name, False) for name in ("marketing_channel", "suspended_deal", "email_status")),
    ],
)
def test_a_column_that_may_say_an_opt_out_is_told_by_its_name(column, is_suspicious):
    found = suspicious(mapping("prospects", "email", column)).get("an opt-out", [])
    assert found == [column] * is_suspicious


def test_an_entry_for_a_column_that_the_stream_lacks_is_remarked_on():
    found = mapping("prospects", "email", "frist_name", explicit={"first_name": "firstName"})
    said = "columns names 'first_name', which the stream does not have; nearest: frist_name"
    assert found.missing == {"first_name": said}


@pytest.mark.parametrize(
    ("settings", "is_said"),
    [
        ({"sync_mode": "update"}, True),
        ({"sync_mode": "upsert"}, False),
        (
            {"streams": [{"stream": "prospects", "sync_mode": "update", "match_on": ["emails"]}]},
            False,
        ),
        (
            {"streams": [{"stream": "prospects", "sync_mode": "update", "columns": {"id": "id"}}]},
            False,
        ),
        (
            {"streams": [{"stream": "prospects", "sync_mode": "update", "ignore_columns": ["id"]}]},
            False,
        ),
    ],
)
def test_it_is_said_once_that_a_column_id_is_taken_for_the_id_in_outreach(sync, settings, is_said):
    rows = [record("prospects", id=n, emails=f"p{n}@x.test") for n in range(2)]
    run = sync([schema("prospects"), *rows], **settings)
    said = "prospects: in update mode column id is taken for the id in Outreach"
    assert run.log.count(said) == is_said
