"""The `serfiq` command: one file per subcommand, which parses options and calls the library."""
