"""A Singer target that writes prospects and accounts into Outreach."""
