"""How to use madkit with classes of one's own; the tests run each of these."""
