"""The `madkit data` commands."""
