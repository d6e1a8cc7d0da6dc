"""Annotations of other formats become COCO's; the library supervision reads their labels."""
