"""What is compared: pairs of models, and the scenarios that they are compared on."""
