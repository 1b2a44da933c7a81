"""The artifact store: every path and format, records, the dependency graph."""
