"""What two versions of one row amount to, if they wait together and are written as one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from target_outreach.records.contacts import same_phone
from target_outreach.records.opt_outs import undoes_opt_out
from target_outreach.records.values import as_held, is_unset, missing_from, texts_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from target_outreach.records.model import Attribute, Desired, ObjectType, Reference, Value
    from target_outreach.records.rules import Rules


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
        if rules.field_rule(name) == "on_create":
            continue  # what the earlier record says, or leaves unsaid, is what would be created
        before = attributes.get(name)
        if name not in attributes or (is_unset(before) and value is not None):
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
    rule = rules.field_rule(name)
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
    if rules.field_rule(name) == "if_empty":
        return True
    return not rules.allow_opt_in and undoes_opt_out(name, wanted, before)


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
