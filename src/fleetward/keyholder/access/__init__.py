"""Sessions, in the hands of the people: who asks for one, who says yes, who watches and replays.

The server in between carries signed documents and sealed bytes. What it says of them is shown as
hearsay or not at all: who asks, for what, on which machine, comes from the documents themselves,
checked against the owner's own folder, or against the owner root that a technician has pinned.

Owner: `policy_rules`, `answering`, `watching`, `replaying`, `verifying`.
Technician: `requester_folder`, `learning`, `asking`, `connecting`, and the `front_…` files.
Both: `server_rows` (what the server hands out), `judging` (what of it is true).
"""
