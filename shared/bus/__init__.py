"""The way to RabbitMQ: the only place that knows it.

A Postgres row is permission to work; a RabbitMQ message is only a hint. What is said goes through the outbox, what is
heard through the inbox, both in the transaction of the effect they belong to.
"""
