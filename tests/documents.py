"""Writes what README.md and meltano.yml say of the settings anew, from the code.

python tests/documents.py
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from target_outreach.settings import TIERS
from target_outreach.target import TargetOutreach

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
MELTANO = ROOT / "meltano.yml"
BEGIN, END = "<!-- settings: begin -->", "<!-- settings: end -->"


def properties() -> dict[str, dict[str, Any]]:
    """All settings with their JSON Schemas, the SDK's included."""
    schema = {"properties": dict(TargetOutreach.config_jsonschema["properties"])}
    TargetOutreach.append_builtin_config(schema)
    return schema["properties"]


def tiers() -> dict[str, list[str]]:
    """The names of the settings by tier; what the SDK brings comes last."""
    named = {tier: [setting.name for setting in settings] for tier, settings in TIERS.items()}
    own = {name for names in named.values() for name in names}
    return named | {"From the Meltano SDK": [name for name in properties() if name not in own]}


def settings_table() -> str:
    """The settings as Markdown tables, a table a tier."""
    known = properties()
    parts = []
    for tier, names in tiers().items():
        rows = [_row(name, known[name]) for name in names]
        parts.append(
            "\n".join(
                [f"**{tier}**", "", "| setting | default | meaning |", "|---|---|---|", *rows]
            )
        )
    return "\n\n".join(parts)


def _row(name: str, setting: dict[str, Any]) -> str:
    default = setting.get("default")
    shown = "" if default is None else f"`{_text(default)}`"
    description = " ".join(setting["description"].split()).replace("|", "\\|")
    return f"| `{name}` | {shown} | {description} |"


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def meltano_settings() -> list[dict[str, Any]]:
    """The settings as a plugin definition of Meltano lists them."""
    return [_meltano_setting(name, setting) for name, setting in properties().items()]


def _meltano_setting(name: str, setting: dict[str, Any]) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": name, "label": setting.get("title") or _label(name)}
    choices = [choice for choice in setting.get("enum", ()) if choice is not None]
    entry["kind"] = "options" if choices else _kind(setting["type"])
    if choices:
        entry["options"] = [{"label": _label(choice), "value": choice} for choice in choices]
    if setting.get("secret"):
        entry["sensitive"] = True
    if setting.get("default") is not None:
        entry["value"] = setting["default"]
    return entry | {"description": " ".join(setting["description"].split())}


def _label(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _kind(types: str | list[str]) -> str:
    names = [types] if isinstance(types, str) else types
    for kind in ("boolean", "array", "integer", "object"):
        if kind in names and "string" not in names:
            return kind
    return "string"


def readme_with_settings(text: str) -> str:
    """The README with the tables as they should be."""
    return re.sub(
        f"{BEGIN}.*{END}",
        lambda _: f"{BEGIN}\n\n{settings_table()}\n\n{END}",
        text,
        flags=re.DOTALL,
    )


def meltano_with_settings(text: str) -> str:
    """The project file with the loader's settings as they should be, its comments kept."""
    listing = yaml.safe_dump(
        meltano_settings(), sort_keys=False, width=100, allow_unicode=True, default_flow_style=False
    )
    indented = "".join(f"    {line}\n" for line in listing.splitlines())
    head, loaders = text.split("  loaders:\n")
    body = re.sub(
        r"    settings:\n.*?(?=    config:\n)",
        lambda _: f"    settings:\n{indented}",
        loaders,
        flags=re.DOTALL,
    )
    return f"{head}  loaders:\n{body}"


if __name__ == "__main__":
    for path, renewed in ((README, readme_with_settings), (MELTANO, meltano_with_settings)):
        path.write_text(renewed(path.read_text(encoding="utf-8")), encoding="utf-8")
