"""The command line: ``disco run`` and what it needs to read, check and show."""
