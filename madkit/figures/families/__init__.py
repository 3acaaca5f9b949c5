"""One file for each family of figures; `madkit.figures.registry.artist` says what a family is."""
