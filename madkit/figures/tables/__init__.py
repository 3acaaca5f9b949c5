"""Tables and words made from results."""
