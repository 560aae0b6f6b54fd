"""The schema of each command's configuration, and what checks it."""
