"""Option files (YAML) and the typed schema they are checked against."""
