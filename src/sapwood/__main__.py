"""Runs the command line: ``python -m sapwood``."""

from sapwood.cli import main

if __name__ == "__main__":
    main()
