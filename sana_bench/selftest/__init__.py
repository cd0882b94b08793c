"""What the metrics are worth: measured on pictures whose answer, or whose damage, is known."""
