"""Placeholder."""
from pathlib import Path
def write_report(path, results, figures, texts):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
    return path
