"""Mixing: eq. 4 of CAFE for any number of pictures and sentences, drawn one by one, as a strip or as a grid."""
