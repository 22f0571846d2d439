"""The stack on this machine, without containers."""
