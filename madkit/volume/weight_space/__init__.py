"""The chosen weights of a model as one vector: which parameters, where they lie, and directions to move them in."""
