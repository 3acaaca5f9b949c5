"""What goes in: quirky datasets, prompts, corpora, and the data modules that serve them."""
