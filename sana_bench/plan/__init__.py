"""What a run will need, told before it is started: memory by part on a card, batches that fit, disk, and images to draw.

Nothing here is a formula of an architecture. The real modules are built without weights from their config files, the real step runs on them with
tensors that have no data, and every byte that would be alive is counted as it comes and goes.
"""
