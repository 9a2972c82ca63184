"""Bytes to members, and archives out of other files; no device, no disk."""
