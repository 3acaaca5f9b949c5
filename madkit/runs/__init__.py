"""Run folders: where a stage writes, whole files only, and fingerprints of what made them."""
