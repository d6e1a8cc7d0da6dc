"""Tables, pictures and a page show what a run gave."""
