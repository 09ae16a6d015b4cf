"""The formats of an export, a family a file; importing this module registers them all."""

from swaypoint.review.cleaning import arrow, cleanlab, fiftyone, image_folder, labelstudio, text, text_folder

__all__ = ["arrow", "cleanlab", "fiftyone", "image_folder", "labelstudio", "text", "text_folder"]
