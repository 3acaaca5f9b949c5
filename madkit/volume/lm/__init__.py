"""Language models under a shift of their weights."""
