"""What peers need to do the same work. Runs in `.bench-venv`, which has their packages, and imports nothing of ours."""
