"""What scores share: the interface, storage, neighbours, projections."""
