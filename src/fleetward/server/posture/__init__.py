"""What machines say about themselves: kept once per content, judged, and shown with its age."""
