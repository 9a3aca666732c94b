"""Run the command line with ``python -m target_outreach``."""

from target_outreach.cli import main

main()
