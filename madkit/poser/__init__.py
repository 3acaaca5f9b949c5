"""POSER: whole models under perturbation, to tell which of two that behave alike would misbehave when not overseen."""
