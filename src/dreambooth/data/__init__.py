"""Photos and class images, from files to the batch that a training step sees."""
