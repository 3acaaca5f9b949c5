"""Facts of the world, each dataset from a table of them: cities, answers to questions of science, authors of books."""
