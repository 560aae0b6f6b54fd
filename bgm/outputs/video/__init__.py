"""From layers to video files."""
