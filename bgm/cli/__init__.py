"""The commands. The only code that knows Hydra."""
