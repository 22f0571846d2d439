"""The tables that a service publishes to others: queries and table names, in a module or package for each owner."""
