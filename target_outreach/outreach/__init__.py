"""What is in Outreach, and writing it: the API, one place for each of its rules."""
