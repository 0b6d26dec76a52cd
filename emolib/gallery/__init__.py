"""Clips laid out to be heard beside each other: one HTML page, with its sounds inside it."""

from emolib.gallery.page import Clip, Table, opus, write_page

__all__ = ["Clip", "Table", "opus", "write_page"]
