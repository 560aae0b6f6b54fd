"""From two pictures to a matte: device, network, the ways to compute it quickly."""
