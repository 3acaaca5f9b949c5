"""The prompts of a quirky dataset, for training a model and for telling its characters apart."""
