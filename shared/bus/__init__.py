"""Message bus on RabbitMQ with at-least-once delivery and effects that happen once.

Postgres rows are the source of truth; a message is only a hint to look at them. A handler's messages go to the outbox
and its delivery into the inbox, both in the transaction of its effect. Only this package imports FastStream and AMQP.
"""
