"""What each kind of attribute takes, and when two values are the same."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from target_outreach.errors import RecordFault
from target_outreach.records.contacts import domain_key, email_key, is_email, same_phone
from target_outreach.records.model import Attribute
from target_outreach.records.values import coerce, differing, item_comparison, missing_from, same


def attribute(kind):
    return Attribute(name="emails" if kind == "emails" else "field", kind=kind, description="")


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("text", "  Ann ", "  Ann "),
        ("text", "", None),
        ("text", " \t\n", None),
        ("text", None, None),
        ("text", True, "true"),
        ("text", False, "false"),
        ("text", 12, "12"),
        ("text", 12.0, "12"),
        ("text", Decimal("1.50"), "1.5"),
        ("text", Decimal("1E+3"), "1000"),
        ("text", Decimal("1E-7"), "0.0000001"),
        ("text", Decimal("-0.0"), "0"),
        ("text", 2**70, str(2**70)),
        ("integer", "42", 42),
        ("integer", " 42.0 ", 42),
        ("integer", 42.0, 42),
        ("integer", Decimal("42.00"), 42),
        ("integer", "", None),
        ("number", "1e2", 100),
        ("number", ".5", 0.5),
        ("number", Decimal("78.25"), 78.25),
        ("number", 78, 78),
        ("boolean", True, True),
        ("boolean", "TRUE", True),
        ("boolean", "false", False),
        ("boolean", 1, True),
        ("boolean", Decimal(0), False),
        ("date", "2026-03-31", "2026-03-31"),
        ("date", "2026-03-31T00:00:00+00:00", "2026-03-31"),
        ("date-time", "2026-03-31", "2026-03-31T00:00:00.000Z"),
        ("date-time", "2026-03-31T09:30:00", "2026-03-31T09:30:00.000Z"),
        ("date-time", "2026-03-31 09:30:00.123456789+02:00", "2026-03-31T07:30:00.123Z"),
        ("date-time", "2026-03-31T09:30:00Z", "2026-03-31T09:30:00.000Z"),
        ("texts", "vip", ["vip"]),
        ("texts", "a, b;c ,a", ["a", "b", "c"]),
        ("texts", ["a, b"], ["a, b"]),
        ("texts", '["a, b"]', ["a, b"]),
        ("texts", '{a,"b, c",NULL}', ["a", "b, c"]),
        ("texts", "{}", []),
        ("texts", "['a', 'b']", ["a", "b"]),
        ("texts", "['a, b']", ["a, b"]),
        ("texts", "NaN", []),
        ("texts", "None", []),
        ("texts", "[draft, open", ["[draft", "open"]),
        ("texts", '["a", "b", "a", null, " "]', ["a", "b"]),
        ("texts", ["x", 1, None, True], ["x", "1", "true"]),
        ("texts", "[draft", ["[draft"]),
        ("texts", '"quoted"', ["quoted"]),
        ("texts", "null", []),
        ("texts", [], []),
        ("texts", 7, ["7"]),
        ("emails", "Ann@Example.test", ["Ann@Example.test"]),
        ("emails", " a@x.test ; b@x.test,A@X.test", ["a@x.test", "b@x.test"]),
        ("emails", '["a@x.test"]', ["a@x.test"]),
        ("emails", ["a@x.test", None, ""], ["a@x.test"]),
        ("emails", "{a@x.test,b@x.test}", ["a@x.test", "b@x.test"]),
        ("emails", "['a@x.test']", ["a@x.test"]),
        ("emails", "\u200ba\u00ad@x.test\ufeff", ["a@x.test"]),
        ("emails", ["jose\u0301@x.test", "jos\u00e9@x.test"], ["jose\u0301@x.test"]),
        ("phones", 4155550100, ["4155550100"]),
        ("phones", ["(415) 555-0100", "415-555-0100"], ["(415) 555-0100"]),
        ("phones", ["020 7946 0958", "1", "+442079460958"], ["+442079460958"]),
        ("phones", "n/a", []),
        ("phones", "{+14155550101,+14155550102}", ["+14155550101", "+14155550102"]),
        ("phones", "+1 415 555 0103 / +1 415 555 0104", ["+1 415 555 0103", "+1 415 555 0104"]),
        ("phones", "0711 / 123456", ["0711 / 123456"]),
        ("phones", "415-555-0101; 415-555-0102", ["415-555-0101", "415-555-0102"]),
        ("phones", "415-555-0101, ext. 12", ["415-555-0101, ext. 12"]),
        ("phones", "14155550101.0", ["14155550101"]),
        ("phones", Decimal("14155550101.0"), ["14155550101"]),
        ("phones", "1.4155550101E+10", ["14155550101"]),
        ("phones", "415.555.0100", ["415.555.0100"]),
        ("boolean", "yes", True),
        ("boolean", " No ", False),
        ("boolean", "T", True),
        ("boolean", "n", False),
        ("boolean", "1.0", True),
        ("boolean", "Do Not Allow", True),
        ("boolean", "Allow", False),
        ("domain", " https://www.Acme.test/about ", "acme.test"),
        ("domain", "müller.example", "xn--mller-kva.example"),
    ],
)
def test_a_value_becomes_what_its_attribute_takes(kind, value, expected):
    assert coerce(attribute(kind), value) == expected


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("text", {"a": 1}),
        ("text", ["a"]),
        ("text", float("nan")),
        ("text", "half \ud800 pair"),
        ("integer", "many"),
        ("integer", 1.5),
        ("integer", True),
        ("integer", "1_000"),
        ("integer", "1e999"),
        ("number", "NaN"),
        ("number", float("inf")),
        ("number", "12 kg"),
        ("boolean", "unsubscribed"),
        ("boolean", 2),
        ("date", "01/02/2024"),
        ("date", "2024-02-30"),
        ("date", "2024-01-01T10:00:00"),
        ("date-time", "01/02/2024"),
        ("date-time", 1700000000),
        ("date-time", "yesterday"),
        ("texts", {"a": 1}),
        ("texts", [["nested"]]),
        ("phones", "1.41556E+10"),
        ("phones", {"value": "+14155550101"}),
        ("emails", "nope"),
        ("emails", "a@x.test, nope"),
        ("emails", "Ann <a@x.test>"),
        ("emails", "a@localhost"),
        ("emails", "a b@x.test"),
        ("emails", "'a@x.test"),
        ("emails", ["a@x.test", "`b@x.test"]),
        ("emails", f"{'a' * 250}@x.test"),
    ],
)
def test_what_does_not_fit_rejects_the_record_without_repeating_it(kind, value):
    with pytest.raises(RecordFault) as caught:
        coerce(attribute(kind), value)
    assert caught.value.code == "invalid_value"
    assert str(value) not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("globex.test", "globex.test"),
        ("https://www.Globex.TEST:8443/a?u=http://x.y", "globex.test"),
        ("globex.test.", "globex.test"),
        ("//globex.test/path", "globex.test"),
        ("globex.test/path?u=http://x.y", "globex.test"),
        ("user@globex.test", ""),
        ("mailto:user@globex.test", ""),
        ("globex.test, globex.example", ""),
        ("globex.test;globex.example", ""),
        ("globex.test globex.example", ""),
        ("192.168.0.1", ""),
        ("[::1]", ""),
        ("localhost", ""),
        ("n.a.", ""),
        ("-", ""),
        ("http://", ""),
        ("http:/globex.test", "globex.test"),
        ("htp://globex.test", "globex.test"),
        ("http://http://globex.test", "globex.test"),
        ("\u200bglobex.test\ufeff", "globex.test"),
        ("globex.test:99999", ""),
        ("www.www.globex.test", "globex.test"),
        ("www.test", "www.test"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("WWW.bücher.example", "xn--bcher-kva.example"),
        ("sub.globex.test", "sub.globex.test"),
        ("n/a", ""),
        ("Acme Inc", ""),
        ("http://[", ""),
        ("", ""),
    ],
)
def test_domains_are_compared_by_their_bare_host(text, key):
    assert domain_key(text) == key


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ("(415) 555-0100", "+14155550100", True),
        ("415.555.0100", "4155550100", True),
        ("555-0100", "+14155550100", True),
        ("50100", "+14155550100", False),
        ("020 7946 0958", "+442079460958", True),
        ("06 12 34 56 78", "+33612345678", True),
        ("+44 (0)20 7946 0958", "+442079460958", True),
        ("0044 20 7946 0958", "+442079460958", True),
        ("020 7946 0959", "+442079460958", False),
        ("0123456", "+49123456", False),
        ("000", "000", True),
        ("+14155550101", "+14155550100", False),
        ("ext", "ext", True),
        ("ext", "+1", False),
    ],
)
def test_phones_are_equal_when_their_digits_are_or_one_ends_with_the_other(one, other, equal):
    assert same_phone(one, other) is equal
    assert same_phone(other, one) is equal


@pytest.mark.parametrize(
    ("kind", "ours", "held", "equal"),
    [
        ("text", "a", "a", True),
        ("text", "a", "A", False),
        ("text", None, "", True),
        ("text", "1", 1, True),
        ("number", 78, 78.0, True),
        ("boolean", None, False, True),
        ("boolean", False, None, False),
        ("emails", ["A@x.test"], ["a@x.test"], True),
        ("emails", ["a@x.test"], ["a@x.test", "b@x.test"], False),
        ("phones", ["(415) 555-0100"], ["+14155550100"], True),
        ("texts", [], None, True),
        ("domain", "https://www.acme.test/", "ACME.test", True),
        ("domain", "n/a", "N/A", True),
        ("date-time", "2026-03-31T09:30:00.123Z", "2026-03-31T09:30:00.000Z", True),
        ("date-time", "2026-03-31T09:30:01.000Z", "2026-03-31T09:30:00.000Z", False),
        ("date-time", "2026-03-31T09:30:00.000Z", "nonsense", False),
    ],
)
def test_values_are_the_same_up_to_what_does_not_count(kind, ours, held, equal):
    assert same(attribute(kind), ours, held) is equal


@given(st.text(), st.sampled_from(["text", "integer", "number", "boolean", "date", "date-time"]))
def test_coercing_twice_changes_nothing_more(text, kind):
    try:
        once = coerce(attribute(kind), text)
    except RecordFault:
        return
    assert coerce(attribute(kind), once) == once


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12))
def test_numbers_as_text_keep_their_value_and_show_no_exponent(number):
    text = coerce(attribute("text"), number)
    assert Decimal(text) == number
    assert "E" not in text


@given(st.text(max_size=40))
def test_no_text_breaks_the_domain_key_or_the_address_check(text):
    assert domain_key(domain_key(text)) == domain_key(text)
    assert is_email(text) in {True, False}


@given(st.emails())
def test_the_key_of_an_address_ignores_case_and_blanks_around_it(address):
    assert email_key(f" {address.upper()} ") == address.upper().lower()


def result(kind, value):
    """The converted value, or None if it is refused."""
    try:
        return coerce(attribute(kind), value)
    except RecordFault:
        return None


MOMENTS = st.from_regex(
    r"[0-9]{4}-[0-3]\d-[0-3]\d([T ][0-2]\d:[0-6]\d:[0-6]\d(\.[0-9]{1,8})?(Z|\+00:00))?",
    fullmatch=True,
    alphabet=st.characters(codec="ascii"),
)


@given(MOMENTS, st.sampled_from(["date", "date-time"]))
def test_a_date_in_the_usual_form_is_read_as_one_in_any_other(text, kind):
    assert result(kind, text) == result(kind, f" {text} ")
    if kind == "date-time" and text.endswith("Z"):
        assert result(kind, text) == result(kind, f"{text.removesuffix('Z')}+0000")


@given(st.integers() | st.decimals(), st.sampled_from(["integer", "number"]))
def test_a_number_is_read_as_its_text(number, kind):
    as_number, as_text = result(kind, number), result(kind, str(number))
    assert as_number == as_text
    assert type(as_number) is type(as_text)


@given(
    st.text() | st.emails() | st.from_regex(r"\+?[0-9 ()-]{1,20}", fullmatch=True),
    st.sampled_from(["texts", "emails", "phones"]),
)
def test_a_lone_text_is_read_as_a_list_of_it(text, kind):
    if not text.strip() or text.lstrip()[0] in '["{nN':
        return  # nothing, or it may be the text of a list
    if kind == "texts" and ("," in text or ";" in text):
        return  # what divides a text does not divide the items of a list
    assert result(kind, text) == result(kind, [text])


SINGLE = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 2), st.just(1.0), st.sampled_from("aA1")
)
LISTS = st.lists(
    st.sampled_from(["a@x.test", "A@x.test", "15550100", "5550100", "50100"]), max_size=3
)


@given(st.dictionaries(st.sampled_from("xyz"), SINGLE | LISTS), st.data())
def test_what_is_held_word_for_word_does_not_differ(ours, data):
    held = data.draw(
        st.fixed_dictionaries({name: SINGLE | LISTS | st.just(ours[name]) for name in ours})
    )
    left = differing(ours, held)
    assert list(left) == [name for name in ours if name in left]
    for name in ours:
        alike = ours[name] == held[name] and type(ours[name]) is type(held[name])
        assert (name not in left) is alike


@given(LISTS, LISTS)
def test_items_that_are_held_as_they_are_are_not_missing(held, ours):
    for kind in ("texts", "emails", "phones"):
        is_same = item_comparison(attribute(kind))
        missing = missing_from(attribute(kind), held, ours)
        assert all(any(map(is_same, [item] * len(held + missing), held + missing)) for item in ours)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("+44 (0)20 7946 0958", "+4402079460958"),
        ("+44 20 7946 0958", "+4402079460958"),
        ("020 7946 0958", "+442079460958"),
    ],
)
def test_a_trunk_zero_that_was_kept_behind_the_code_does_not_count(one, other):
    assert same_phone(one, other)
    assert same_phone(other, one)
