"""The same match and the same store for what lies on the host."""
