"""What can be wrong in a run is looked for before its first step; `table` lists the checks."""
