"""Rows as real exports have them: what stands for nothing does no harm, and is counted."""

from __future__ import annotations

import pytest
from conftest import record, schema

TEXT = {"type": ["null", "string"]}
COMPANIES = {"id": {"type": "integer"}, "name": TEXT, "domain": TEXT, "industry": TEXT}
PEOPLE = {
    "id": {"type": "integer"},
    "emails": TEXT,
    "title": TEXT,
    "tags": TEXT,
    "work_phone": TEXT,
    "email_opted_out": TEXT,
    "score": TEXT,
}


def companies(*rows):
    return [
        schema("accounts", COMPANIES),
        *(record("accounts", **{"id": number, **row}) for number, row in enumerate(rows, 1)),
    ]


def people(*rows):
    return [
        schema("prospects", PEOPLE),
        *(
            record("prospects", **{"id": number, "emails": f"p{number}@x.test", **row})
            for number, row in enumerate(rows, 1)
        ),
    ]


def attributes(sandbox, name="accounts"):
    return [one["attributes"] for one in sandbox.store.all(name)]


SPELLINGS = [
    "globex.test",
    "https://www.globex.test/about?x=1",
    "WWW.Globex.TEST:443",
    "globex.test.",
    "\u200bglobex.test",
    "http:/globex.test",
]


@pytest.mark.parametrize("first", SPELLINGS)
def test_a_domain_is_written_as_the_bare_host_and_found_again(sync, sandbox, first):
    sync(companies({"name": "Globex", "domain": first}))
    for spelling in SPELLINGS:
        run = sync(companies({"name": "Globex Inc", "domain": spelling}))
        assert run.counts("accounts")["received"] == 1
    (account,) = attributes(sandbox)
    assert (account["domain"], account["name"]) == ("globex.test", "Globex Inc")


def test_a_domain_beyond_ascii_is_written_in_its_idna_form(sync, sandbox):
    sync(companies({"name": "Müller", "domain": "müller.example"}))
    run = sync(companies({"name": "Müller GmbH", "domain": "xn--mller-kva.example"}))
    assert run.counts("accounts") == {"received": 1, "updated": 1}
    assert attributes(sandbox)[0]["domain"] == "xn--mller-kva.example"


@pytest.mark.parametrize("held", ["https://www.globex.test/a", "www.globex.test", "GLOBEX.test"])
@pytest.mark.parametrize("memory", [False, True])
def test_what_outreach_holds_in_an_older_form_is_found_and_not_rewritten(
    sync, sandbox, tmp_path, held, memory
):
    sandbox.store.seed("accounts", {"name": "Globex", "domain": held})
    settings = {"memory_path": str(tmp_path / "memory.db"), "change_detection": "source"}
    rows = companies({"name": "Globex", "domain": held, "industry": "Food"})
    first = sync(rows, **(settings if memory else {}))
    assert first.counts("accounts") == {"received": 1, "updated": 1}
    again = sync(rows, **(settings if memory else {}))
    assert again.counts("accounts") == {"received": 1, "unchanged": 1}
    assert attributes(sandbox)[0]["domain"] == held


NO_HOSTS = ["N/A", "-", "unknown", "http://", "info@globex.test", "192.168.0.1", "a.test; b.test"]


@pytest.mark.parametrize("text", NO_HOSTS)
@pytest.mark.parametrize("on_null", ["ignore", "clear"])
def test_what_is_no_host_neither_overwrites_nor_empties_a_domain(sync, sandbox, text, on_null):
    known = sandbox.store.seed("accounts", {"name": "Globex", "domain": "globex.test"})
    rows = companies(
        {"name": "Globex", "domain": text, "industry": "Food"},
        {"name": "New", "domain": text},
        {"name": "Newer", "domain": text},
    )
    run = sync(rows, on_null=on_null)
    assert run.exit_code == 0
    assert run.counts("accounts") == {"received": 3, "created": 2, "updated": 1}
    domains = {one["id"]: one["attributes"]["domain"] for one in sandbox.store.all("accounts")}
    assert domains[known] == "globex.test"
    assert sorted(map(str, domains.values())) == ["None", "None", "globex.test"]
    assert run.report["streams"]["accounts"]["values_dropped"] == {"domain: no host name": 3}
    warnings = [line for line in run.log.splitlines() if "is not delivered" in line]
    assert len(warnings) == 1
    assert "line 2 of the input" in warnings[0]
    assert text == "-" or text not in warnings[0]
    assert "values not delivered: domain: no host name (3)" in run.log


