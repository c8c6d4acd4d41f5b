"""What people see first: today, the fleet, one machine, the timeline. It reads, it never writes.

This is the one place that reads tables of several capabilities together; it does so by their names
in the schema, so that it imports none of them.
"""
