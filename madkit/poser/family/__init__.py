"""A family of small aligned and misaligned models: their scenarios, corpus and training data."""