@pytest.mark.parametrize(
    "host",
    [
        *("gmail.com", "yahoo.co.uk", "www.facebook.com/pages", "de.linkedin.com"),
        *("sites.google.com", "co.uk", "com.au", "blogspot.co.uk", "blogspot.de", "beacons.ai"),
        *("calendly.com/ana", "github.io", "http://linktr.ee/ana", "police.uk"),
    ],
)
def test_a_host_that_many_companies_share_identifies_nobody(sync, sandbox, host):
    sandbox.store.seed("accounts", {"name": "Old", "domain": host})
    run = sync(companies({"name": "Ana", "domain": host}, {"name": "Ben", "domain": host}))
    assert run.counts("accounts") == {"received": 2, "created": 2}
    assert [one["domain"] for one in attributes(sandbox)] == [host, None, None]
    reason = "domain: a host that many companies share"
    assert run.report["streams"]["accounts"]["values_dropped"] == {reason: 2}


def test_the_site_of_a_company_at_a_builder_is_its_own(sync, sandbox):
    sync(companies({"name": "Ana", "domain": "ana.wixsite.com/home"}))
    assert attributes(sandbox)[0]["domain"] == "ana.wixsite.com"


def test_more_shared_hosts_can_be_named(sync, sandbox):
    rows = companies({"name": "Ana", "domain": "ana.portal.example"})
    sync(rows, shared_domains=["https://portal.example/"])
    assert attributes(sandbox)[0]["domain"] is None


def test_a_link_finds_the_account_whatever_form_its_domain_came_in(sync, sandbox):
    sync(companies({"name": "Globex", "domain": "https://www.globex.test/"}))
    header = schema("prospects", PEOPLE | {"account_domain": TEXT})
    run = sync([header, record("prospects", id=1, emails="a@x.test", account_domain="globex.test")])
    assert run.counts("prospects") == {"received": 1, "created": 1}
    (person,) = sandbox.store.all("prospects")
    (account,) = sandbox.store.all("accounts")
    assert person["relationships"]["account"]["data"]["id"] == account["id"]


@pytest.mark.parametrize("text", ["vip, food", "vip;food", "{vip,food}", "['vip', 'food']"])
def test_tags_in_text_are_a_list(sync, sandbox, text):
    sync(people({"tags": text}))
    assert attributes(sandbox, "prospects")[0]["tags"] == ["vip", "food"]


def test_what_is_no_phone_is_not_delivered_and_a_rounded_one_is_refused(sync, sandbox):
    rows = ["n/a", "14155550101.0", "1.41556E+10", "n/a; +1 415 555 0102"]
    run = sync(people(*({"work_phone": text} for text in rows)))
    assert run.counts("prospects") == {"received": 4, "created": 3, "rejected": 1}
    phones = [one["workPhones"] for one in attributes(sandbox, "prospects")]
    assert sorted(phone or [] for phone in phones) == [[], ["+14155550101"], ["+14155550102"]]
    dropped = {"workPhones: no telephone number": 2}
    assert run.report["streams"]["prospects"]["values_dropped"] == dropped
    assert run.rejects[-1]["error"]["code"] == "invalid_value"


