"""Updates from the owner's side: look at a release as a machine does, approve it, take it back.

Reading order: `roots` (whom the policy names), `source` (where files come from), `kept` (what was
seen before), `finding` (the release, verified), `terms` (for whom, when), `preparing` (what is
signed), `draft` (when more people sign), `desk` (what the folder holds), `telling`.
"""
