"""Commands that are no Lightning stage: a function each, whose signature is its command line."""
