"""Training and evaluating, in a package for each library whose networks or engine are used."""
