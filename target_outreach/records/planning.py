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
from target_outreach.records.opt_outs import OPT_OUTS, is_opt_out, undoes_opt_out
from target_outreach.records.values import (
    differing,
    is_empty,
    is_unset,
    same,
    texts_of,
)
from target_outreach.records.versions import lay_list_over

if TYPE_CHECKING:
    from collections.abc import Collection

    from target_outreach.records.rules import Rules


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
    if desired.fault is not None:
        return _plan_opt_out(object_type, desired, found, rules)
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


def _plan_opt_out(
    object_type: ObjectType, desired: Desired, found: Resource | None, rules: Rules
) -> Update | Unchanged | Skip:
    """Plan the opt-out of a rejected row, for a record that is there, and nothing else of it."""
    if found is None:
        return Skip("no_match")
    said = {name: value for name, value in desired.attributes.items() if name in OPT_OUTS}
    return _plan_update(object_type, replace(desired, attributes=said), found, rules)


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
        if rules.field_rule(name) in {"never", "on_create"}:
            held_back[name] = 1
        elif name in desired.attributes:
            if _depends_on_held(object_type, name, desired.attributes[name], rules):
                return None
            attributes[name] = desired.attributes[name]
        elif name not in desired.relationships or rules.field_rule(name) == "if_empty":
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
    if "account" in desired.references and rules.field_rule("account") == "if_empty":
        return True
    link = desired.relationships.get("account", held)
    if link is None and rules.on_null == "clear":
        return True
    if link not in {None, held} and rules.field_rule("account") == "if_empty":
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
    if object_type.attributes[name].is_array or rules.field_rule(name) == "if_empty":
        return True
    if name == "company" and "company" not in rules.field_rules:
        return True
    return name in OPT_OUTS and not rules.allow_opt_in and not is_opt_out(value)


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
        if rules.field_rule(name) == "never" or (
            name == "company" and _links_account(desired, rules)
        ):
            held_back[name] = 1
            continue
        attributes[name] = value
    for name in object_type.required:
        if name not in attributes:
            message = f"A new record needs a value in {object_type.attributes[name].title}."
            raise RecordFault("missing_required", message, field=name)
    links = {name: link for name, link in desired.relationships.items() if link is not None}
    for name in [name for name in links if rules.field_rule(name) == "never"]:
        del links[name]
        held_back[name] = 1
    return Create(attributes, links, held_back)


def _is_findable(desired: Desired, rules: Rules) -> bool:
    """Whether a record has a value by which the next run can find it."""
    return any(not is_empty(desired.attributes.get(name)) for name in rules.match_fields)


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
        if name in desired.fills and not is_empty(held):
            continue
        wanted = _wanted(attribute, value, held, rules)
        if wanted is _KEEP or (rules.change_detection != "none" and same(attribute, wanted, held)):
            continue
        if _is_prevented(name, wanted, desired, found, rules):
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


def _is_linked_afterwards(desired: Desired, found: Resource, rules: Rules) -> bool:
    """Whether the account that is linked is still linked when the record has been written."""
    if found.links.get("account") is None:
        return False
    is_removed = "account" in desired.relationships and rules.on_null == "clear"
    return not is_removed or _is_link_kept("account", found, rules)


def _is_link_kept(name: str, found: Resource | None, rules: Rules) -> bool:
    """Whether a rule protects what Outreach has linked, or leaves it unlinked."""
    rule = rules.field_rule(name)
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


def _is_prevented(
    name: str, wanted: Value, desired: Desired, found: Resource, rules: Rules
) -> bool:
    """Whether a rule protects what Outreach holds from this change."""
    rule = rules.field_rule(name)
    held = found.attributes.get(name)
    if rule in {"never", "on_create"} or (rule == "if_empty" and not is_unset(held)):
        return True
    if name == "company" and "company" not in rules.field_rules:
        return _is_linked_afterwards(desired, found, rules) or _links_account(desired, rules)
    return not rules.allow_opt_in and undoes_opt_out(name, wanted, found.attributes)
