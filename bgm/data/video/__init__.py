"""Clips: videos and numbered pictures, read frame by frame."""
