"""From a photo to aligned faces: decoding, detection, alignment, regions, quality."""
