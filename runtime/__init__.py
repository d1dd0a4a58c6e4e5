"""From a bundle and a plan to tokens."""
