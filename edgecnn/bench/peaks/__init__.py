"""What this machine can do at most: peaks and bandwidths measured with the very engine, and a network's share of them."""
