"""From what was measured to tables and files."""
