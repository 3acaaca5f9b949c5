"""One file for each family of figures; `madkit.figures.registry` says what a family is."""
