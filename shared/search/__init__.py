"""Searching: what is asked, which words that means, and how the answer is found. Nothing here writes."""
