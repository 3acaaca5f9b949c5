"""Records of quirky datasets: read, made of a raw table or by rule, completed, checked and kept."""
