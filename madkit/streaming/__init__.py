"""Statistics of rows that stream in: float64, mergeable, exact for any number of processes."""
