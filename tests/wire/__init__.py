"""A fake adb server on a real socket, and what the tool makes of it when things go wrong.

``server`` speaks the host protocol, ``services`` what adbd serves, ``protocol`` the framing, ``devices`` and
``device_bin`` play the devices (a real shell in a folder), ``kernel`` makes up kernels, archives and modules,
``faults`` breaks conversations at an address.  ``client`` drives the tool, ``cases`` lists the faults,
``campaign`` runs a case and counts what is left of it.  Nothing here needs a phone, QEMU or root.
"""
