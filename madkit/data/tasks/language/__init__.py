"""What sentences mean, against which words they contain: reviews, and pairs of sentences."""
