"""Ways from a subject and words to a picture: CAFE's own, and published weights alone. The engine knows none of them apart."""
