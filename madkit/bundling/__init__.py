"""Bundles: wheels, weights and recipes in parts of bounded size, for machines without a network."""
