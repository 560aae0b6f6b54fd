"""Sets finished runs side by side. Reads records and pictures only, and imports no torch."""
