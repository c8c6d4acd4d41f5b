"""The guide: doctor, which says what is not as it should be, and the tour of a first evening."""
