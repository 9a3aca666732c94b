"""What we promise about each record: delivered once, settled, counted, and STATE only after."""
