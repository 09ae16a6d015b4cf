"""``python -m swaypoint.cli``."""

from swaypoint.cli.main import main

main()
