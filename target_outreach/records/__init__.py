"""What should be in Outreach: pure functions from records to plans, without I/O or a clock."""
