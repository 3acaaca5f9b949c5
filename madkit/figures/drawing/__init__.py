"""How figures look: page, panels, marks, tooltips."""
