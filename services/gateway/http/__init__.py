"""HTTP: what all routes share (authentication, problems, responses, middleware)."""
