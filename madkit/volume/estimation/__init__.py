"""From radii along random directions to a log volume with its interval."""
