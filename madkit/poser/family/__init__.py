"""A family of small aligned and misaligned models: generated scenarios, the base model's corpus, the tuning data."""
