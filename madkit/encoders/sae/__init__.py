"""Sparse autoencoders: the coder, its losses and the LightningModule that trains one per site."""
