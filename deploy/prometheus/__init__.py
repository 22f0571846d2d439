"""What Prometheus asks, and when somebody should look."""
