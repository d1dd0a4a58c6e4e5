"""One page per subcommand of ``paceline``."""
