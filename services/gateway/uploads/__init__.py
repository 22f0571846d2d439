"""Uploads: the body of a request as a file, decompressed and in UTF-8."""
