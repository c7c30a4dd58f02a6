"""`python -m serfiq_widgets`: the `serfiq` command, where it is not on the path."""

from serfiq_widgets.cli.main import main

main(prog_name="serfiq")
