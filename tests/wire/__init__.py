"""A fake adb server on a real socket, and what the tool makes of it when things go wrong.

``server`` listens, ``host`` answers for the server itself, ``selection`` says which device is meant,
``services`` what adbd serves (``shells``, ``sync``), ``protocol`` the framing.  ``devices`` plays the
devices on their cables, ``files`` and ``tools`` what is on them (a real shell in a folder, the scripts of
``device_bin``, disks that fail by ``disk.c``), ``traits`` lists what a device can be like; ``kernel`` makes
up kernels, archives and modules, ``faults`` breaks conversations at an address.  ``client`` drives the
tool, ``raw`` speaks to the fake itself, ``cases`` and ``stream_cases`` list the faults, ``campaign`` runs a
case and counts what is left of it.  Nothing here needs a phone, QEMU or root.
"""
