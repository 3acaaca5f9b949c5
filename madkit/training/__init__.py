"""What all trainings share: a base module, optimizers, the schedule, curves, export, and access to Lightning."""
