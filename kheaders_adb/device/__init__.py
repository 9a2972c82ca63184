"""One device: what it is asked, how root is had and given back, how its archive is read."""
