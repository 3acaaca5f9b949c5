"""What one GPU makes of madkit and of what it is compared with: `python benchmarks/gpu`, or `make gpu`."""
