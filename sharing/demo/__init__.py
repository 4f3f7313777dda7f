"""The web page in which visitors play with a network."""
