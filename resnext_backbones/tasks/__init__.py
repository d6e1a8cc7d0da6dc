"""A package for each library trains and evaluates its networks, on its engine or MMEngine's."""
