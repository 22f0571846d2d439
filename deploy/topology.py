"""Declares the exchanges and queues of all services at once: `python -m deploy.topology`, with BROKER_URL set."""

import asyncio
import os
import sys

import aiormq

from services.analytics.app import ROUTES as ANALYTICS
from services.gateway.app import ROUTES as GATEWAY
from services.indexer.app import ROUTES as INDEXER
from services.ingestor.app import ROUTES as INGESTOR
from shared.bus import topology

HEARD = {"gateway": GATEWAY, "ingestor": INGESTOR, "indexer": INDEXER, "analytics": ANALYTICS}


def main() -> None:
    """Declares them and prints the number of queues."""
    url = os.environ.get("BROKER_URL")
    if not url:
        sys.exit("topology: BROKER_URL is not set")
    try:
        queues = asyncio.run(topology.declare(url, HEARD))
    except (OSError, aiormq.exceptions.AMQPError) as error:
        sys.exit(f"topology: {error}")
    sys.stdout.write(f"{len(queues)} queues declared\n")


if __name__ == "__main__":
    main()
