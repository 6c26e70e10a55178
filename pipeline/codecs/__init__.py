"""Codecs: one module per image file format, and the modules that they share.

Every format module implements `picture.Format`: `read` and `write` convert between bytes and a `Picture`,
`is_truncated` distinguishes a truncated file from a damaged one, and `KEEPS` lists what the format can hold.
"""
