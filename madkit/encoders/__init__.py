"""Encoders of activations, trained on a base LM: a normalising flow or a sparse autoencoder per site."""
