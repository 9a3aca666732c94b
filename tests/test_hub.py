"""The entries for Meltano Hub follow the code and the Hub's rules, and `meltano add` takes them."""

from __future__ import annotations

import functools
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import urlsplit

import documents
import pytest
import yaml
from jsonschema import Draft7Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT7

from target_outreach.errors import SettingsError
from target_outreach.settings import Settings

BIN = Path(sys.executable).parent
MELTANO = shutil.which("meltano", path=str(BIN))
ENTRIES = {path.stem: path for path in documents.HUB_ENTRIES}

TEXT = {"type": "string"}
TEXTS = {"type": "array", "items": TEXT}
# The rules of the Hub's schemas of August 2026, in words of our own.
RULES = {
    "type": "object",
    "required": ["name", "namespace", "variant", "quality"],
    "additionalProperties": False,
    "properties": {
        **dict.fromkeys(
            (
                *("name", "namespace", "variant", "label", "description", "pip_url", "executable"),
                *("repo", "docs", "logo_url", "log_parser", "prereq", "usage"),
                *("settings_preamble", "next_steps"),
            ),
            TEXT,
        ),
        "domain_url": TEXT | {"format": "uri"},
        "keywords": TEXTS,
        "maintenance_status": {"enum": ["active", "beta", "development", "inactive", "unknown"]},
        "quality": {"enum": ["gold", "silver", "bronze", "unknown"]},
        "capabilities": {
            "type": "array",
            "items": {
                "enum": [
                    *("about", "activate-version", "batch", "datatype-failsafe", "hard-delete"),
                    *("schema-flattening", "soft-delete", "stream-maps", "structured-logging"),
                    *("target-schema", "validate-records"),
                ]
            },
        },
        "supported_python_versions": {"type": "array", "items": TEXT | {"pattern": r"^3\.\d+$"}},
        "settings_group_validation": {"type": "array", "items": TEXTS},
        "commands": {"type": "object"},
        "settings": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name"],
                "additionalProperties": False,
                "properties": {
                    **dict.fromkeys(("name", "label", "description"), TEXT),
                    "value": True,
                    "sensitive": {"type": "boolean"},
                    "kind": {
                        "enum": [
                            *("array", "boolean", "date_iso8601", "decimal", "email", "file"),
                            *("hidden", "integer", "oauth", "object", "options", "password"),
                            "string",
                        ]
                    },
                    "options": {
                        "type": "array",
                        "items": {"properties": {"label": TEXT, "value": TEXT}},
                    },
                },
            },
        },
    },
}


@functools.cache
def entry(name="target-outreach"):
    return yaml.safe_load(ENTRIES[name].read_text(encoding="utf-8"))


@functools.cache
def about():
    return documents.about()


@pytest.mark.parametrize("name", ENTRIES)
def test_an_entry_is_what_the_code_makes_of_it(name):
    expected = documents.hub_text(documents.HUB_ENTRIES[ENTRIES[name]])
    text = ENTRIES[name].read_text(encoding="utf-8")
    assert text == expected, "run `nox --session docs-tables`"


def test_the_entries_differ_only_in_where_the_package_comes_from():
    ours, clones = entry(), entry("from-clone")
    assert ours["pip_url"] == "target-outreach"
    assert ours | {"pip_url": clones["pip_url"]} == clones


@pytest.mark.parametrize("name", ENTRIES)
def test_an_entry_follows_the_rules_of_the_hub(name):
    Draft7Validator.check_schema(RULES)
    problems = [error.message for error in Draft7Validator(RULES).iter_errors(entry(name))]
    assert problems == []
    for setting in entry(name)["settings"]:
        assert (setting["kind"] == "password") == setting.get("sensitive", False), setting["name"]


@pytest.mark.parametrize("name", ENTRIES)
def test_the_schemas_of_the_hub_itself_accept_an_entry(name):
    folder = os.environ.get("HUB_SCHEMAS")
    if not folder:
        pytest.skip("HUB_SCHEMAS names no copy of the Hub's folder `schemas`")
    known = [
        json.loads(path.read_text(encoding="utf-8"))
        for part in ("common", "plugin_definitions")
        for path in Path(folder, part).glob("*.json")
    ]
    resources = [(one["$id"], Resource.from_contents(one, DRAFT7)) for one in known]
    (loaders,) = (one for one in known if one["$id"] == "loaders.schema.json")
    validator = Draft7Validator(loaders, registry=Registry().with_resources(resources))
    assert [error.message for error in validator.iter_errors(entry(name))] == []
    assert not validator.is_valid(entry(name) | {"unheard_of": True})


def test_an_entry_names_what_the_target_says_of_itself():
    settings = {setting["name"]: setting for setting in entry()["settings"]}
    properties = about()["settings"]["properties"]
    assert set(settings) == set(properties)
    assert entry()["capabilities"] == sorted(about()["capabilities"])
    for name, known in properties.items():
        assert settings[name].get("sensitive", False) == known.get("secret", False), name
        assert settings[name].get("value") == known.get("default"), name
        choices = [option["value"] for option in settings[name].get("options", ())]
        assert choices == [choice for choice in known.get("enum", ()) if choice], name


