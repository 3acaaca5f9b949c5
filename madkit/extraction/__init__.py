"""The `predict` stage: features of prompts are computed, from the LM or from stored activations, and stored."""
