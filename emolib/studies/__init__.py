"""Experiments of single notebooks, a file each, named after the notebook; no other part imports them."""
