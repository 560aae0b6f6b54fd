"""Files that come with the package: checkpoints and the demo set."""
