"""What stands between the network and the page: who may ask what, and for how much."""
