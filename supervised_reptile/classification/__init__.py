"""Classifying one's own images with a trained model, given a few examples of each class."""
