"""The projects in `examples` work as they are: their configuration, their start, and their rows."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import documents
import pytest
import yaml
from conftest import lines, schema
from packaging.requirements import Requirement

from target_outreach.sandbox import Sandbox
from target_outreach.target import TargetOutreach

EXAMPLES = documents.ROOT / "examples"
BIN = Path(sys.executable).parent
MELTANO = shutil.which("meltano", path=str(BIN))
PROJECTS = ["snowflake-hourly", "postgres-links", "kubernetes"]
needs_meltano = pytest.mark.skipif(MELTANO is None, reason="Meltano is not installed")
needs_bash = pytest.mark.skipif(os.name == "nt", reason="needs bash")


@pytest.fixture
def copied(tmp_path):
    """Copy a project, and return its folder."""
    return lambda name: Path(shutil.copytree(EXAMPLES / name, tmp_path / name))


def run(folder, *command, given="", **variables):
    environment = os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}"} | variables
    return subprocess.run(
        command,
        cwd=folder,
        input=given,
        capture_output=True,
        encoding="utf-8",
        env=environment,
        check=False,
    )


def configured(folder, environment, **variables):
    """The configuration that Meltano hands to the loader."""
    variables |= {"MELTANO_SEND_ANONYMOUS_USAGE_STATS": "false"}
    command = [MELTANO, f"--environment={environment}", "config", "print", "target-outreach"]
    done = run(folder, *command, **variables)
    assert done.returncode == 0, done.stderr
    return {name: value for name, value in json.loads(done.stdout).items() if value is not None}


def test_each_example_is_listed_on_its_page():
    page = (documents.DOCS / "examples.md").read_text(encoding="utf-8")
    for folder in EXAMPLES.iterdir():
        assert f"[`examples/{folder.name}`]" in page
        assert (folder / "README.md").exists()


@pytest.mark.slow
@needs_meltano
@pytest.mark.parametrize("name", PROJECTS)
def test_the_target_takes_what_the_project_configures(copied, name):
    folder = copied(name)
    credentials = {
        "TARGET_OUTREACH_CLIENT_ID": "invented",
        "TARGET_OUTREACH_CLIENT_SECRET": "invented",
    }
    for_outreach = configured(folder, "prod", **credentials)
    assert "sandbox" not in for_outreach
    assert TargetOutreach(config=for_outreach).settings.streams


@pytest.mark.parametrize("name", PROJECTS)
def test_each_setting_that_a_project_sets_is_declared_in_it(name):
    project = yaml.safe_load((EXAMPLES / name / "meltano.yml").read_text(encoding="utf-8"))
    (loader,) = project["plugins"]["loaders"]
    declared = {setting["name"] for setting in loader["settings"]}
    assert loader["config"].keys() <= declared
    assert declared <= documents.properties().keys()


SHOWN = [*(EXAMPLES / name / "meltano.yml" for name in PROJECTS), documents.DOCS / "scheduling.md"]


@pytest.mark.parametrize("path", SHOWN, ids=lambda path: path.parent.name)
def test_meltano_can_install_what_a_project_names(path):
    named = re.findall(r"^ *pip_url: (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert named
    for text in named:
        for part in shlex.split(text):  # as Meltano does: a blank ends a requirement
            assert Requirement(part).name


COMPANIES = {
    "company_id": {"type": "integer"},
    "name": {"type": "string"},
    "domain": {"type": ["string", "null"]},
    "industry": {"type": ["string", "null"]},
    "updated_at": {"type": "string", "format": "date-time"},
}
PEOPLE = {
    "person_id": {"type": "integer"},
    "company_id": {"type": ["integer", "null"]},
    **{name: {"type": "string"} for name in ("email", "first_name", "last_name", "title", "rep")},
    "score": {"type": ["number", "null"]},
    "segment": {"type": ["string", "null"]},
    "tags": {"type": ["array", "null"]},
    "updated_at": {"type": "string", "format": "date-time"},
}
CONTACTS = {
    name: {"type": ["string", "null"]}
    for name in ("CONTACT_KEY", "EMAIL", "FIRST_NAME", "TITLE", "_LOADED_AT")
}


def message(stream, properties, key):
    return schema(stream) | {"schema": {"properties": properties}, "key_properties": [key]}


def row(stream, values):
    return {"type": "RECORD", "stream": stream, "record": values}


@pytest.fixture
def sync(tmp_path):
    """Send messages to the target with the configuration of a project; return its report."""

    def send(folder, messages):
        path = str(tmp_path / "config.json")
        if not Path(path).exists():
            config = configured(folder, "try") | {"report_path": str(tmp_path / "report.json")}
            Path(path).write_text(json.dumps(config), encoding="utf-8")
            done = run(folder, "target-outreach", "check", "--config", path)
            assert done.returncode == 0, done.stdout
        done = run(folder, "target-outreach", "--config", path, given=lines(messages))
        assert done.returncode == 0, done.stderr
        return json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))

    return send


@pytest.mark.slow
@needs_meltano
def test_companies_and_people_of_postgres_arrive_with_links_and_custom_fields(copied, sync):
    folder = copied("postgres-links")
    now = "2026-03-31T09:30:00Z"
    person = {"person_id": 7, "company_id": 3, "email": "ana@larkspur.example.com"}
    known = {"first_name": "Ana", "last_name": "Silva", "title": "Buyer", "rep": "ada@example.com"}
    more = {"score": 78.5, "segment": "retail", "tags": ["key"], "updated_at": now}
    company = {"company_id": 3, "name": "Larkspur Foods", "domain": "larkspur.example.com"}
    report = sync(
        folder,
        [
            message("public-people", PEOPLE, "person_id"),
            row("public-people", person | known | more),
            message("public-companies", COMPANIES, "company_id"),
            row("public-companies", company | {"industry": "Food", "updated_at": now}),
        ],
    )
    assert report["totals"]["created"] == 2
    with Sandbox(folder / "outreach.db") as outreach:
        (account,) = outreach.store.all("accounts")
        (prospect,) = outreach.store.all("prospects")
    assert account["attributes"]["customId"] == "3"
    assert (prospect["attributes"]["custom1"], prospect["attributes"]["custom2"]) == (
        "78.5",
        "retail",
    )
    linked = prospect["relationships"]
    assert linked["account"]["data"]["id"] == account["id"]
    assert linked["owner"]["data"] is not None


@pytest.mark.slow
@needs_meltano
def test_rows_of_snowflake_that_are_as_before_cost_next_to_nothing(copied, sync):
    folder = copied("snowflake-hourly")
    stream = "marts-prospects"

    def rows(loaded_at):
        return [
            message(stream, CONTACTS, "CONTACT_KEY"),
            *(
                row(stream, {"CONTACT_KEY": f"C-{n}", "EMAIL": f"p{n}@x.example.com"} | more)
                for n in range(20)
                for more in [{"FIRST_NAME": "Ana", "TITLE": "CTO", "_LOADED_AT": loaded_at}]
            ),
        ]

    first, second = (sync(folder, rows(hour)) for hour in ("09:00", "10:00"))
    assert first["totals"]["created"] == 20
    assert second["totals"]["unchanged"] == 20
    assert second["requests"] == 1  # whose Outreach it is


@pytest.mark.slow
@needs_bash
@pytest.mark.skipif(shutil.which("flock") is None, reason="needs flock")
def test_a_csv_file_is_loaded_by_the_script_and_read_again_only_if_it_has_changed(copied):
    folder = copied("csv-cron")
    with (folder / "contacts.csv").open(encoding="utf-8", newline="") as file:
        contacts = list(csv.DictReader(file))
    first = run(folder, "./sync.sh")
    assert first.returncode == 0, first.stderr
    with Sandbox(folder / "outreach.db") as outreach:
        prospects = outreach.store.all("prospects")
    arrived = {one["attributes"]["externalId"]: one["attributes"]["emails"] for one in prospects}
    assert arrived == {one["id"]: [one["email"]] for one in contacts}
    assert all(one["relationships"]["account"]["data"] for one in prospects)
    state = (folder / "state.json").read_text(encoding="utf-8")
    assert "contacts" in json.loads(state)
    second = run(folder, "./sync.sh")
    assert "The tap sent no records." in second.stderr
    with (folder / "contacts.csv").open("a", encoding="utf-8") as file:
        file.write("4,no address,Dmitri,Sorokin,CTO,\n")
    third = run(folder, "./sync.sh")
    assert third.returncode == 3
    assert "Some rows were rejected." in third.stderr
    assert (folder / "state.json").read_text(encoding="utf-8") != state
    (folder / "contacts.csv").unlink()
    broken = run(folder, "./sync.sh")
    assert broken.returncode == 1, "a tap that fails is noticed"


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_csv_tap_reads_what_spreadsheets_write(tmp_path, delimiter):
    rows = [["Record ID", "Email"], ["7", "ana@larkspur.example.com"]]
    text = "".join(f"{delimiter.join(row)}\r\n" for row in rows)
    (tmp_path / "contacts.csv").write_text(text, encoding="utf-8-sig", newline="")
    tap = [sys.executable, str(EXAMPLES / "csv-cron" / "csv_tap.py"), "contacts.csv"]
    done = run(tmp_path, *tap, "--key", "Record ID")
    schema, record, _ = map(json.loads, done.stdout.splitlines())
    assert list(schema["schema"]["properties"]) == ["Record ID", "Email"]
    assert record["record"] == {"Record ID": "7", "Email": "ana@larkspur.example.com"}
    done = run(tmp_path, *tap)
    assert done.returncode == 2
    assert "contacts.csv has no column 'id'; name one with --key." in done.stderr


@needs_bash
@pytest.mark.skipif(shutil.which("flock") is None, reason="needs flock")
@pytest.mark.parametrize(
    ("tap", "target", "ends", "says"),
    [
        (0, 0, 0, ""),
        (0, 3, 3, "Some rows were rejected."),
        (0, 4, 0, "The next run continues."),
        (0, 1, 1, "The sync failed with exit code 1."),
        (0, 143, 143, "The sync failed with exit code 143."),
        (2, 0, 1, "The tap failed with exit code 2."),
        (3, 0, 1, "The tap failed with exit code 3."),
        (4, 0, 1, "The tap failed with exit code 4."),
        (1, 4, 1, "The tap failed with exit code 1."),
        (1, 3, 3, "Some rows were rejected."),
    ],
)
def test_the_script_ends_as_its_head_says(tmp_path, tap, target, ends, says):
    shutil.copy(EXAMPLES / "csv-cron" / "sync.sh", tmp_path)
    (tmp_path / "csv_tap.py").write_text(f"raise SystemExit({tap})", encoding="utf-8")
    program = tmp_path / "target-outreach"
    program.write_text(f"#!/bin/sh\ncat\necho '{{}}'\nexit {target}\n", encoding="utf-8")
    program.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [tmp_path / "sync.sh"],
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == ends
    assert says in done.stderr
    assert (tmp_path / "state.json").read_text(encoding="utf-8") == "{}\n"


# Containers


def test_the_cronjob_runs_alone_has_time_to_end_and_finds_all_in_one_bucket():
    folder = EXAMPLES / "kubernetes"
    (job,) = yaml.safe_load_all((folder / "cronjob.yaml").read_text(encoding="utf-8"))
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "CronJob")
    assert job["spec"]["concurrencyPolicy"] == "Forbid"
    pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert pod["restartPolicy"] == "Never"
    assert pod["terminationGracePeriodSeconds"] >= 120
    assert pod["securityContext"]["runAsNonRoot"] is True
    (container,) = pod["containers"]
    assert container["envFrom"] == [{"secretRef": {"name": "outreach-sync"}}]
    variables = {one["name"]: one["value"] for one in container["env"]}
    bucket = "$(OUTREACH_BUCKET)"  # which Kubernetes fills in, where it comes before
    assert list(variables).index("OUTREACH_BUCKET") < list(variables).index(
        "MELTANO_STATE_BACKEND_URI"
    )
    assert variables["MELTANO_STATE_BACKEND_URI"].startswith(bucket)
    assert variables["MELTANO_ENVIRONMENT"] == "prod"
    assert not any("KEY" in name or "SECRET" in name for name in variables)


@pytest.mark.slow
@needs_meltano
def test_the_project_for_kubernetes_keeps_all_that_must_survive_in_the_bucket(copied):
    folder = copied("kubernetes")
    given = configured(
        folder,
        "prod",
        OUTREACH_BUCKET="s3://example-outreach",
        TARGET_OUTREACH_CLIENT_ID="invented",
        TARGET_OUTREACH_CLIENT_SECRET="invented",
    )
    kept = {name: given[name] for name in ("credentials_path", "memory_path", "rejects_path")}
    assert kept == {
        "credentials_path": "s3://example-outreach/credentials.json",
        "memory_path": "s3://example-outreach/memory.db",
        "rejects_path": "s3://example-outreach/rejects",
    }


@pytest.mark.parametrize("path", ["Dockerfile", "examples/kubernetes/Dockerfile"])
def test_a_container_is_not_root_and_passes_signals_on(path):
    lines = (documents.ROOT / path).read_text(encoding="utf-8").splitlines()
    final = lines[max(number for number, line in enumerate(lines) if line.startswith("FROM")) :]
    assert "-slim" in final[0]
    (user,) = [line.split()[1] for line in final if line.startswith("USER")]
    assert int(user) > 0
    (entry,) = [line for line in final if line.startswith("ENTRYPOINT")]
    command = json.loads(entry.removeprefix("ENTRYPOINT "))  # no shell between
    assert Path(command[0]).name in {"target-outreach", "meltano"}


def test_docker_is_given_what_the_image_copies_and_nothing_else():
    text = (documents.ROOT / "Dockerfile").read_text(encoding="utf-8")
    copied = {
        name
        for line in text.splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for name in line.split()[1:-1]
    }
    ignored = (documents.ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in ignored
    assert {line[1:] for line in ignored if line.startswith("!")} == copied
    assert all((documents.ROOT / name).exists() for name in copied)
