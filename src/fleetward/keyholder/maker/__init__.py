"""A maker's own tool: what is released is described, signed and laid out as plain files."""
