"""From the measurements of single models to curves, comparisons of pairs, tables and files."""
