"""Outreach clients that others wrote, each a process with an environment of its own."""
