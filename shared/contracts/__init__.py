"""Messages between the services: commands, events and their envelope."""
