"""Measures bgm on the machine it runs on, beside the same job done the obvious way."""
