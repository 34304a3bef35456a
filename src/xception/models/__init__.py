"""What the paper draws: the networks and the modules that they are made of."""
