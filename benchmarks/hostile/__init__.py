"""Damaged and hostile files through every door that files come in by."""
