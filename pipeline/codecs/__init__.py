"""One module per container format, and what they share.

Every format module has the shape of `picture.Format`: `read` and `write` between bytes and a `Picture`,
`is_truncated` to tell a cut file from a damaged one, and `KEEPS`, what the container can hold.
"""
