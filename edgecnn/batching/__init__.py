"""What a `Batcher` is made of: the queue, the rows of a batch, the worker threads, the figures."""
