"""The local stack: Postgres, RabbitMQ and the services as private processes of this machine, without containers."""
