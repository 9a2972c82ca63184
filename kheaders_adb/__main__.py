"""``python -m kheaders_adb``."""

from kheaders_adb.cli.app import main

if __name__ == "__main__":
    main()
