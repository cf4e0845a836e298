"""The multimodal language model of CAFE: E and F see, M reads and answers, V and H are its two bridges."""
