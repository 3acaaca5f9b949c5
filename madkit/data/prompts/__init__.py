"""From a question and a name to batches of token ids."""
