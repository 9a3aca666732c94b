"""The requests of `check --probe`, and the facts that it reads from the answers."""
