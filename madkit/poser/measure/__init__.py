"""What one model does under perturbation."""
