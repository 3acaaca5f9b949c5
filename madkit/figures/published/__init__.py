"""What the studies published: their numbers, and their names and order of things."""
