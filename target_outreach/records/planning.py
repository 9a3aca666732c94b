"""What to do about one record: create, update with what differs, nothing, skip, or reject.

A real run and a dry run ask the same function. It sends nothing, reads nothing and knows no time.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from target_outreach.errors import RecordFault
from target_outreach.records.model import (
    Attribute,
    Create,
    Desired,
    ObjectType,
    Plan,
    Reference,
    Resource,
    Skip,
    Unchanged,
    Update,
    Value,
)
from target_outreach.records.values import (
    as_held,
    differing,
    is_empty,
    missing_from,
    same,
    same_phone,
    texts_of,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from target_outreach.records.rules import FieldRule, Rules


#: For each attribute about consent, those in which an opt-out forbids to undo it.
OPT_OUTS: Mapping[str, tuple[str, ...]] = {
    "optedOut": ("optedOut",),
    "emailOptedOut": ("optedOut", "emailOptedOut", "emailsOptStatus"),
    "emailsOptStatus": ("optedOut", "emailOptedOut", "emailsOptStatus"),
    "callOptedOut": ("optedOut", "callOptedOut", "callsOptStatus"),
    "callsOptStatus": ("optedOut", "callOptedOut", "callsOptStatus"),
}


def needs_fresh_read(object_type: ObjectType, decided: Plan, rules: Rules) -> bool:
    """Whether a plan is right only as long as Outreach holds what was read.

    A list is replaced as a whole, `if_empty` rests on what was empty, an opt-out or a linked
    account may forbid a change, and a second record may not be refused.
    """
    if isinstance(decided, Create):
        return object_type.unique_by is None and rules.sync_mode == "upsert"
    if not isinstance(decided, Update):
        return False
    return any(
        object_type.attributes[name].is_array or name in OPT_OUTS or name == "company"
        for name in decided.attributes
    ) or any(
        rules.field_rules.get(name) == "if_empty"
        for name in (*decided.attributes, *decided.relationships)
    )


def plan(object_type: ObjectType, desired: Desired, found: Resource | None, rules: Rules) -> Plan:
    """Decide what to do about a record.

    Args:
        object_type: The object that the record is for.
        desired: What the record says.
        found: What it is about, or None where nothing matched.
        rules: The settings of its stream.

    Raises:
        RecordFault: It is to be updated by an id that Outreach does not know, or created without
            what a new record needs.
    """
    if rules.sync_mode == "insert":
        return _plan_create(object_type, desired, rules)
    if found is not None:
        return _plan_update(object_type, desired, found, rules)
    if desired.id is not None:
        message = "Outreach has no record of this id, or the token may not see it."
        raise RecordFault("record_not_found", message, field="id")
    if rules.sync_mode == "update":
        return Skip("no_match")
    return _plan_create(object_type, desired, rules)


def plan_unseen(
    object_type: ObjectType,
    desired: Desired,
    resource_id: int,
    changed: Collection[str],
    rules: Rules,
) -> Update | Unchanged | None:
    """Decide about a record that was delivered before, without knowing what Outreach holds.

    Args:
        object_type: The object that the record is for.
        desired: What the record says.
        resource_id: The Outreach id that it was delivered to.
        changed: The attributes and relationships in which it says something else than it did.
        rules: The settings of its stream.

    Returns:
        The plan, or None where it depends on what Outreach holds: a list is laid over it,
        `if_empty` asks for it, an opt-out or a linked account may forbid the change, and what it is
        to be linked to must be found.
    """
    unseen = Resource(resource_id, {}, {})
    if not changed:
        return Unchanged(unseen, {})
    held_back: dict[str, int] = {}
    attributes: dict[str, Value] = {}
    links: dict[str, int | None] = {}
    for name in changed:
        if _rule(name, rules) in {"never", "on_create"}:
            held_back[name] = 1
        elif name in desired.attributes:
            if _depends_on_held(object_type, name, desired.attributes[name], rules):
                return None
            attributes[name] = desired.attributes[name]
        elif name not in desired.relationships or _rule(name, rules) == "if_empty":
            return None
        else:
            links[name] = desired.relationships[name]
    if rules.sync_mode == "insert":
        return None
    if attributes or links:
        return Update(unseen, attributes, links, held_back)
    return Unchanged(unseen, held_back)


def depends_on_account(
    object_type: ObjectType, desired: Desired, found: Resource, rules: Rules
) -> bool:
    """Whether a plan depends on whether the account that is linked is a named one.

    Outreach links an unnamed account, which it does not show, to each new prospect without one
    (API reference 2.3). That protects no `company`, and is no link that `if_empty` keeps.

    Args:
        object_type: The object that the record is for.
        desired: What the record says.
        found: What it is about, with the account as it was read.
        rules: The settings of its stream.
    """
    if object_type.unnamed_link is None:
        return False
    if (held := found.links.get(object_type.unnamed_link)) is None:
        return False
    if "account" in desired.references and _rule("account", rules) == "if_empty":
        return True
    if (link := desired.relationships.get("account", held)) is None:
        return rules.on_null == "clear"
    if link != held and _rule("account", rules) == "if_empty":
        return True
    company = desired.attributes.get("company")
    return (
        "company" in desired.attributes
        and "company" not in rules.field_rules
        and not _links_account(desired, rules)
        and says_something("company", company, rules)
        and (rules.change_detection == "none" or company != found.attributes.get("company"))
    )


def _depends_on_held(object_type: ObjectType, name: str, value: Value, rules: Rules) -> bool:
    if object_type.attributes[name].is_array or _rule(name, rules) == "if_empty":
        return True
    if name == "company" and "company" not in rules.field_rules:
        return True
    return name in OPT_OUTS and not rules.allow_opt_in and not _is_opt_out(value)


def _plan_create(object_type: ObjectType, desired: Desired, rules: Rules) -> Create:
    required = object_type.required_attribute
    if required is not None and is_empty(desired.attributes.get(required)):
        message = f"A new record needs a value in {required}."
        raise RecordFault("missing_required", message, field=required)
    if rules.sync_mode == "upsert" and required is None and not _is_findable(desired, rules):
        fields = " or ".join(rules.match_fields)
        message = f"Without a value in {fields} it would be created again in each run."
        raise RecordFault("missing_required", message, field=rules.match_fields[0])
    held_back: dict[str, int] = {}
    attributes: dict[str, Value] = {}
    for name, value in desired.attributes.items():
        if is_empty(value):
            continue
        if _rule(name, rules) == "never" or (name == "company" and _links_account(desired, rules)):
            held_back[name] = 1
            continue
        attributes[name] = value
    for name in object_type.required:
        if name not in attributes:
            message = f"A new record needs a value in {object_type.attributes[name].title}."
            raise RecordFault("missing_required", message, field=name)
    links = {name: link for name, link in desired.relationships.items() if link is not None}
    for name in [name for name in links if _rule(name, rules) == "never"]:
        del links[name]
        held_back[name] = 1
    return Create(attributes, links, held_back)


def _is_findable(desired: Desired, rules: Rules) -> bool:
    """Whether a record has a value by which the next run can find it."""
    return any(not is_empty(desired.attributes.get(name)) for name in rules.match_fields)


def _rule(name: str, rules: Rules) -> FieldRule:
    return rules.field_rules.get(name, "always")


def _links_account(desired: Desired, rules: Rules) -> bool:
    """Whether the record itself says which account: its name is then not ours to set."""
    if "company" in rules.field_rules:
        return False
    return "account" in desired.references or desired.relationships.get("account") is not None


def _plan_update(
    object_type: ObjectType, desired: Desired, found: Resource, rules: Rules
) -> Update | Unchanged:
    held_back: dict[str, int] = {}
    changes: dict[str, Value] = {}
    worth_a_look = (
        desired.attributes
        if rules.change_detection == "none"
        else differing(desired.attributes, found.attributes)
    )
    for name, value in worth_a_look.items():
        attribute = object_type.attributes[name]
        held = found.attributes.get(name)
        wanted = _wanted(attribute, value, held, rules)
        if wanted is _KEEP or (rules.change_detection != "none" and same(attribute, wanted, held)):
            continue
        if _is_held_back(name, wanted, desired, found, rules):
            held_back[name] = 1
        else:
            changes[name] = wanted
    links: dict[str, int | None] = {}
    for name, link in desired.relationships.items():
        if link == found.links.get(name) and rules.change_detection != "none":
            continue
        if link is None and rules.on_null != "clear":
            continue
        if _is_link_kept(name, found, rules):
            held_back[name] = 1
        else:
            links[name] = link
    if changes or links:
        return Update(found, changes, links, held_back)
    return Unchanged(found, held_back)


def _is_link_kept(name: str, found: Resource | None, rules: Rules) -> bool:
    """Whether a rule protects what Outreach has linked, or leaves it unlinked."""
    rule = _rule(name, rules)
    if rule == "never":
        return True
    if found is None:
        return False
    return rule == "on_create" or (rule == "if_empty" and found.links.get(name) is not None)


def references_to_find(desired: Desired, found: Resource | None, rules: Rules) -> list[Reference]:
    """List what a record is to be linked to and must be found before it is written.

    Args:
        desired: What the record says.
        found: What it is about, or None where it is to be created.
        rules: The settings of its stream.
    """
    return [
        reference
        for name, reference in desired.references.items()
        if name not in desired.relationships and not _is_link_kept(name, found, rules)
    ]


_KEEP: Any = object()


def says_something(name: str, value: Value, rules: Rules) -> bool:
    """Whether a record says anything of an attribute; a null does only where nulls clear."""
    return value is not None or (rules.on_null == "clear" and name != "emails")


def _wanted(attribute: Attribute, value: Value, held: Any, rules: Rules) -> Any:  # noqa: ANN401
    """Say what the attribute should be, or `_KEEP` where the record has nothing to say of it."""
    if not says_something(attribute.name, value, rules):
        return _KEEP
    if value is None:
        return [] if attribute.is_array else None
    if isinstance(value, list):
        return lay_list_over(attribute, texts_of(held), value, rules)
    return value


def lay_list_over(
    attribute: Attribute, held: list[str], ours: list[str], rules: Rules
) -> list[str]:
    """Lay a list over another by the array rule; an item that is already held keeps its form."""
    if ours == held:
        return held
    kept_form = as_held(attribute, held, ours)
    rule = rules.array_rule(attribute.name)
    if rule == "replace":
        return kept_form or (held if attribute.name == "emails" else [])
    if rule == "merge_first":
        first = set(kept_form)
        return kept_form + [item for item in held if item not in first]
    return held + missing_from(attribute, held, ours)


def _is_held_back(
    name: str, wanted: Value, desired: Desired, found: Resource, rules: Rules
) -> bool:
    """Whether a rule protects what Outreach holds from this change."""
    rule = _rule(name, rules)
    if rule in {"never", "on_create"} or (
        rule == "if_empty" and not is_empty(found.attributes.get(name))
    ):
        return True
    if name == "company" and "company" not in rules.field_rules:
        return found.links.get("account") is not None or _links_account(desired, rules)
    return not rules.allow_opt_in and undoes_opt_out(name, wanted, found.attributes)


def undoes_opt_out(name: str, wanted: Value, held: Mapping[str, Any]) -> bool:
    """Whether a change would take back somebody's refusal to be contacted."""
    return not _is_opt_out(wanted) and any(
        _is_opt_out(held.get(related)) for related in OPT_OUTS.get(name, ())
    )


