"""The outside world, played on this machine: the APIs that the catalog's sources pull from. Not part of the product."""
