"""What is wrong with a folder of training images, and what it shows: measured, listed and never mended."""
