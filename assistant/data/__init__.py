"""CAFE's data: quadruplets (photo x, target picture, words y, reply) made, filtered and kept without anybody's help (section 3.2)."""