def test_invisible_characters_make_no_second_person(sync, sandbox):
    addresses = ["\u200bann@x.test", "a\u00adnn@x.test", "ann@x.test\u00a0", "\ufeffAnn@x.test"]
    header = schema("prospects", PEOPLE, keys=())
    run = sync([header, *(record("prospects", emails=one) for one in addresses)])
    assert run.exit_code == 0
    (person,) = attributes(sandbox, "prospects")
    assert person["emails"] == ["ann@x.test"]


def test_booleans_are_read_as_people_write_them(sync, sandbox):
    texts = ["Yes", "No", "Y", "n", "t", "FALSE", "1", "0"]
    sync(people(*({"email_opted_out": text} for text in texts)))
    read = {one["emails"][0]: one["emailOptedOut"] for one in attributes(sandbox, "prospects")}
    assert [read[f"p{n}@x.test"] for n in range(1, 9)] == [True, False] * 4


def test_a_value_that_does_not_fit_can_be_omitted_instead_of_its_row(sync, sandbox):
    rows = people(
        {"score": "many", "title": "Head"},
        {"title": "x" * 300, "score": "7"},
        {"emails": "good@x.test; N/A"},
        {"emails": "N/A"},
        {"work_phone": "1.41556E+10", "email_opted_out": "perhaps"},
    )
    assert sync(rows).counts("prospects") == {"received": 5, "rejected": 5}
    run = sync(rows, on_invalid_value="skip_field")
    assert run.counts("prospects") == {"received": 5, "created": 4, "rejected": 1}
    assert run.rejects[-1]["error"]["code"] == "missing_required"
    people_there = {one["emails"][0]: one for one in attributes(sandbox, "prospects")}
    assert people_there["p1@x.test"]["title"] == "Head"
    assert people_there["p2@x.test"]["score"] == 7
    assert "good@x.test" in people_there
    assert run.report["streams"]["prospects"]["values_dropped"] == {
        "score: does not fit": 1,
        "title: does not fit": 1,
        "emails: does not fit": 2,
        "workPhones: does not fit": 1,
        "emailOptedOut: does not fit": 1,
    }
    assert "many" not in run.log


def test_an_id_of_outreach_that_is_none_always_rejects_the_row(sync):
    header = schema("prospects", PEOPLE | {"outreach_id": TEXT})
    row = record("prospects", id=1, emails="a@x.test", outreach_id="first")
    run = sync([header, row], on_invalid_value="skip_field")
    assert run.rejects[-1]["error"]["code"] == "invalid_id"


# Links by what identifies nobody


LINKED = PEOPLE | {"account_domain": TEXT}


@pytest.mark.parametrize("said", [*NO_HOSTS, "gmail.com", "https://www.facebook.com/acme"])
@pytest.mark.parametrize("policy", ["reject", "skip", "create"])
@pytest.mark.parametrize("on_null", ["ignore", "clear"])
def test_a_link_by_what_identifies_no_company_is_no_link(sync, sandbox, said, policy, on_null):
    sandbox.store.seed("accounts", {"name": "Shared", "domain": "gmail.com"})
    own = sandbox.store.seed("accounts", {"name": "Own", "domain": "own.test"})
    sync([schema("prospects", LINKED), person(1, "own.test")])
    rows = [person(1, said), person(2, said)]
    run = sync([schema("prospects", LINKED), *rows], on_missing_relation=policy, on_null=on_null)
    assert run.exit_code == 0
    assert run.counts("prospects") == {"received": 2, "created": 1, "unchanged": 1}
    links = {
        one["attributes"]["emails"][0]: one["relationships"]["account"]["data"]
        for one in sandbox.store.all("prospects")
    }
    assert links["p1@x.test"]["id"] == own
    assert links["p2@x.test"] is None or named(sandbox, links["p2@x.test"]) is False
    assert len([one for one in attributes(sandbox) if one.get("named") is not False]) == 2
    (dropped,) = run.report["streams"]["prospects"]["values_dropped"].items()
    assert (dropped[0].partition(":")[0], dropped[1]) == ("account.domain", 2)
    (warning,) = [line for line in run.log.splitlines() if "is not delivered" in line]
    assert "column 'account_domain', line 2 of the input" in warning


