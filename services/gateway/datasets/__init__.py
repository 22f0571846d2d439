"""Datasets: declaring them, inferring declarations from samples, and detaching partitions."""

from services.gateway.datasets import detach, partitions, routes

HANDLERS = (
    routes.list_datasets,
    routes.read_dataset,
    routes.declare_dataset,
    routes.infer,
    partitions.list_partitions,
    detach.detach,
)
