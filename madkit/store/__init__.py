"""Feature stores: vectors on disk, in shards, with what made them."""
