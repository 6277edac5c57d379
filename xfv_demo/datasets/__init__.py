"""Labelled sets of photos: where they lie, how they are read, which pairs they hold.

A set names its images by keys and carries a source that hands out their bytes; to decode them is the part of
`xfv_demo.faces.images`. An archive's images are unpacked once, into the cache.

What can be read: LFW with its official lists of pairs, the lists of sets like it, a CSV of pairs, a folder of
people, and insightface's .bin files. `opening.open_dataset` tells them apart.
"""
