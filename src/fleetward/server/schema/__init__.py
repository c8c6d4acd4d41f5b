"""The tables of the state database and the migrations that make them."""
