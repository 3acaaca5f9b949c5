"""Normalising flows: layers, density and the LightningModule that trains one per site."""