def has_opted_out_of_mail(held: Mapping[str, Any]) -> bool:
    """Whether somebody refuses all contact, or mail."""
    return any(_is_opt_out(held.get(name)) for name in OPT_OUTS["emailsOptStatus"])


def _is_opt_out(value: Any) -> bool:  # noqa: ANN401
    return value is True or value == "opted_out"


def foldable(object_type: ObjectType, earlier: Desired, later: Desired, rules: Rules) -> bool:
    """Whether one write can do what both records would do after each other.

    It cannot where an array is to be emptied first and then added to, nor where the first write may
    change the form in which Outreach holds what the second one says.
    """
    return all(
        name not in earlier.attributes
        or later.attributes[name] is None
        or _arrays_fold(object_type.attributes[name], earlier, later, rules)
        for name in later.attributes
        if object_type.attributes[name].is_array
    )


def _arrays_fold(attribute: Attribute, earlier: Desired, later: Desired, rules: Rules) -> bool:
    """Whether two records that both speak of an array can be folded; the later one says a list."""
    before, after = earlier.attributes[attribute.name], later.attributes[attribute.name]
    rule = rules.array_rule(attribute.name)
    if before is None and rules.on_null != "clear":
        return True
    if before is None and rule != "replace":
        return False
    if attribute.kind != "phones" or before == after:
        return True  # other items have one form only, or are the same addresses
    # Two numbers may each be the same as a third one, and yet not the same as each other.
    ours, theirs = texts_of(before), texts_of(after)
    return rule == "merge" and not any(
        one != other and same_phone(one, other) for one in ours for other in theirs
    )


