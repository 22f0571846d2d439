"""Monitoring: rules, dashboards and metrics of the running stack, and the declarations of the containers."""

import asyncio
import contextlib
import json
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from deploy.local import packages
from deploy.prometheus import local
from shared.telemetry import metrics
from tests.acceptance.import_files import imported
from tests.stack import ROOT, SERVICES, Stack, free_port
from tests.waiting import eventually

DEPLOY = ROOT / "deploy"
DASHBOARD = json.loads((DEPLOY / "grafana/dashboards/millrace.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = {(panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]}
RULES = yaml.safe_load((DEPLOY / "prometheus/rules.yml").read_text())["groups"][0]["rules"]
SCRAPED = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())["scrape_configs"]
COMPOSE = yaml.safe_load((DEPLOY / "compose.yml").read_text())
CONTAINERS = COMPOSE["services"]
REQUIRED = re.compile(r"\$\{(\w+):\?[^}]+\}")
FILE = "id,department\n900001,Monitoring\n900002,Alerting\nnine,Refused\n"
GROUPED = "id,name,category,price,quantity\n900001,Gauge,brass,9.50,3\n"


# The dashboard and the rules, as they are written


def samples() -> set[str]:
    """The names under which Prometheus keeps the metrics of shared.telemetry.metrics."""
    suffixes = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_sum", "_count"]}
    collectors = [value for value in vars(metrics).values() if isinstance(value, MetricWrapperBase)]
    described = [metric for collector in collectors for metric in collector.describe()]
    return {metric.name + suffix for metric in described for suffix in suffixes[metric.type]}


@pytest.mark.parametrize("query", sorted({query for _, query in QUERIES} | {rule["expr"] for rule in RULES}))
def test_only_metrics_are_queried_that_the_services_keep(query: str) -> None:
    metrics = set(re.findall(r"\b(?:millrace|rabbitmq)_\w+|\bup\b|\bALERTS\b", query))
    assert metrics
    assert {name for name in metrics if name.startswith("millrace_")} <= samples()


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_every_panel_says_what_to_do(panel: dict[str, Any]) -> None:
    assert "What to do" in panel["description"]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_every_alert_says_what_to_do(rule: dict[str, Any]) -> None:
    assert set(rule["annotations"]) == {"summary", "what_to_do"}


def test_the_panels_refer_to_the_data_source_that_is_provisioned() -> None:
    provisioned = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yml").read_text())
    [source] = provisioned["datasources"]
    assert {target["datasource"]["uid"] for panel in PANELS for target in panel["targets"]} == {source["uid"]}


def test_the_local_stack_has_the_names_and_labels_of_compose() -> None:
    env = "".join(f"{name.upper()}_URL='http://127.0.0.1:1'\n" for name in SERVICES)
    config = json.loads(local.configuration(env + "RABBITMQ_METRICS_URL='http://127.0.0.1:2/metrics'\n"))
    here = {job["job_name"]: job["static_configs"][0]["labels"]["service"] for job in config["scrape_configs"]}
    there = {job["job_name"]: job.get("relabel_configs", [{}])[0].get("replacement") for job in SCRAPED}
    there["rabbitmq"] = next(job for job in SCRAPED if "static_configs" in job)["static_configs"][0]["labels"][
        "service"
    ]
    assert here == there
    assert set(there) <= set(CONTAINERS)


# The dashboard and the rules, at work


@pytest.fixture(scope="session")
def programs(request: pytest.FixtureRequest) -> Path:
    """The folder of `prometheus` and `promtool`: this machine's, or else unpacked from Debian's package.

    Unpacked, not installed: the package would start a server of its own, now or at the next boot.
    """
    found = shutil.which("prometheus")
    if found and shutil.which("promtool"):
        return Path(found).parent
    assert request.config.cache is not None
    folder = request.config.cache.mkdir("prometheus")
    if not (folder / "usr/bin/promtool").exists():
        unpack = f"apt-get download prometheus && dpkg -x prometheus_*.deb {folder}"
        script = unpack if os.geteuid() else f"{unpack} || {{ apt-get update && {unpack}; }}"
        with packages.installing():
            done = subprocess.run(["sh", "-c", script], cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.fail(f"These tests need Prometheus; install it (`sudo apt-get install prometheus`).\n{done.stderr}")
    return folder / "usr/bin"


def promtool(programs: Path, *arguments: str | Path) -> None:
    done = subprocess.run([programs / "promtool", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_finds_no_fault(programs: Path) -> None:
    promtool(programs, "check", "config", DEPLOY / "prometheus/prometheus.yml")
    promtool(programs, "check", "rules", DEPLOY / "prometheus/rules.yml")


UP = {f'up{{job="{name}"}}': "1x60" for name in SERVICES}
FIRES: dict[str, dict[str, str]] = {
    "ServiceDown": UP | {'up{job="indexer"}': "1x10 0x50"},
    "JobOverdue": {"millrace_oldest_unfinished_job_seconds": "0+10x60"},
    "NoConsumers": {'millrace_queue_consumers{queue="indexer.chunk_loaded"}': "1x10 0x50"},
    "OutboxLag": {'millrace_outbox_oldest_seconds{service="gateway"}': "0+1x60"},
    "AccountingViolation": {"millrace_accounting_violations_total": "0x40 1x20"},
    "DeadLetters": {'millrace_dead_letters{service="indexer"}': "0x40 1x20", "millrace_dead_letters": "0x60"},
    "QueueFull": {'millrace_refused_total{message="load_chunk"}': "_x40 1x20"},
    "TicksMissed": {'millrace_ticks{fate="missed"}': "0x40 1x20"},
    "Unroutable": {'millrace_unroutable_total{message="plan_import"}': "_x40 1x20"},
    "MessagesResent": {'millrace_resent_total{message="plan_import"}': "_x40 1x20"},
    "GatewayErrors": {
        'millrace_http_request_seconds_count{route="/v1/jobs", status="500"}': "0+1x60",
        'millrace_http_request_seconds_count{route="/v1/jobs", status="200"}': "0+9x60",
    },
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_every_alert_fires_when_it_should_and_only_then(rule: dict[str, Any], programs: Path, tmp_path: Path) -> None:
    # In steps of 10 s. Queried as `count(ALERTS)`: the alert's labels and text are no business of this test.
    firing = f'count(ALERTS{{alertname="{rule["alert"]}", alertstate="firing"}})'
    case = {
        "interval": "10s",
        "input_series": [{"series": name, "values": values} for name, values in (UP | FIRES[rule["alert"]]).items()],
        "promql_expr_test": [
            {"expr": firing, "eval_time": "60s", "exp_samples": []},
            {"expr": firing, "eval_time": "580s", "exp_samples": [{"value": 1}]},
        ],
    }
    config = {"rule_files": [str(DEPLOY / "prometheus/rules.yml")], "evaluation_interval": "10s", "tests": [case]}
    (tmp_path / "test.yml").write_text(json.dumps(config))
    promtool(programs, "test", "rules", tmp_path / "test.yml")


@contextlib.asynccontextmanager
async def prometheus(programs: Path, home: Path, folder: Path) -> AsyncIterator[httpx2.AsyncClient]:
    """One that watches the stack every second, on a port of its own."""
    config = json.loads(local.configuration((home / "env").read_text()))
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    (folder / "prometheus.yml").write_text(json.dumps(config))
    port = free_port()
    command = local.command(folder / "prometheus.yml", folder / "data", port)
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(programs / command[0], *command[1:], stdout=log, stderr=log)
    try:
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}/api/v1", timeout=10) as client:
            yield client
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def ask(client: httpx2.AsyncClient, path: str, **parameters: str) -> Any:
    """The answer's data, or nothing while Prometheus still starts."""
    try:
        answer = await client.get(path, params=parameters)
    except httpx2.TransportError:
        return None
    return answer.json()["data"] if answer.status_code == 200 else None


async def test_every_query_of_the_dashboard_finds_something_after_an_import(
    stack: Stack, programs: Path, tmp_path: Path
) -> None:
    # A counter with labels is born with its first event; a rate sees only what comes after. So one before, one to see.
    await imported(stack, "departments", FILE)
    await imported(stack, "items", GROUPED)
    async with prometheus(programs, stack.home, tmp_path) as client:

        async def all_up() -> bool:
            targets = (await ask(client, "/targets") or {}).get("activeTargets", [])
            return {target["labels"]["job"] for target in targets if target["health"] == "up"} == {
                *SERVICES,
                "rabbitmq",
            }

        async def finds(query: str) -> bool:
            data = await ask(client, "/query", query=query.replace("$__rate_interval", "1m"))
            return data is not None and any(not math.isnan(float(series["value"][1])) for series in data["result"])

        await eventually(all_up, 30)
        await imported(stack, "departments", FILE)
        empty = QUERIES

        async def nothing_is_empty() -> bool:
            nonlocal empty
            empty = {(title, query) for title, query in empty if not await finds(query)}
            return not empty

        with contextlib.suppress(AssertionError):
            await eventually(nothing_is_empty, 30)
        assert not empty

        assert await finds('sum(rate(millrace_rows_total{dataset="departments", outcome="failed"}[1m])) > 0')
        groups = (await ask(client, "/rules"))["groups"]
        assert {rule["health"] for group in groups for rule in group["rules"]} == {"ok"}


# The containers, as they are written


@pytest.mark.parametrize("name", CONTAINERS)
def test_no_container_has_a_literal_password(name: str) -> None:
    for variable, value in CONTAINERS[name].get("environment", {}).items():
        if re.search("PASS|KEY|SECRET|TOKEN", variable):
            assert REQUIRED.fullmatch(value), variable
        password = urlsplit(REQUIRED.sub(r"<\1>", value)).password
        assert password is None or re.fullmatch(r"<\w+>", password), variable


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_knows_its_own_role_alone(name: str) -> None:
    environment = CONTAINERS[name]["environment"]
    assert urlsplit(REQUIRED.sub("x", environment["DATABASE_URL"])).username == name
    secrets = {secret for value in environment.values() for secret in REQUIRED.findall(value)}
    of_sources = {"SECRET_CRM_TOKEN"} if name == "ingestor" else set()
    assert secrets == {f"{name.upper()}_PASSWORD", "RABBITMQ_PASSWORD"} | of_sources


@pytest.mark.parametrize("name", CONTAINERS)
def test_every_container_is_checked_restarted_and_closed_to_the_outside(name: str) -> None:
    container = CONTAINERS[name]
    if name == "prepare":
        assert container["restart"] == "no"
    else:
        assert container["healthcheck"]["test"]
        assert container["restart"] == "unless-stopped"
    assert all(port.startswith("127.0.0.1:") for port in container.get("ports", []))
    assert bool(container.get("ports")) == (name in {"gateway", "grafana"})
    assert "container_name" not in container  # there can be several


def test_the_example_lists_every_secret_and_generates_them(tmp_path: Path) -> None:
    example = (DEPLOY / ".env.example").read_text()
    names = re.findall(r"^(\w+)=$", example, re.MULTILINE)
    assert set(names) == set(REQUIRED.findall(json.dumps(CONTAINERS)))
    [command] = re.findall(r"^# +(\(umask .*\))$", example, re.MULTILINE)
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy/.env.example").write_text(example)
    subprocess.run(["sh", "-c", command], cwd=tmp_path, check=True)
    made = tmp_path / "deploy/.env"
    generated = dict(line.split("=") for line in made.read_text().splitlines())
    assert list(generated) == names
    assert len({value for value in generated.values() if re.fullmatch("[0-9a-f]{48}", value)}) == len(names)
    assert made.stat().st_mode & 0o777 == 0o600


def test_the_image_has_every_package_that_it_needs_and_no_secret(tmp_path: Path) -> None:
    lines = re.sub(r"\\\n", "", (DEPLOY / "Dockerfile").read_text()).splitlines()
    final = lines[max(number for number, line in enumerate(lines) if line.startswith("FROM ")) :]
    for line in final:
        if line.startswith("COPY ") and "--from" not in line:
            _, pattern, target = line.split()
            for source in ROOT.glob(pattern):
                copy = shutil.copytree if source.is_dir() else shutil.copy
                (tmp_path / "deploy").mkdir(exist_ok=True)
                copy(source, tmp_path / target)
    assert {path.suffix for path in (tmp_path / "deploy").iterdir()} <= {".py", ""}
    assert (tmp_path / Path(CONTAINERS["gateway"]["environment"]["CATALOG_DIR"]).relative_to("/app")).is_dir()
    assert [line for line in final if line.startswith("USER ")] == ["USER millrace"]

    modules = ["shared.db.migrate", "deploy.topology", *(f"services.{name}.app" for name in SERVICES)]
    # Where they come from counts: this checkout is installed too, and would stand in for what is missing.
    program = (
        f"import sys, {', '.join(modules)}\n"
        "ours = [m for n, m in sys.modules.items() if n.split('.')[0] in ('services', 'shared', 'deploy', 'cli')]\n"
        "print(*(m.__file__ for m in ours), sep='\\n')"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [path for path in done.stdout.split() if not Path(path).is_relative_to(tmp_path)] == []
