"""A record's life, from its batch to its outcome; `deliver` is the place to begin reading."""
