"""Prometheus for the local stack: `python -m deploy.prometheus.local`.

Writes the configuration into the state folder and prints the command that runs Prometheus. Jobs and labels are those of
prometheus.yml for compose, so the same rules and dashboard work with both.
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
    """Returns the configuration for the text of the state folder's `env` file. It is JSON, which is valid YAML."""
    urls = assignments(env)
    scraped = {service: f"{urls[f'{service.upper()}_URL']}/metrics" for service in SERVICES}
    if "RABBITMQ_METRICS_URL" in urls:  # not for an external broker, which has its own Prometheus
        scraped["rabbitmq"] = urls["RABBITMQ_METRICS_URL"]
    content = {
        "global": {"scrape_interval": "5s", "evaluation_interval": "5s"},
        "rule_files": [str(RULES)],
        "scrape_configs": [_job(name, url) for name, url in scraped.items()],
    }
    return msgspec.json.format(msgspec.json.encode(content)).decode() + "\n"


def _job(name: str, url: str) -> dict[str, object]:
    parts = urlsplit(url)
    return {
        "job_name": name,
        "metrics_path": parts.path,
        "static_configs": [{"targets": [parts.netloc], "labels": {"service": name}}],
    }


def command(config_file: Path, storage: Path, port: int) -> list[str]:
    """Returns the command that runs Prometheus (`apt-get install prometheus`), on the loopback interface only."""
    return [
        "prometheus",
        f"--config.file={config_file}",
        f"--web.listen-address={HOST}:{port}",
        f"--storage.tsdb.path={storage}",
    ]


def main() -> None:
    """Writes the configuration and prints the command."""
    home = Home.here()
    if not home.env.exists():
        sys.exit(f"{home.env} does not exist: run `millrace up` first.")
    config_file = home.folder / "prometheus.yml"
    write_private(config_file, configuration(home.env.read_text()))
    # The distribution's own server may use the default port.
    port = next(port for port in range(PORT, PORT + 100) if ports.claim(port))
    sys.stdout.write(shlex.join(command(config_file, home.folder / "prometheus", port)) + "\n")


if __name__ == "__main__":
    main()
