"""The HTTP interface, a file per noun of the URL."""
