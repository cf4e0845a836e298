"""Judges what the models do, with encoders they were not trained against."""
