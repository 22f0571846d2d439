"""Datasets: declared, inferred from samples, and detached year by year."""

from services.gateway.datasets import partition_routes, routes

HANDLERS = (
    routes.list_datasets,
    routes.read_dataset,
    routes.declare_dataset,
    routes.infer,
    partition_routes.list_partitions,
    partition_routes.detach,
)