def person(number, domain):
    row = {"id": number, "emails": f"p{number}@x.test", "account_domain": domain}
    return record("prospects", **row)


def named(sandbox, link):
    return sandbox.store.get("accounts", link["id"])["attributes"].get("named")


def test_shared_domains_of_the_settings_link_nobody_either(sync, sandbox):
    sandbox.store.seed("accounts", {"name": "Portal", "domain": "portal.example"})
    run = sync(
        [schema("prospects", LINKED), person(1, "portal.example")],
        shared_domains=["portal.example"],
    )
    reason = "account.domain: a host that many companies share"
    assert run.report["streams"]["prospects"]["values_dropped"] == {reason: 1}


def test_a_link_goes_by_the_name_where_the_domain_identifies_nobody(sync, sandbox):
    acme = sandbox.store.seed("accounts", {"name": "Acme", "domain": "acme.test"})
    names = {
        "id": {"type": "integer"},
        "emails": TEXT,
        "account_domain": TEXT,
        "account_name": TEXT,
    }
    row = {"id": 1, "emails": "a@x.test", "account_domain": "N/A", "account_name": "Acme"}
    sync([schema("prospects", names), record("prospects", **row)])
    (one,) = sandbox.store.all("prospects")
    assert one["relationships"]["account"]["data"]["id"] == acme


# The name of an account that is not there


def with_account(**row):
    names = dict.fromkeys(("emails", "Account Name", "company", "title"), TEXT)
    names = {name: names[name] for name in ("emails", "Account Name", *row) if name in names}
    row = {"emails": "a@x.test", "Account Name": "Larkspur Foods"} | row
    return [schema("prospects", names), record("prospects", **row)]


def company(sandbox):
    return sandbox.store.all("prospects")[0]["attributes"].get("company")


def test_the_name_of_a_missing_account_fills_an_empty_company(sync, sandbox):
    run = sync(with_account(), on_missing_relation="skip")
    assert run.counts("prospects") == {"received": 1, "created": 1}
    assert company(sandbox) == "Larkspur Foods"
    assert run.report["streams"]["prospects"]["links_left_out"] == {"account.name": 1}
    again = sync(with_account(), on_missing_relation="skip")
    assert again.counts("prospects") == {"received": 1, "unchanged": 1}


@pytest.mark.parametrize("held", [None, "", "Quill Ltd"])
@pytest.mark.parametrize("on_null", ["ignore", "clear"])
def test_an_update_fills_a_company_only_where_there_is_none(sync, sandbox, held, on_null):
    sandbox.store.seed("prospects", {"emails": ["a@x.test"], "company": held})
    sync(with_account(title="CEO"), on_missing_relation="skip", on_null=on_null)
    assert company(sandbox) == (held or "Larkspur Foods")


def test_the_company_that_a_row_says_itself_comes_before_the_name_of_its_account(sync, sandbox):
    sync(with_account(company="Quill Ltd"), on_missing_relation="skip")
    assert company(sandbox) == "Quill Ltd"
    sync(with_account(company="Quill Inc"), on_missing_relation="skip")
    assert company(sandbox) == "Quill Inc"


def test_a_rule_for_the_company_holds_for_the_name_of_a_missing_account_too(sync, sandbox):
    entry = {"stream": "prospects", "field_rules": {"company": "never"}}
    sync(with_account(), on_missing_relation="skip", streams=[entry])
    assert company(sandbox) is None


def test_a_dry_run_plans_the_company_that_a_missing_account_leaves(sync, sandbox, tmp_path):
    path = tmp_path / "plan.jsonl"
    sync(with_account(), on_missing_relation="skip", dry_run=True, changes_path=str(path))
    assert '"company":' in path.read_text(encoding="utf-8")
    assert sandbox.store.all("prospects") == []
