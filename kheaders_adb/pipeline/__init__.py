"""The one path from a device to a staged tree: probe, source, transfer, match, stage."""