def lay_over(object_type: ObjectType, earlier: Desired, later: Desired, rules: Rules) -> Desired:
    """Fold two records of one key that wait together into the one that both amount to."""
    said = earlier.attributes
    attributes = dict(said)
    for name, value in later.attributes.items():
        if _rule(name, rules) == "on_create":
            continue  # what the earlier record says, or leaves unsaid, is what would be created
        before = attributes.get(name)
        if name not in attributes or (is_empty(before) and value is not None):
            if rules.allow_opt_in or not undoes_opt_out(name, value, said):
                attributes[name] = value
        elif value is None:
            if rules.on_null == "clear" and not _keeps_earlier(name, None, said, rules):
                attributes[name] = None
        elif not _keeps_earlier(name, value, said, rules):
            attributes[name] = _later_value(object_type.attributes[name], before, value, rules)
    links, references = _later_links(earlier, later, rules)
    return replace(later, attributes=attributes, relationships=links, references=references)


def _later_links(
    earlier: Desired, later: Desired, rules: Rules
) -> tuple[dict[str, int | None], dict[str, Reference]]:
    """Return what two records amount to link to, by id and otherwise."""
    links, references = dict(earlier.relationships), dict(earlier.references)
    for name, link in later.relationships.items():
        if _keeps_earlier_link(name, earlier, rules):
            continue
        is_said = name in links or name in references
        if link is not None or not is_said or rules.on_null == "clear":
            links[name] = link
            references.pop(name, None)
    for name, reference in later.references.items():
        if not _keeps_earlier_link(name, earlier, rules):
            references[name] = reference
            links.pop(name, None)
    return links, references


def _keeps_earlier_link(name: str, earlier: Desired, rules: Rules) -> bool:
    """Whether a rule would have kept what the earlier record links to, had both been written."""
    rule = _rule(name, rules)
    if rule == "on_create":
        return True
    is_linked = name in earlier.references or earlier.relationships.get(name) is not None
    return rule == "if_empty" and is_linked


def _later_value(attribute: Attribute, before: Value, value: Value, rules: Rules) -> Value:
    if isinstance(value, list) and isinstance(before, list):
        return lay_list_over(attribute, before, value, rules)
    return value


def _keeps_earlier(name: str, wanted: Value, before: Mapping[str, Value], rules: Rules) -> bool:
    """Whether a rule would have kept the earlier value, had both been written."""
    if _rule(name, rules) == "if_empty":
        return True
    return not rules.allow_opt_in and undoes_opt_out(name, wanted, before)
