"""xCos: a cosine that says where in the face it comes from, and how it is trained."""
