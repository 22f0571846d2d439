"""Uploads: read a file from the body of a request, decompressed and in UTF-8."""
