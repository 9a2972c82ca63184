"""Real modules of real devices, which are nobody's to hand on: ``make field KHEADERS_FIELD=DIR``."""
