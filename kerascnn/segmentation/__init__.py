"""Semantic segmentation: networks that give every pixel a class.

Letters in shapes:
    n      pictures of a batch
    h w    height and width of a picture in pixels
    h' w'  of the logits: the picture's own, or less where convolutions lose its border
"""
