"""What is known about images and runs, and the run's directory on disk."""
