"""Programs of the peers. They run in `.bench-venv`, with the peers' packages, and import nothing of Millrace."""
