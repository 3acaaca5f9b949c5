"""A campaign of bad inputs and faults on the real command."""
