"""Sampling: how a SanaPipeline draws one sample, reproducibly."""
