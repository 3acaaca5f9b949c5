"""One model on one set of prompts: its steering vectors, its answers under perturbations, its local volumes."""
