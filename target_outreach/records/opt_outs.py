"""Refusals to be contacted, which nothing undoes unless the settings say so."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from target_outreach.records.catalog import load_catalog

if TYPE_CHECKING:
    from collections.abc import Mapping

    from target_outreach.errors import RecordFault
    from target_outreach.records.model import Desired, ObjectType, Value
    from target_outreach.records.rules import Rules


#: For each attribute about consent, those in which an opt-out forbids to undo it.
OPT_OUTS: Mapping[str, tuple[str, ...]] = {
    attribute.name: attribute.opt_outs
    for one in load_catalog().values()
    for attribute in one.attributes.values()
    if attribute.opt_outs
}


def only_opt_out(
    object_type: ObjectType, desired: Desired, rules: Rules, fault: RecordFault
) -> Desired | None:
    """Return what is still delivered of a rejected row: that somebody refuses to be contacted.

    Args:
        object_type: The object that the row is for.
        desired: What it says, as far as it could be read.
        rules: The settings of its stream.
        fault: Why it is rejected; it is told of the opt-out.

    Returns:
        Its opt-outs and what it is found by, or None where it has no opt-out.
    """
    said = {
        name: value
        for name, value in desired.attributes.items()
        if name in object_type.attributes and name in OPT_OUTS and is_opt_out(value)
    }
    if not said:
        return None
    fault.opt_out = "not delivered"  # until it is
    keys = {
        name: desired.attributes[name] for name in rules.match_fields if name in desired.attributes
    }
    return replace(
        desired, attributes={**keys, **said}, relationships={}, references={}, fault=fault
    )


def undoes_opt_out(name: str, wanted: Value, held: Mapping[str, Any]) -> bool:
    """Whether a change would take back somebody's refusal to be contacted."""
    return not is_opt_out(wanted) and any(
        is_opt_out(held.get(related)) for related in OPT_OUTS.get(name, ())
    )


def has_opted_out_of_mail(held: Mapping[str, Any]) -> bool:
    """Whether somebody refuses all contact, or mail."""
    return any(is_opt_out(held.get(name)) for name in OPT_OUTS["emailsOptStatus"])


def is_opt_out(value: Any) -> bool:  # noqa: ANN401 - ours, or Outreach's JSON
    """Whether a value of an attribute about consent refuses to be contacted."""
    return value is True or value == "opted_out"


def with_opt_outs(earlier: Desired, later: Desired, rules: Rules) -> Desired:
    """Return the later one of two records, with the opt-outs of the earlier one.

    With `allow_opt_in` it can say otherwise; that it says nothing does not opt anybody in.
    """
    said = earlier.attributes
    kept = {
        name: said[name]
        for name in OPT_OUTS
        if name in said
        and undoes_opt_out(name, later.attributes.get(name), {name: said[name]})
        and not (rules.allow_opt_in and later.attributes.get(name) is not None)
    }
    if not kept:
        return later
    return replace(later, attributes={**later.attributes, **kept})