def test_each_group_of_settings_is_enough_to_authenticate():
    assert len(entry()["settings_group_validation"]) == 5
    for group in entry()["settings_group_validation"]:
        Settings.read(dict.fromkeys(group, "invented"))
    with pytest.raises(SettingsError):
        Settings.read({})


def test_keys_have_the_order_that_the_hub_lints_for():
    def in_order(value):
        if isinstance(value, dict):
            assert list(value) == sorted(value)
            list(map(in_order, value.values()))
        elif isinstance(value, list):
            list(map(in_order, value))

    in_order(entry())


def test_the_variant_is_named_after_the_owner_of_the_repository():
    owner, name = urlsplit(entry()["repo"]).path.strip("/").split("/")
    assert (entry()["variant"], entry()["name"]) == (owner.lower(), name)
    assert re.fullmatch(r"[a-z0-9-]+", entry()["variant"])


def test_contributing_names_each_file_that_the_hub_needs():
    text = (documents.ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    folder = f"_data/meltano/loaders/{entry()['name']}"
    logo = f"static{entry()['logo_url']}"
    assert logo.rpartition("/")[2] == "outreach.png"  # as the Hub has it for the tap
    for path in (f"{folder}/{entry()['variant']}.yml", logo):
        assert f"`{path}`" in text
    assert f"`{entry()['name']}: {entry()['variant']}`" in text


@pytest.fixture
def project(tmp_path):
    """An empty Meltano project beside a clone of this repository."""
    if MELTANO is None:
        pytest.skip("Meltano is not installed")
    (tmp_path / "target-outreach").symlink_to(documents.ROOT, target_is_directory=True)
    folder = tmp_path / "a-project"
    folder.mkdir()
    empty = {
        "default_environment": "test",
        "environments": [{"name": "test"}],
        "send_anonymous_usage_stats": False,
        "cli": {"disable_version_check": True},
    }
    (folder / "meltano.yml").write_text(json.dumps(empty), encoding="utf-8")
    return folder


def meltano(folder, *arguments):
    """Run Meltano in a project, and return what it printed."""
    done = subprocess.run(
        [MELTANO, *arguments],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def added(folder):
    """The loader that the project has now."""
    (loader,) = yaml.safe_load((folder / "meltano.yml").read_text(encoding="utf-8"))["plugins"][
        "loaders"
    ]
    return loader


@pytest.fixture
def served():
    """The folder of the entries on a web server of this machine."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_): ...

    handler = functools.partial(Handler, directory=documents.HUB)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.slow
def test_meltano_adds_the_entry_from_an_address(project, served):
    address = f"{served}/target-outreach.yml"
    meltano(project, "add", "target-outreach", "--from-ref", address, "--no-install")
    loader = added(project)
    assert loader["pip_url"] == "target-outreach"
    assert loader["settings_group_validation"] == entry()["settings_group_validation"]
    kinds = {"password": "string"}  # what Meltano makes of a kind that `sensitive` says again
    written = {one["name"]: one for one in loader["settings"]}
    bulk = written["bulk_writes"]  # Meltano writes `off` as YAML reads it, which the target knows
    assert (bulk["value"], bulk["options"][0]) == (False, {"label": False, "value": False})
    bulk["value"], bulk["options"][0] = "off", {"label": "Off", "value": "off"}
    assert written == {
        one["name"]: one | {"kind": kinds.get(one["kind"], one["kind"])}
        for one in entry()["settings"]
    }


@pytest.mark.slow
def test_meltano_keeps_a_secret_of_the_entry_out_of_the_project_file(project):
    reference = "../target-outreach/.github/hub/from-clone.yml"
    meltano(project, "add", "target-outreach", "--from-ref", reference, "--no-install")
    meltano(project, "config", "set", "target-outreach", "client_secret", "a-secret")
    assert "config" not in added(project)
    assert "a-secret" in (project / ".env").read_text(encoding="utf-8")


@pytest.mark.timeout(600)
@pytest.mark.slow  # installs all dependencies, from an index
def test_meltano_installs_a_clone_by_its_entry_and_runs_its_commands(project):
    reference = "../target-outreach/.github/hub/from-clone.yml"
    meltano(project, "add", "target-outreach", "--from-ref", reference)
    version = about()["version"]
    assert f"target-outreach v{version}," in meltano(
        project, "invoke", "target-outreach", "--version"
    )
    listed = meltano(project, "invoke", "--list-commands", "target-outreach")
    assert all(f"target-outreach:{name}" in listed for name in entry()["commands"])
    meltano(project, "config", "set", "target-outreach", "sandbox", "outreach.db")
    assert "prospects" in meltano(project, "invoke", "target-outreach:check")
