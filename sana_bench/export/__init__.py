"""What a run gives to other places: a model card for the hub. It renders records; it never decides, and it sends nothing unless told to."""
