"""Training: composites made on the fly, losses, a plain loop, checkpoints that resume exactly."""
