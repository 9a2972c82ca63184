"""For whatever reads hostile bytes: the rules by name, the caps, and text made fit to be shown."""
