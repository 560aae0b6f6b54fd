"""Networks as files for other programs, checked where they will run."""
