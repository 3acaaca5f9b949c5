"""The pairs of models and the scenarios on which they are compared."""
