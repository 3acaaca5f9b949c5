"""Result folders are read into one set of tables."""
