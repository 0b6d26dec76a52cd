"""Stub."""


def build(to):
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_text("<!doctype html><title>x</title>")
