"""Language models: loading, training, and reading what passes through them."""
