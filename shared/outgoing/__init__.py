"""HTTP requests to outside systems: allowed addresses, secrets, and limits on responses."""
