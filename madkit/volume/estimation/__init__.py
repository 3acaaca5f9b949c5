"""From radii along rays to a log volume with its interval."""
