"""The ``paceline`` command, and ``python -m paceline``: signals first, for all else takes a while to import."""


def main() -> None:
    """Entry point; Ctrl-C and SIGTERM end the process silently from the first line on."""
    from paceline.interrupts import begin

    begin()
    from paceline.cli import main as run

    run()


if __name__ == "__main__":
    main()
