"""Run folders: where a stage writes, complete files only, and fingerprints of what made them."""
