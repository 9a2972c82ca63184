"""``python -m kheaders_adb``."""

from kheaders_adb.cli.main import main

if __name__ == "__main__":
    main()
