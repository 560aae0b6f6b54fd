"""Runs on the workers of an existing engine: Ray."""
