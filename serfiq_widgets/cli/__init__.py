"""The `serfiq` command, one file a subcommand; each parses its options and calls the library."""
