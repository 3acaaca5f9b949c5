"""Weights as one vector: directions, preconditioners, shards."""
