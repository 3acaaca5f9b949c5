"""From a question and a name to token ids in batches."""
