"""An adb client: addresses, one deadline, the wire, shell and sync services, the server, choosing a device.

Nothing in it knows of kernel headers.
"""
