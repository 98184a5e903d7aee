"""Bytes to values and back: TensorFlow's checkpoint formats, pure. No module here opens a file, reads a clock or
makes a thread; malformed bytes raise `ckptstore.errors.DataLossError` and nothing else.
"""
