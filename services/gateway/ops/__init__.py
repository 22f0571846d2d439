"""Operations: dead letters of all services."""

from services.gateway.ops import dead_letters, settle

HANDLERS = (dead_letters.list_dead_letters, settle.redrive_dead_letters, settle.discard_dead_letters)
