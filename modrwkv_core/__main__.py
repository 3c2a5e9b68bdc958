"""``python -m modrwkv_core`` is the ``modrwkv`` program."""

from modrwkv_core.cli.main import main

if __name__ == "__main__":
    main()
