"""Prometheus for the stack on this machine: `python -m deploy.prometheus.local`.

Writes its configuration into the state folder and prints the command that runs it, with the names and labels that
prometheus.yml gives in compose, so that the same rules and the same dashboard fit both.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from deploy.local import ports
from deploy.local.addresses import HOST, SERVICES
from deploy.local.state import Home, assignments, write_private

RULES = Path(__file__).with_name("rules.yml")
PORT = 9090


def configuration(env: str) -> str:
    """From the text of the state folder's file `env`. In JSON, which is YAML that needs no library to write."""
    urls = assignments(env)
    scraped = {service: f"{urls[f'{service.upper()}_URL']}/metrics" for service in SERVICES}
    if "RABBITMQ_METRICS_URL" in urls:  # a broker that runs elsewhere has its own Prometheus
        scraped["rabbitmq"] = urls["RABBITMQ_METRICS_URL"]
    told = {
        "global": {"scrape_interval": "5s", "evaluation_interval": "5s"},
        "rule_files": [str(RULES)],
        "scrape_configs": [_job(name, url) for name, url in scraped.items()],
    }
    return msgspec.json.format(msgspec.json.encode(told)).decode() + "\n"


def _job(name: str, url: str) -> dict[str, object]:
    parts = urlsplit(url)
    return {
        "job_name": name,
        "metrics_path": parts.path,
        "static_configs": [{"targets": [parts.netloc], "labels": {"service": name}}],
    }


def command(configured: Path, storage: Path, port: int) -> list[str]:
    """What runs Debian's prometheus (`apt-get install prometheus`), on the loopback alone."""
    return [
        "prometheus",
        f"--config.file={configured}",
        f"--web.listen-address={HOST}:{port}",
        f"--storage.tsdb.path={storage}",
    ]


def main() -> None:
    """The command; writes and says how to go on."""
    home = Home.here()
    if not home.env.exists():
        sys.exit(f"{home.env} is not there: `millrace up` first.")
    configured = home.folder / "prometheus.yml"
    write_private(configured, configuration(home.env.read_text()))
    # The distribution's own may run on the usual port.
    port = next(port for port in range(PORT, PORT + 100) if ports.claim(port))
    sys.stdout.write(shlex.join(command(configured, home.folder / "prometheus", port)) + "\n")


if __name__ == "__main__":
    main()
