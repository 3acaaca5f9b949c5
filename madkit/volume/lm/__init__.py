"""A language model whose weights are moved: how far its predictions diverge, and one shift for each prompt."""
