"""Writes the generated parts of `docs`, meltano.yml and the Hub entries, from the code.

python -m uv run nox --session docs-tables
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import yaml

from target_outreach.sandbox.profile import Profile
from target_outreach.settings import TIERS
from target_outreach.settings.access import BEARER, OAUTH_NEEDS, SERVER
from target_outreach.target import TargetOutreach

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
DOCS = ROOT / "docs"
SETTINGS = DOCS / "settings.md"
SANDBOX = DOCS / "sandbox.md"
#: The README and the pages of the site.
PAGES = [README, *sorted(DOCS.glob("*.md"))]
MELTANO = ROOT / "meltano.yml"
PROJECT = ROOT / "pyproject.toml"
HUB = ROOT / ".github" / "hub"
#: A definition for each place that the package can be installed from: the package index, and a
#: clone beside the Meltano project.
HUB_ENTRIES = {
    HUB / "target-outreach.yml": "target-outreach",
    HUB / "from-clone.yml": "-e ../target-outreach",
}
SETTINGS_PREAMBLE = """\
Configure one kind of credentials: an OAuth app, a server-to-server app, or an access token; with
`sandbox`, a local Outreach, none.
"""
NEXT_STEPS = """\
1. With an OAuth app, give it the redirect URI `https://localhost:8766/callback` in Outreach. Then
   log in once in the browser: `meltano invoke target-outreach:login` (on a server: `--no-browser`)
2. Check credentials, scopes and the budget of requests: `meltano invoke target-outreach:check`
3. See what a run would write: `TARGET_OUTREACH_DRY_RUN=true meltano run <tap> target-outreach`
"""


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
            "\n".join([f"## {tier}", "", "| setting | default | meaning |", "|---|---|---|", *rows])
        )
    return "\n\n".join(parts)


def _row(name: str, setting: dict[str, Any]) -> str:
    default = setting.get("default")
    shown = "" if default is None else f"`{_text(default)}`"
    description = " ".join(setting["description"].split()).replace("|", "\\|")
    secret = "**Secret.** " if setting.get("secret") else ""
    return f"| `{name}` | {shown} | {secret}{description} |"


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


def profile_table() -> str:
    """The switches of the sandbox as a Markdown table: name, default, and what the class says."""
    said = inspect.cleandoc(Profile.__doc__ or "").partition("Attributes:\n")[2]
    meanings = dict(re.findall(r"^    (\w+): ((?:.+\n?)(?:^ {8}.*\n?)*)", said, re.MULTILINE))
    rows = []
    for field in dataclasses.fields(Profile):
        default = "" if field.default is None else f"`{json.dumps(field.default)}`"
        meaning = " ".join(meanings[field.name].split()).replace("``", "`")
        rows.append(f"| `{field.name}` | {default} | {meaning} |")
    return "\n".join(["| switch | default | meaning |", "|---|---|---|", *rows])


#: What is generated: the page, the name in the comments around it, and what writes it.
GENERATED = {"settings": (SETTINGS, settings_table), "profile": (SANDBOX, profile_table)}


def page_as_it_should_be(name: str) -> str:
    """The text of a page with its generated part as it should be."""
    path, generate = GENERATED[name]
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    head, _, rest = path.read_text(encoding="utf-8").partition(begin)
    _, _, tail = rest.partition(end)
    return f"{head}{begin}\n\n{generate()}\n\n{end}{tail}"


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


def about() -> dict[str, Any]:
    """What the target says of itself, as the Hub's own tool asks it."""
    command = [sys.executable, "-m", "target_outreach", "--about", "--format", "json"]
    done = subprocess.run(command, capture_output=True, check=True, cwd=ROOT)
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def hub_entry(pip_url: str) -> dict[str, Any]:
    """The plugin definition for Meltano Hub.

    Args:
        pip_url: What Meltano hands to its installer.
    """
    said = about()
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    prefix = "Programming Language :: Python :: "
    pythons = [name.removeprefix(prefix) for name in project["classifiers"] if prefix in name]
    (loader,) = yaml.safe_load(MELTANO.read_text(encoding="utf-8"))["plugins"]["loaders"]
    return {
        "name": said["name"],
        "namespace": loader["namespace"],
        "variant": loader["variant"],
        "label": "Outreach",
        "description": "Sales engagement: prospects and accounts",
        "pip_url": pip_url,
        "executable": loader["executable"],
        "repo": project["urls"]["Repository"],
        "domain_url": "https://www.outreach.io",
        "logo_url": "/assets/logos/loaders/outreach.png",
        "keywords": ["api", "meltano_sdk", "reverse_etl"],
        "maintenance_status": "beta",
        "quality": "silver",  # what the Hub gives to a target of the SDK that few use yet
        "log_parser": "singer-sdk",
        "capabilities": sorted(said["capabilities"]),
        "supported_python_versions": [name for name in pythons if re.fullmatch(r"3\.\d+", name)],
        "settings_group_validation": [
            [*OAUTH_NEEDS],
            [*OAUTH_NEEDS, "refresh_token"],
            [*SERVER],
            [*BEARER],
            ["sandbox"],
        ],
        "settings": _hub_settings(said["settings"]["properties"]),
        "commands": loader["commands"],
        "settings_preamble": SETTINGS_PREAMBLE,
        "next_steps": NEXT_STEPS,
    }


def _hub_settings(known: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """The settings in the order of the page's tables, secrets of the kind that the Hub needs.

    Meltano itself has given that kind up for `sensitive`; every loader of the Hub has both.
    """
    ordered = [name for names in tiers().values() for name in names]
    settings = [_meltano_setting(name, known[name]) for name in ordered]
    return [one | {"kind": "password"} if one.get("sensitive") else one for one in settings]


class _Readable(yaml.SafeDumper):
    """Writes text of several lines as such."""


def _represent(dumper: _Readable, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Readable.add_representer(str, _represent)


def hub_text(pip_url: str) -> str:
    """The definition as YAML, its keys sorted as the Hub needs them."""
    text = yaml.dump(hub_entry(pip_url), Dumper=_Readable, width=100, allow_unicode=True)
    return f"# Made by `nox --session docs-tables`.\n{text}"


def main() -> None:
    """Write all generated documents."""
    for name, (page, _) in GENERATED.items():
        page.write_text(page_as_it_should_be(name), encoding="utf-8")
    text = MELTANO.read_text(encoding="utf-8")
    MELTANO.write_text(meltano_with_settings(text), encoding="utf-8")
    for path, pip_url in HUB_ENTRIES.items():
        path.write_text(hub_text(pip_url), encoding="utf-8")


if __name__ == "__main__":
    main()
