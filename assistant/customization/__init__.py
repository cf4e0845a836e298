"""Learned concepts: the file that holds one, the library that holds many."""
